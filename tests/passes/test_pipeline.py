"""Whole pipelines: after every single pass the graph computes what it did before it, at every number of rows."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

import convc
from convc.compiler import model_graph
from convc.errors import IRError
from convc.ir.core import Graph
from convc.ir.interp import interpret
from convc.ir.ops.optim import Adam, AdamW, RmsProp, RmsPropMomentum, Sgd, SgdMomentum, Update
from convc.ir.text import parse_graph, print_graph
from convc.ir.verify import verify
from convc.passes import pipeline
from convc.passes.registry import PASSES
from convc.passes.target import CPU, CUDA, Target
from convc.testing import random_inputs
from convc.testing.rewrite import assert_close, assert_same_text

RULES: dict[str, tuple[Update, tuple[int, ...]]] = {
    "sgd": (Sgd(), (1,)),
    "momentum": (SgdMomentum(), (6,)),
    "nesterov": (SgdMomentum(nesterov=True), (5,)),
    "adam": (Adam(), (6, 5)),
    "adamw": (AdamW(), (6,)),
    "rmsprop": (RmsProp(), (5,)),
    "rmsprop_momentum": (RmsPropMomentum(), (6,)),
}
"""Each rule with the numbers of rows of a batch of at most six."""
TARGETS = {"cpu": CPU, "narrow": Target("cpu", lanes=4, registers=8), "cuda": CUDA}


@cache
def lenet(capacity: int, mode: str) -> Graph:
    return model_graph(convc.models.lenet5(), (capacity, 1, 28, 28), mode, "cross_entropy")[1]  # type: ignore[arg-type]


@cache
def smooth(capacity: int, mode: str) -> Graph:
    """What LeNet lacks: groups, dilation, odd padding, average pooling, a residual, sigmoid, tanh, another loss."""
    nn = convc.nn
    inner = nn.Residual(("conv", nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False)), ("act", nn.Sigmoid()))
    net = nn.Sequential(
        ("conv", nn.Conv2d(2, 4, 3, stride=(2, 1), padding=(1, 0, 2, 1), groups=2)), ("act", nn.Tanh()), ("res", inner),
        ("pool", nn.AvgPool2d((2, 3), 1, (1, 1), count_include_pad=False)), ("flat", nn.Flatten()),
        ("fc", nn.Linear(100, 7)), ("out", nn.Softmax()), name="smooth",
    )  # fmt: skip
    return model_graph(net, (capacity, 2, 7, 6), mode, "mse")[1]  # type: ignore[arg-type]


def check_every_pass(graph: Graph, passes: tuple[pipeline.Pass, ...], target: Target, rows: tuple[int, ...]) -> None:
    stages = pipeline.run(graph, passes, target).stages
    inputs = {n: random_inputs(stages[-1][1], n) | random_inputs(graph, n) for n in rows}
    before = [interpret(graph, inputs[n]) for n in rows]
    for (_, old), (name, new) in pairwise(stages):
        verify(new)
        assert_same_text(print_graph(new), print_graph(parse_graph(print_graph(new))))
        again = parse_graph(print_graph(new))
        after = [interpret(again, inputs[n]) for n in rows]
        kept = min(len(old.outputs), len(new.outputs))
        assert kept == len(old.outputs) or name == "apply_optimizer"
        for n, a, b in zip(rows, before, after):
            for v, w in zip(old.outputs[:kept], new.outputs):
                assert_close(a[v.name], b[w.name], f"%{v.name} after {name} with {n} rows")
            for state in old.updates:
                assert_close(a[state], b[state], f"the update of %{state} after {name} with {n} rows")
        before = after


@pytest.mark.parametrize("rule", RULES)
def test_every_pass_of_a_train_step_keeps_its_numbers(rule: str) -> None:
    graph = lenet(6, "train")
    update, rows = RULES[rule]
    check_every_pass(graph, pipeline.pipeline(True, update), CPU, rows)


@pytest.mark.parametrize("rule", ["nesterov", "adam"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("capacity", [2, 7])
def test_every_pass_of_another_model_keeps_its_numbers(rule: str, target: str, capacity: int) -> None:
    graph = smooth(capacity, "train")
    check_every_pass(graph, pipeline.pipeline(True, RULES[rule][0]), TARGETS[target], (capacity, 1))


@pytest.mark.parametrize("mode", ["infer", "eval"])
@pytest.mark.parametrize("capacity", [1, 6])
def test_every_pass_of_inference_keeps_its_numbers(mode: str, capacity: int) -> None:
    check_every_pass(lenet(capacity, mode), pipeline.pipeline(False), CPU, tuple({capacity, 1}))
    check_every_pass(smooth(capacity, mode), pipeline.pipeline(False), CPU, tuple({capacity, 1}))


def test_a_second_run_of_the_pipeline_gives_the_same_text() -> None:
    """Nothing depends on the order of a set, or on an object's address."""
    texts = [str(pipeline.run(lenet(6, "train"), pipeline.pipeline(True)).stages[-1][1]) for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("function", [*pipeline.SIMPLIFY, *pipeline.GENERATE[:-1]], ids=pipeline.pass_name)
def test_a_pass_that_has_run_has_nothing_left_to_do(function: pipeline.Pass) -> None:
    trace = pipeline.run(lenet(6, "train"), pipeline.pipeline(True))
    after = trace.after(pipeline.pass_name(function))
    assert_same_text(str(after), str(pipeline.run(after, (function,)).stages[-1][1]))


def test_stages_can_be_asked_for_by_name() -> None:
    trace = pipeline.run(lenet(6, "infer"), pipeline.pipeline(False))
    assert trace.after("before lower") is trace.after("after assign_layout")
    assert trace.after("input") is trace.stages[0][1]
    assert {name for name, _ in trace.stages[1:]} <= set(PASSES)
    names = ", ".join(sorted({name for name, _ in trace.stages}))
    with pytest.raises(IRError) as caught:
        trace.after("fuse_everything")
    assert str(caught.value) == f"no stage 'fuse_everything'; known are {names}"


def test_a_pass_that_makes_an_ill_formed_graph_is_named() -> None:
    def swap_nodes(graph: Graph) -> Graph:
        return graph.with_nodes(reversed(graph.nodes))

    with pytest.raises(IRError, match=r"^pass swap_nodes made an ill-formed graph: .*used before it is defined"):
        pipeline.run(lenet(6, "infer"), (swap_nodes,))


def test_a_pass_that_changes_numbers_is_found() -> None:
    """The check above can fail: a pass that leaves out the last bias."""

    def lose_bias(graph: Graph) -> Graph:
        last = next(n for n in reversed(graph.nodes) if n.op.name == "bias_add")
        return graph.with_nodes((n for n in graph.nodes if n is not last), {last.out: last.inputs[0]})

    with pytest.raises(AssertionError, match=r"after lose_bias with 6 rows is off by"):
        check_every_pass(lenet(6, "infer"), (lose_bias,), CPU, (6,))


def test_planned_memory_is_honoured_by_the_interpreter() -> None:
    """A plan in which two live values overlap gives wrong numbers, so the tests above prove the plans."""
    planned = pipeline.run(lenet(6, "train"), pipeline.pipeline(True)).stages[-1][1]
    inputs = random_inputs(planned) | random_inputs(lenet(6, "train"))
    good = interpret(planned, inputs)
    places = {k: p if p.inside else type(p)(0) for k, p in planned.placements.items()}
    bad = interpret(type(planned)(**{**vars(planned), "placements": places}), inputs)
    assert not all(np.allclose(good[k], bad[k]) for k in good)
