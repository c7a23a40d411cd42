"""A product with few tiles and a long sum becomes a batch of partial products, and their sum.

A weight gradient has as many tiles as the weights fill, and a sum over every pixel of the batch: a block or two would
walk along K for the whole kernel while the others are idle. The cut is one part for each point of an axis, so
that the order of the sum, and every bit, is the same on every device. (Chetlur et al., 2014, section 3, pass
wgrad through the same kernel; split-K and its reduction are CUTLASS's words.)
"""

from __future__ import annotations

from dataclasses import replace

from convc.ir.core import Graph, Node, Value
from convc.ir.gemm_view import ACC, GemmView
from convc.ir.index import Axis, Index
from convc.ir.kernels import Gemm, Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, axes_of
from convc.ir.scalar import Local, load, store
from convc.ir.types import Layout, Rows, TensorType
from convc.passes.block_tile import best_seconds
from convc.passes.registry import register_pass
from convc.passes.target import CPU, LAUNCH_SECONDS, Target

MOST_BYTES = 1 << 28
"""The most that partial products may take."""


@register_pass
def split_k(graph: Graph, target: Target = CPU) -> Graph:
    """gemm: m, n, k(n, p, q) -> gemm: batch(n), m, n, k(p, q); loops: for(...) sum over (n)

    Fires for blocks of threads, where the model says that the parts and their sum take less time.
    """
    if not target.rearranges:
        return graph
    taken = {v.name for v in graph.values()}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _split(node, target, taken) or [node]
    return graph.with_nodes(nodes)


def _split(node: Node, target: Target, taken: set[str]) -> list[Node] | None:
    if not isinstance(node.op, Gemm) or len(node.op.phases) != 1 or len(node.outputs) != 1:
        return None
    (view,) = node.op.phases
    axis = _axis(view)
    if axis is None or len(view.stores) != 1 or view.stores[0].value != ACC:
        return None
    result = node.out.type
    t = TensorType(result.dtype, (axis.extent, *result.shape), _parts_layout(view))
    if t.nbytes > MOST_BYTES:
        return None
    name = f"{node.out.name}.parts"
    while name in taken:
        name += "_"
    parts = Value(name, t)
    first = _parts(node, view, axis, parts)
    if best_seconds(first, target) + 2 * t.nbytes / target.bytes_per_second + LAUNCH_SECONDS >= best_seconds(
        node, target
    ):
        return None
    taken.add(name)
    axes = axes_of(result, "kcrs")
    over = Axis(f"{axis.name}_part", axis.extent)
    stages = (Reduce((over,), "sum", ("total",), (load(0, over, *axes),)), Map((), (store(0, axes, Local("total")),)))
    total = Loops(LoopNest(axes, stages), results=(result,), title="sum_parts")
    return [first, replace(node, op=total, inputs=(parts,), passes=node.made_by("split_k"))]


def _axis(view: GemmView) -> Axis | None:
    """The axis to cut: batch rows, else the outermost one of several; the rest is each part's own sum."""
    if len([a for a in view.k if a.extent > 1]) < 2:
        return None
    rows = next((a for a in view.k if isinstance(a.extent, Rows)), None)
    others = (*view.batch, *view.m, *view.n)
    if rows is None and any(isinstance(a.extent, Rows) for a in others):
        return None  # the parts would need two axes in front
    return rows or next(a for a in view.k if a.extent > 1)


def _parts_layout(view: GemmView) -> Layout | None:
    """Parts lie in the order of the view's axes, so that neighbours in a tile are stored side by side."""
    coords = view.stores[0].coords
    axes = [Index.of(a) for a in (*view.m, *view.n)]
    if not all(c in axes for c in coords):
        return None
    order = sorted(range(len(coords)), key=lambda i: axes.index(coords[i]))
    return Layout((0, *(i + 1 for i in order))) if order != sorted(order) else None


def _parts(node: Node, view: GemmView, axis: Axis, parts: Value) -> Node:
    assert isinstance(node.op, Gemm)
    (s,) = view.stores
    cut = replace(
        view,
        batch=(axis, *view.batch),
        k=tuple(a for a in view.k if a is not axis),
        stores=(store(0, (Index.of(axis), *s.coords), ACC),),
    )
    op = replace(node.op, phases=(cut,), results=(parts.type,), title=f"{node.op.title}_parts")
    return replace(node, op=op, outputs=(parts,), passes=node.made_by("split_k"))
