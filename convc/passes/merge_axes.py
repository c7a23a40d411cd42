"""Loops that walk memory in one line become one loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from convc.ir.core import Graph, Node
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, Stage
from convc.ir.scalar import Load, Store, loads, substitute_axes
from convc.ir.types import Rows
from convc.passes.compose import kernel_loads
from convc.passes.nest_order import in_memory_order
from convc.passes.registry import register_pass
from convc.passes.target import CPU, Target


@register_pass
def merge_axes(graph: Graph, target: Target = CPU) -> Graph:
    """loops: for(k:120, c:400) store 0[k, c] = ... -> loops: for(kc:48000) store 0[kc / 400, kc % 400] = ...

    Fires for neighbouring outer axes where the offset of every access is linear in the merged one: the
    division cancels in the address. Batch rows, whose number is only known at run time, stay apart.
    For blocks of threads a lone stage's axes join the outer ones, an axis that a flattened tensor of another order
    is read along becomes two, and all take the order in which the result lies in memory.
    """
    return graph.with_nodes(_merged(n, target) if isinstance(n.op, Loops) else n for n in graph.nodes)


def _merged(node: Node, target: Target) -> Node:
    node = in_memory_order(_parted(_spread(node))) if target.simt else node
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    at = 0
    while at + 1 < len(nest.axes):
        candidate = _merge(nest, at)
        if candidate is None or not _linear(node, candidate, candidate.axes[at]):
            at += 1
        else:
            nest = candidate
    if nest is node.op.nest:
        return node
    return replace(node, op=replace(node.op, nest=nest), passes=node.made_by("merge_axes"))


def _spread(node: Node) -> Node:
    """A lone stage's axes become outer ones: what one thread stored point by point, neighbours store side by side."""
    assert isinstance(node.op, Loops)
    stage = node.op.nest.stages[0]
    if len(node.op.nest.stages) > 1 or not isinstance(stage, Map) or not stage.axes:
        return node
    nest = LoopNest((*node.op.nest.axes, *stage.axes), (Map((), stage.stores),))
    return replace(node, op=replace(node.op, nest=nest), passes=node.made_by("merge_axes"))


def _parted(node: Node) -> Node:
    """An outer axis whose quotient or remainder lies in line, as after flattening NHWC, as two axes: these do."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    for axis in (a for a in nest.axes if not isinstance(a.extent, Rows)):
        parts = (part for o in _offsets(node, nest) for part, _ in o.terms if not isinstance(part, Axis))
        sizes = {part.by for part in parts if part.of == Index.of(axis)}
        if len(sizes) != 1 or int(axis.extent) % (size := sizes.pop()):
            continue
        outer, inner = Axis(f"{axis.name}_outer", int(axis.extent) // size), Axis(f"{axis.name}_inner", size)
        two = _with_axes(nest, axis, (outer, inner), {axis: Index.of(outer) * size + inner})
        if all(o.coefficient(a) is not None for o in _offsets(node, two) for a in (outer, inner)):
            return replace(node, op=replace(node.op, nest=two), passes=node.made_by("merge_axes"))
    return node


def _with_axes(nest: LoopNest, old: Axis, new: tuple[Axis, ...], values: Mapping[Axis, IndexLike]) -> LoopNest:
    at = nest.axes.index(old)
    return LoopNest((*nest.axes[:at], *new, *nest.axes[at + 1 :]), tuple(_stage(s, values) for s in nest.stages))


def _offsets(node: Node, nest: LoopNest) -> list[Index]:
    """The elements that the nest's loads and stores touch."""
    read = [node.inputs[e.operand].type.offset(e.coords) for s in nest.stages for e in loads(*s.roots)]
    return [*read, *(node.outputs[s.output].type.offset(s.coords) for s in nest.stores)]


def _merge(nest: LoopNest, at: int) -> LoopNest | None:
    """The nest with outer axes `at` and `at + 1` as one, or None for batch rows."""
    outer, inner = nest.axes[at : at + 2]
    if isinstance(outer.extent, Rows) or isinstance(inner.extent, Rows):
        return None
    extent = int(inner.extent)
    merged = Axis(outer.name + inner.name, int(outer.extent) * extent)
    values: Mapping[Axis, IndexLike] = {outer: Index.of(merged) // extent, inner: Index.of(merged) % extent}
    axes = (*nest.axes[:at], merged, *nest.axes[at + 2 :])
    taken = [a.name for a in (*axes, *(a for s in nest.stages for a in s.axes))]
    if taken.count(merged.name) > 1:
        return None
    return LoopNest(axes, tuple(_stage(s, values) for s in nest.stages))


def _stage(stage: Stage, values: Mapping[Axis, IndexLike]) -> Stage:
    if isinstance(stage, Reduce):
        return replace(stage, values=tuple(substitute_axes(v, values) for v in stage.values))
    stores = (
        Store(s.output, tuple(c.substitute(values) for c in s.coords), substitute_axes(s.value, values))
        for s in stage.stores
    )
    return Map(stage.axes, tuple(stores))


def _linear(node: Node, nest: LoopNest, axis: Axis) -> bool:
    """Whether every access's offset is a multiple of the axis plus what does not depend on it, and no guard does."""
    op = Loops(nest, results=tuple(v.type for v in node.outputs))
    found: list[Load] = kernel_loads(op)
    if any(axis in g.index.axes() for e in found for g in e.guards):
        return False
    inside = all(
        c.within(0, int(extent)) or axis not in c.axes()
        for e in found
        for c, extent in zip(e.coords, node.inputs[e.operand].type.shape)
    )
    return inside and all(o.coefficient(axis) is not None for o in _offsets(node, nest))
