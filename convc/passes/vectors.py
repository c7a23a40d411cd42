"""How many points a thread alone takes, so that it loads and stores whole vectors: 8 or 16 bytes at once."""

from __future__ import annotations

from math import prod

from convc.ir.core import Node
from convc.ir.index import Axis, Index
from convc.ir.kernels import Loops, TeamSchedule
from convc.ir.loop_nest import Reduce, Stage
from convc.ir.scalar import loads
from convc.ir.types import Rows
from convc.passes.target import BLOCK, WARP, Target

WHOLE = 4
"""Elements that a thread loads or stores at most at once: 16 bytes."""


def vectors_for(node: Node, target: Target) -> TeamSchedule:
    """A thread a point, or several: as many as make whole vectors, a window's elements counted."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    points = prod(int(a.extent) for a in nest.axes)
    reduces = [s for s in nest.stages if isinstance(s, Reduce)]
    windows = {int(s.axes[-1].extent) for s in reduces if s.axes}
    sizes = [(v, w) for v in (4, 2, 1) for w in (4, 2, 1) if 1 < v * w <= WHOLE and (w == 1 or w in windows)]
    for vector, window in sorted(sizes, key=lambda size: (-size[0] * size[1], -size[1])):
        enough = not reduces or vector == 1 or points // vector >= target.multiprocessors * WARP
        if enough and _whole(node, vector, window):
            return TeamSchedule(BLOCK, 1, vector, window)
    return TeamSchedule(BLOCK, 1)


def _whole(node: Node, vector: int, window: int) -> bool:
    """Whether threads with so many points each load and store whole vectors only, and windows as part of them."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    axis = nest.axes[-1] if nest.axes else None
    if vector > 1 and (axis is None or isinstance(axis.extent, Rows) or int(axis.extent) % vector):
        return False
    lane = Axis("lane", vector)
    values = {axis: Index.of(Axis(f"{axis.name}_block", int(axis.extent) // vector)) * vector + lane} if axis else {}
    used = False
    for stage in nest.stages:
        own = window_axis(stage, window)
        moving = {a for a in (axis if vector > 1 else None, own) if a}
        for e in loads(*stage.roots):
            t = node.inputs[e.operand].type
            edges = [c for c, extent in zip(e.coords, t.shape) if not c.within(0, int(extent))]
            if any(moving.intersection(i.axes()) for i in (*edges, *(g.index for g in e.guards))):
                return False
            offset = t.offset(e.coords).substitute(values)
            if not span(offset, lane, own):
                return False
            used |= own in offset.axes()
    stored = [node.outputs[s.output].type.offset(s.coords).substitute(values) for s in nest.stores]
    return (used or window == 1) and (vector == 1 or all(span(x, lane, None) == vector for x in stored))


def window_axis(stage: Stage, window: int) -> Axis | None:
    """The axis of a reduction whose elements are loaded at once."""
    if window == 1 or not isinstance(stage, Reduce) or not stage.axes or stage.axes[-1].extent != window:
        return None
    return stage.axes[-1]


def span(offset: Index, lane: Axis | None, window: Axis | None) -> int:
    """Neighbouring elements that all lanes and the whole window cover, as an aligned vector.

    1 where they all are the same element; 0 where they are no vector.
    """
    lanes, points = (int(a.extent) if a else 1 for a in (lane, window))
    apart = offset.coefficient(lane) if lane and lanes > 1 else 0
    step = offset.coefficient(window) if window else 0
    if (apart, step) == (0, 0):
        return 1
    sizes: dict[tuple[int | None, int | None], int] = {(1, 0): lanes, (0, 1): points, (points, 1): lanes * points}
    size = sizes.get((apart, step), 0)
    others = [c for a, c in offset.terms if a not in (lane, window)]
    return size if size and all(c % size == 0 for c in (*others, offset.const)) else 0
