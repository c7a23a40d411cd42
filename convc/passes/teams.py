"""How many threads work on one outer point of a loop nest, and how many points one thread takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convc.ir.core import Node
from convc.ir.index import Axis, Index
from convc.ir.kernels import Loops, TeamSchedule
from convc.ir.loop_nest import LoopNest, Map
from convc.ir.scalar import loads
from convc.ir.types import Rows, TensorType
from convc.passes.target import Target

BLOCK, WARP = 256, 32
SHORT = 24
"""Stages shorter than this leave most of a warp without work."""
LONG = 1024
"""Stages from this length on feed a whole block."""
ENOUGH = 1024
"""Points from which on a thread each is better, where neighbours read neighbours: a warp would scatter its reads."""


def team_for(node: Node, target: Target) -> TeamSchedule:
    """A thread a point where the points are many or their stages short, else a warp, else a block."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    points = prod(int(a.extent) for a in nest.axes)
    length = max((prod(int(a.extent) for a in s.axes) for s in nest.stages), default=1)
    if length < SHORT:
        return TeamSchedule(BLOCK, 1, _vector(node))
    if length >= LONG and points <= target.multiprocessors * 8:
        return TeamSchedule(BLOCK, BLOCK)
    if points >= ENOUGH and side_by_side(node, nest.axes[-1:]):
        return TeamSchedule(BLOCK, 1)
    across = any(side_by_side(node, s.axes[-1:]) for s in nest.stages if s.axes)
    few = points < target.multiprocessors * 32
    return TeamSchedule(BLOCK, WARP if across or few else 1)


def side_by_side(node: Node, axis: Sequence[Axis]) -> bool:
    """Whether neighbours along the axis read neighbouring elements, or the same one, in every stage."""
    assert isinstance(node.op, Loops)
    if not axis:
        return False
    found = [e for s in node.op.nest.stages for e in loads(*s.roots)]
    strides = [node.inputs[e.operand].type.offset(e.coords).coefficient(axis[0]) for e in found]
    return all(s in (0, 1) for s in strides) and 1 in strides


def _vector(node: Node) -> int:
    """Neighbouring points a thread, such that every access is whole and aligned vectors of them."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    if not nest.axes or isinstance(nest.axes[-1].extent, Rows) or not _pointwise(nest):
        return 1
    axis = nest.axes[-1]
    accesses = [(e.coords, node.inputs[e.operand].type, bool(e.guards)) for e in loads(*nest.stages[0].roots)]
    if any(node.outputs[s.output].type.offset(s.coords).coefficient(axis) != 1 for s in nest.stores):
        return 1
    accesses += [(s.coords, node.outputs[s.output].type, False) for s in nest.stores]
    for width in (4, 2):
        if int(axis.extent) % width == 0 and all(_whole(c, t, axis, width) and not g for c, t, g in accesses):
            return width
    return 1


def _pointwise(nest: LoopNest) -> bool:
    return len(nest.stages) == 1 and isinstance(nest.stages[0], Map) and not nest.stages[0].axes


def _whole(coords: Sequence[Index], t: TensorType, axis: Axis, width: int) -> bool:
    """Whether `width` neighbours along the axis are one aligned vector, or one element for all of them."""
    if not all(c.within(0, int(extent)) for c, extent in zip(coords, t.shape)):
        return False
    offset = t.offset(coords)
    stride = offset.coefficient(axis)
    if stride == 0:
        return True
    others = offset - Index.of(axis)
    return stride == 1 and others.const % width == 0 and all(c % width == 0 for _, c in others.terms)
