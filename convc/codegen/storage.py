"""Where every value of a planned graph lies, and which kernels must wait for which."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from convc.errors import IRError
from convc.ir.core import Graph, Node, Value

Kind = Literal["input", "output", "store", "scalar", "arena", "rows"]


@dataclass(frozen=True)
class Place:
    """Bytes start to end of one buffer: an input, output, store or scalar by number, or the arena."""

    kind: Kind
    number: int
    start: int
    end: int

    def overlaps(self, other: Place) -> bool:
        same = self.kind == other.kind and self.number == other.number
        return same and self.start < other.end and other.start < self.end


def storage(graph: Graph) -> dict[Value, Place]:
    """The place of every value; raises IRError where a result of a node has none."""
    places: dict[Value, Place] = {}

    def number(kind: Kind, values: Iterable[Value]) -> None:
        for i, v in enumerate(values):
            places[v] = Place(kind, i, 0, v.type.nbytes)

    stores = graph.inputs_of("parameter", "state", "constant")
    number("input", graph.inputs_of("data"))
    number("scalar", graph.inputs_of("scalar"))
    number("store", stores)
    number("output", graph.outputs)
    by_name = {v.name: places[v] for v in stores}
    returned = set(graph.outputs)
    for v in (v for n in graph.nodes for v in n.outputs if v not in returned):
        planned = graph.placements.get(v.name)
        if planned is None:
            raise IRError(f"%{v.name} has no place in memory; run the pass plan_memory first")
        arena = Place("arena", 0, planned.offset, planned.offset + v.type.nbytes)
        places[v] = arena if planned.inside is None else by_name[planned.inside]
    return places


def barriers(graph: Graph, places: dict[Value, Place]) -> tuple[bool, ...]:
    """For each kernel, whether all threads must have finished the ones before it.

    They must where it reads what one of them writes, or writes what one of them reads or writes; kernels
    since the last barrier count. Whatever its threads do, a kernel never waits for itself.
    """
    needed: list[bool] = []
    reads, writes = Extent(), Extent()
    for node in graph.nodes:
        r, w = [places[v] for v in node.inputs], [places[v] for v in node.outputs]
        wait = any(map(writes.meets, (*r, *w))) or any(map(reads.meets, w))
        if wait:
            reads, writes = Extent(), Extent()
        for places_of, extent in ((r, reads), (w, writes)):
            for p in places_of:
                extent.add(p)
        needed.append(wait)
    return tuple(needed)


class Extent:
    """The bytes that several places cover: of each buffer, ranges that lie apart, in order."""

    def __init__(self) -> None:
        self._ranges: dict[tuple[Kind, int], tuple[list[int], list[int]]] = {}

    def meets(self, place: Place) -> bool:
        """Whether any of its bytes is covered."""
        starts, ends = self._ranges.get((place.kind, place.number), ([], []))
        at = bisect_right(ends, place.start)
        return at < len(ends) and starts[at] < place.end

    def add(self, place: Place) -> None:
        starts, ends = self._ranges.setdefault((place.kind, place.number), ([], []))
        first, last = bisect_left(ends, place.start), bisect_right(starts, place.end)
        start, end = place.start, place.end
        if first < last:  # it touches these ranges, and all become one
            start, end = min(start, starts[first]), max(end, ends[last - 1])
        starts[first:last], ends[first:last] = [start], [end]


def meet(one: Node, other: Node, places: Mapping[Value, Place]) -> bool:
    """Whether one of two kernels writes what the other reads or writes."""
    (r, w), (also_read, also_written) = (
        ([places[v] for v in node.inputs], [places[v] for v in node.outputs]) for node in (one, other)
    )
    return _touch(w, also_read) or _touch(r, also_written) or _touch(w, also_written)


def _touch(some: Sequence[Place], others: Sequence[Place]) -> bool:
    return any(a.overlaps(b) for a in some for b in others)
