"""Images, and filters too, as NHWC: every operator against the oracle, whole train steps against the C target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.ir.core import Graph, Node, Value, fresh_builder
from convc.ir.kernels import Gemm
from convc.ir.ops.shape import Relayout
from convc.ir.types import Rows
from convc.passes import channel_order
from convc.passes.block_tile import TILES
from convc.passes.channel_order import CHANNELS_LAST
from convc.passes.target import Target
from tests.cuda.programs import emulated, every_tile, with_tiles
from tests.cuda.test_kernels import aligned
from tests.cuda.train_steps import assert_same_updates, lenet, small_vgg
from tests.numerics.cases import FAMILIES
from tests.numerics.helpers import check, combined

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")


def channels_last(graph: Graph) -> Graph:
    """The graph with all its tensors of rank 4 in NHWC, relayouts at its inputs and outputs."""
    b = fresh_builder(graph, "test")
    given = {v: b(Relayout(result=_last(v)), v) for v in graph.inputs if v.type.rank == 4}
    made = {v: Value(b.fresh(v.name), _last(v)) for n in graph.nodes for v in n.outputs if v.type.rank == 4}
    nodes = [replace(n, outputs=tuple(made.get(v, v) for v in n.outputs)) for n in graph.nodes]
    inner = graph.with_nodes(nodes, given | made)
    back = [
        Node(Relayout(result=old.type), (new,), (Value(b.fresh(old.name), old.type),))
        for old, new in zip(graph.outputs, inner.outputs)
        if old in made
    ]
    outputs = {n.inputs[0]: n.out for n in back}
    return replace(
        inner, nodes=(*b.nodes, *inner.nodes, *back), outputs=tuple(outputs.get(v, v) for v in inner.outputs)
    )


def _last(v: Value):
    return v.type.with_layout(CHANNELS_LAST)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator(family: str) -> None:
    graph = channels_last(combined(FAMILIES[family](Rows(6))))
    check(graph, (6, 5), convc.compile(graph, target="emulator"))


def test_every_tile() -> None:
    graph = channels_last(every_tile(5))
    check(graph, (5, 4), emulated(graph, with_tiles))


@pytest.mark.parametrize("rows", [Rows(6), 3], ids=["typed", "fixed"])
def test_whole_vectors(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four channels at once, in sums cut to parts, too."""
    monkeypatch.setattr("convc.passes.split_k.LAUNCH_SECONDS", -1.0)
    graph = channels_last(combined(aligned(rows)))
    program = emulated(graph, with_tiles)
    vectors = [line for k in program.kernels for line in k.card.lines if line.startswith("vectors")]
    assert any("copies of A, copies of B" in line for line in vectors)
    check(graph, (6, 5, 1) if isinstance(rows, Rows) else (rows,), program)


def test_no_tile_has_bank_conflicts() -> None:
    program = emulated(channels_last(every_tile(5)), with_tiles)
    check(program.trace.stages[0][1], (5,), program)
    products = {k.name for k in program.kernels if isinstance(k.node.op, Gemm)}
    shared = [k.counted.shared for k in program.report().summary.kernels if k.name in products and k.counted]
    assert len(shared) >= len(TILES)
    assert all(x.bank_conflicts == 0 for x in shared)


def _everywhere(graph: Graph, target: Target) -> dict[Value, object]:
    return {v: _last(v) for values in channel_order._groups(graph) for v in values}


def test_five_steps_of_lenet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.passes.assign_layout.choose_channel_order", _everywhere)
    found, before, losses = lenet("emulator", 8, missing=3)
    assert "|0231" in found.ir("after assign_layout")
    expected, _, right = lenet("cpu", 8, missing=3)
    np.testing.assert_allclose(losses, right, rtol=1e-5)
    assert_same_updates(found, expected, before)


@pytest.mark.slow
def test_five_steps_of_a_small_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.passes.assign_layout.choose_channel_order", _everywhere)
    found, before, losses = small_vgg("emulator")
    expected, _, right = small_vgg("cpu")
    np.testing.assert_allclose(losses, right, rtol=1e-5)
    assert_same_updates(found, expected, before)
