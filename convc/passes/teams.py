"""How many threads work on one outer point of a loop nest."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convc.ir.core import Node
from convc.ir.index import Axis
from convc.ir.kernels import Loops, TeamSchedule
from convc.ir.loop_nest import Reduce, Stage
from convc.ir.scalar import loads
from convc.passes.target import BLOCK, SECTOR, WARP, Target
from convc.passes.vectors import WHOLE, vectors_for

SHORT = 24
"""Stages shorter than this leave most of a warp without work."""
LONG, WIDE = 1024, 256
"""Stages from this length on feed a whole block, of so many threads."""
ENOUGH = 1024
"""Points from which on a thread each is better, where both neighbouring points and a point's stages read neighbours."""


def team_for(node: Node, target: Target) -> TeamSchedule:
    """A thread a point where the points are many or their stages short, else a part of a warp, a warp or a block."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    points = prod(int(a.extent) for a in nest.axes)
    length = max((prod(int(a.extent) for a in s.axes) for s in nest.stages), default=1)
    across = any(side_by_side(node, s.axes[-1:]) for s in nest.stages if s.axes)
    columns = side_by_side(node, nest.axes[-1:])
    if length < SHORT:
        return TeamSchedule(BLOCK, team) if (team := _row_team(node)) > 1 else vectors_for(node, target)
    if columns and points >= (ENOUGH if across else target.multiprocessors * WIDE):
        return TeamSchedule(BLOCK, 1)
    if columns and not across:
        apart = _columns(points, target)
        return TeamSchedule(BLOCK, BLOCK // apart, apart=apart)
    if length >= LONG and points <= target.multiprocessors * 8:
        return TeamSchedule(WIDE, WIDE)
    few = points < target.multiprocessors * 32
    return TeamSchedule(BLOCK, WARP if across or few else 1)


def side_by_side(node: Node, axis: Sequence[Axis], stage: Stage | None = None) -> bool:
    """Whether neighbours along the axis read neighbouring elements, or the same one, in the stage, or in every one."""
    assert isinstance(node.op, Loops)
    if not axis:
        return False
    found = [e for s in (node.op.nest.stages if stage is None else [stage]) for e in loads(*s.roots)]
    strides = [node.inputs[e.operand].type.offset(e.coords).coefficient(axis[0]) for e in found]
    return all(s in (0, 1) for s in strides) and 1 in strides


def _columns(points: int, target: Target) -> int:
    """How many columns a block takes: a sector of them, so that many blocks share the work, or a warp's width."""
    if points % SECTOR == 0 and points < target.multiprocessors * WARP:
        return SECTOR
    return min(WARP, max(SECTOR, _power_of_two(points)))


def _row_team(node: Node) -> int:
    """The part of a warp that reads each point's own row of memory together; 1 where points have no such rows.

    A row that one thread can load at once, and only has to reduce, is left to it.
    """
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    teams = [1]
    for stage in nest.stages:
        if not side_by_side(node, stage.axes[-1:], stage):
            continue
        row = stage.axes[-1]
        found = [node.inputs[e.operand].type.offset(e.coords) for e in loads(*stage.roots)]
        apart = [o.coefficient(nest.axes[-1]) for o in found if nest.axes and o.coefficient(row)]
        own = all(stride is not None and abs(stride) >= row.extent for stride in apart)
        if own and (row.extent > WHOLE or not isinstance(stage, Reduce)):
            teams.append(min(WARP, _power_of_two(prod(int(a.extent) for a in stage.axes))))
    return max(teams)


def _power_of_two(least: int) -> int:
    return int(1 << (least - 1).bit_length())
