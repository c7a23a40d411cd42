"""Graphs of a thousand nodes and more: no pass, printer, parser or emitter goes down into them, or starts over."""

from __future__ import annotations

import numpy as np
import pytest

import convc
from convc import nn
from convc.compiler import model_graph, trace_of
from convc.ir.core import Graph, Node
from convc.ir.interp import interpret
from convc.ir.text import parse_graph, print_graph
from convc.passes import fuse_loops
from convc.passes.fusion_graph import FusionGraph
from convc.passes.lower import lower
from convc.runtime.targets import emit, passes_target
from convc.testing import random_inputs

LAYERS = 1500


def chain(nodes: int) -> Graph:
    lines = [f"%{i + 1}: f32[n<=8,64] = sigmoid(%{i})" for i in range(nodes)]
    return parse_graph("\n".join(["graph @chain(%0: f32[n<=8,64]) {", *lines, f"return %{nodes} }}"]))


def deep_model() -> nn.Sequential:
    return nn.Sequential(*(nn.Tanh() if i % 2 else nn.Sigmoid() for i in range(LAYERS)))


def test_a_deep_model_is_built_printed_parsed_and_interpreted() -> None:
    _, graph = model_graph(deep_model(), (8, 16), "infer", "cross_entropy")
    assert len(graph.nodes) == LAYERS
    again = parse_graph(print_graph(graph))
    assert print_graph(again) == print_graph(graph)
    inputs = random_inputs(graph)
    np.testing.assert_array_equal(
        interpret(again, inputs)[again.outputs[0].name], interpret(graph, inputs)[graph.outputs[0].name]
    )


@pytest.mark.parametrize(
    ("target", "mode"),
    [
        ("cpu", "infer"),
        pytest.param("cuda", "infer", marks=pytest.mark.slow),
        pytest.param("cpu", "train", marks=pytest.mark.slow),
        pytest.param("cuda", "train", marks=pytest.mark.slow),
    ],
)
def test_a_deep_model_goes_through_all_passes(target: str, mode: convc.compiler.Mode) -> None:
    model = deep_model() if mode == "infer" else nn.Sequential(nn.Linear(16, 16), deep_model())
    _, graph = model_graph(model, (8, 16), mode, "cross_entropy")
    trace = trace_of(graph, mode, convc.SGD(), passes_target(target))
    planned = trace.stages[-1][1]
    assert LAYERS / 20 < len(planned.nodes) < 0.8 * len(trace.after("lower").nodes)
    assert print_graph(parse_graph(print_graph(planned))) == print_graph(planned)
    assert emit(planned, target, passes_target(target)).files()


@pytest.mark.parametrize("nodes", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_chain_compiles_and_runs(nodes: int) -> None:
    program = convc.compile(chain(nodes), target="cpu")
    assert nodes / 20 < len(program.kernels) < nodes / 8
    x = np.linspace(-3, 3, 5 * 64, dtype=np.float32).reshape(5, 64)
    expected = x.astype(np.float64)
    for _ in range(nodes):
        expected = 1 / (1 + np.exp(-expected))
    # each sigmoid divides what is off by four, and adds a few roundings of a number below one
    np.testing.assert_allclose(program(x), expected, rtol=0, atol=16 * 2.0**-24)


def test_a_fusion_looks_again_at_its_neighbours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the nodes are looked at twice as often, give or take the kernels at the ends; not four times."""
    looked_at = 0
    plain = fuse_loops._inline_into

    def counted(work: FusionGraph, reader: Node) -> bool:
        nonlocal looked_at
        looked_at += 1
        return plain(work, reader)

    monkeypatch.setattr(fuse_loops, "_inline_into", counted)
    counts = []
    for nodes in (150, 300):
        looked_at = 0
        fuse_loops.fuse_loops(lower(chain(nodes)))
        counts.append(looked_at)
    assert counts[0] > 100
    assert counts[1] < 2.2 * counts[0]
