"""The order in memory of what a product gathers: where another one pays, the factor is copied into it first.

Weights lie as KCRS. Neighbouring filters, which neighbouring threads want for a tile, are then C*R*S elements apart,
and each takes a cache line of its own; in the order CRSK they are neighbours, and four of them one copy. Likewise
a weight gradient likes its images as NHWC. Shapes stay what they are: a layout is a part of the type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convc.ir.core import Graph, Node, Value
from convc.ir.index import Axis, Index
from convc.ir.kernels import Gemm
from convc.ir.ops.shape import Relayout
from convc.ir.scalar import Load
from convc.ir.types import Layout
from convc.passes.block_tile import best_seconds, oriented
from convc.passes.registry import register_pass
from convc.passes.target import CPU, LAUNCH_SECONDS, Target


@register_pass
def arrange_factors(graph: Graph, target: Target = CPU) -> Graph:
    """gemm(x, w) -> %w_crsk = relayout(w); gemm(x, %w_crsk)

    Fires for blocks of threads, where the model says that the copy and the faster product take less time.
    """
    if not target.rearranges:
        return graph
    taken = {v.name for v in graph.values()}
    made: dict[tuple[Value, Layout], Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Gemm):
            for i in range(len(node.inputs)):
                node = _arranged(node, i, target, taken, made, nodes)
        nodes.append(node)
    return graph.with_nodes(nodes)


def _arranged(
    node: Node, number: int, target: Target, taken: set[str], made: dict[tuple[Value, Layout], Value], nodes: list[Node]
) -> Node:  # fmt: skip
    v = node.inputs[number]
    layout = _wanted(node, number)
    if layout is None:
        return node
    t = v.type.with_layout(layout)
    known = made.get((v, layout))
    other = known or Value(_fresh(f"{v.name}_{''.join(map(str, layout.order))}", taken), t)
    inputs = tuple(other if i == number else x for i, x in enumerate(node.inputs))
    changed = replace(node, inputs=inputs, passes=node.made_by("arrange_factors"))
    copy = 0.0 if known else 2 * t.nbytes / target.bytes_per_second + LAUNCH_SECONDS
    if best_seconds(changed, target) + copy >= best_seconds(node, target):
        return node
    if known is None:
        taken.add(other.name)
        made[v, layout] = other
        op = Relayout(result=t)
        kernel = replace(op.lower([v.type], [t]), title="relayout")  # type: ignore[call-arg]
        nodes.append(Node(kernel, (v,), (other,), node.path, ("arrange_factors",)))
    return changed


def _wanted(node: Node, number: int) -> Layout | None:
    """The order with the axis innermost along which the tile's lines lie; None where it is so already."""
    assert isinstance(node.op, Gemm)
    t = node.inputs[number].type
    axes = set()
    for view in (oriented(p, [v.type for v in node.outputs]) for p in node.op.phases):
        for factor, line in ((view.a, view.m), (view.b, view.n)):
            if isinstance(factor, Load) and factor.operand == number:
                axes.add(_inner(factor, line))
    if len(axes) != 1 or (axis := axes.pop()) is None or t.layout is not None or axis == t.rank - 1:
        return None
    return Layout((*(a for a in range(t.rank) if a != axis), axis))


def _inner(factor: Load, line: Sequence[Axis]) -> int | None:
    """The tensor's axis that the line's channels walk along, each step to the next element."""
    for axis in sorted(line, key=lambda a: -int(a.extent)):
        for i, c in enumerate(factor.coords):
            if c.coefficient(axis) == 1 and axis.extent > 1 and not (c - Index.of(axis)).terms:
                return i
    return None


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
