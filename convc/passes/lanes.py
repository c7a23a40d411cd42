"""Which axis fills a vector's lanes: the one along which memory is consecutive, in the layout at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from convc.ir.index import Axis, Index
from convc.ir.types import TensorType

LANE = "lane"
WIDTHS = (4, 8, 16, 32, 64)


def split_lanes(axis: Axis, width: int) -> tuple[Index, Axis]:
    """axis = block * width + lane, as an expression and its lane axis."""
    block = Axis(f"{axis.name}_block", -(-int(axis.extent) // width))
    lane = Axis(LANE, width)
    return Index.of(block) * width + lane, lane


@dataclass(frozen=True)
class Access:
    """Coordinates into a tensor and how often, relative to the others, they are used."""

    coords: tuple[Index, ...]
    type: TensorType
    weight: float = 1.0

    @cached_property
    def offset(self) -> Index:
        """The element that it touches."""
        return self.type.offset(self.coords)

    def lane_stride(self, axis: Axis, width: int) -> int | None:
        """Elements between two lanes along `axis`: 0 uniform, 1 consecutive; None where it is not constant."""
        value, lane = split_lanes(axis, width)
        return self.offset.substitute({axis: value}).coefficient(lane)


UNIFORM, CONSECUTIVE, GUARD = 0.5, 1.0, 1.0
"""The cost of a vector's access in loads of one vector; a strided one costs a load for each lane."""


def cost(axis: Axis, width: int, accesses: Sequence[Access]) -> float:
    """Cost of one point's accesses with `axis` in the lanes, per useful lane."""
    total = 0.0
    for a in accesses:
        stride = a.lane_stride(axis, width)
        each = UNIFORM if stride == 0 else CONSECUTIVE if stride == 1 else float(width)
        if any(axis in c.axes() and not c.within(0, int(e)) for c, e in zip(a.coords, a.type.shape)):
            each += GUARD
        total += a.weight * each
    blocks = -(-int(axis.extent) // width)
    return total * blocks / int(axis.extent)


def scalar_cost(accesses: Sequence[Access]) -> float:
    return sum(a.weight for a in accesses)


def widths_for(axis: Axis, lanes: int, accesses: Sequence[Access]) -> tuple[int, ...]:
    """The lanes to try along an axis: the target's or fewer.

    Where tensors lie in blocks along the axis, a vector is a whole block of the smallest; of all others it has to be a
    part, since a tensor ends with the padding of its last block.
    """
    layouts = [a.type.layout for a in accesses]
    blocks = [
        layout.width
        for a, layout in zip(accesses, layouts)
        if layout is not None and layout.blocked is not None and a.coords[layout.blocked] == Index.of(axis)
    ]
    if blocks:
        return tuple(w for w in WIDTHS if w == min(blocks) and all(b % w == 0 for b in blocks))
    return tuple(w for w in WIDTHS if w <= lanes)


def choose(candidates: Sequence[Axis], lanes: int, accesses: Sequence[Access]) -> tuple[Axis, int] | None:
    """The cheapest axis and its width, or None where scalar code is cheaper."""
    best: tuple[Axis, int] | None = None
    least = scalar_cost(accesses)
    for axis in candidates:
        for width in widths_for(axis, lanes, accesses):
            if axis.extent > 1 and (c := cost(axis, width, accesses)) < least:
                best, least = (axis, width), c
    return best
