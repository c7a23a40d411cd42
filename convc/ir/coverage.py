"""A kernel stores every element of its results once: what no store reaches would be whatever was in memory.

Passes keep this; it is proved for the kernels of a graph as it comes in. Coordinates that share no axis are looked at
apart, so that the points of an image are counted side by side and not multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Graph
from convc.ir.index import Axis, Index
from convc.ir.kernels import Gemm, KernelOp, Loops
from convc.ir.loop_nest import Map
from convc.ir.scalar import Store
from convc.ir.types import TensorType

MAX_POINTS = 2**24
"""Points of a store that are looked at one by one: more than one axis has where coordinates do not mix."""
Domain = tuple[Axis, ...]


def check_coverage(graph: Graph) -> Graph:
    """Returns the graph; raises IRError naming the kernel and the result that is not stored whole, or twice."""
    for node in graph.nodes:
        if not isinstance(node.op, KernelOp):
            continue
        stores = list(_stores(node.op))
        for number, v in enumerate(node.outputs):
            try:
                _check_output(v.type, [(s, domain) for s, domain in stores if s.output == number])
            except IRError as error:
                raise IRError(
                    f"{node.op.label} must store every element of %{v.name}: {v.type} once, but {error}"
                ) from None
    return graph


def _stores(op: KernelOp) -> Iterator[tuple[Store, Domain]]:
    if isinstance(op, Gemm):
        for view in op.phases:
            yield from ((s, (*view.batch, *view.m, *view.n)) for s in view.stores)
    if isinstance(op, Loops):
        for stage in op.nest.stages:
            if isinstance(stage, Map):
                yield from ((s, (*op.nest.axes, *stage.axes)) for s in stage.stores)


@dataclass(frozen=True)
class _Image:
    """What a store reaches: for each group of dimensions that share axes, the places along them, each once."""

    places: dict[tuple[int, ...], Array]

    @property
    def size(self) -> int:
        return prod(len(a) for a in self.places.values())

    def meets(self, other: _Image) -> bool:
        """False only where some group shows that the two have no element in common."""
        shared = [g for g in self.places if g in other.places]
        return all(np.intersect1d(self.places[g], other.places[g]).size for g in shared)


def _check_output(t: TensorType, stores: Sequence[tuple[Store, Domain]]) -> None:
    images = [_image(t, s.coords, domain) for s, domain in stores]
    reached = sum(i.size for i in images)
    if any(a.meets(b) for a, b in combinations(images, 2)):
        raise IRError("two stores reach the same element")
    if reached != t.elements:
        raise IRError(f"{reached} of {t.elements} are stored")


def _image(t: TensorType, coords: Sequence[Index], domain: Domain) -> _Image:
    used = {a for c in coords for a in c.axes()}
    if lost := [a.name for a in domain if a not in used and a.extent != 1]:
        raise IRError(f"it is stored again for every {lost[0]}, which is no part of where")
    return _Image({group: _places(t, coords, group) for group in _groups(coords)})


def _groups(coords: Sequence[Index]) -> list[tuple[int, ...]]:
    """The dimensions in groups that share no axis."""
    groups: list[tuple[set[Axis], tuple[int, ...]]] = []
    for number, c in enumerate(coords):
        axes = set(c.axes())
        members: tuple[int, ...] = (number,)
        for other in [g for g in groups if g[0] & axes]:
            groups.remove(other)
            axes, members = axes | other[0], (*other[1], *members)
        groups.append((axes, members))
    return [tuple(sorted(members)) for _, members in groups]


def _places(t: TensorType, coords: Sequence[Index], group: tuple[int, ...]) -> Array:
    axes = tuple(dict.fromkeys(a for d in group for a in coords[d].axes()))
    points = prod(int(a.extent) for a in axes)
    if points > MAX_POINTS:
        raise IRError(f"axes {', '.join(a.name for a in axes)} have {points} points together, too many to look at")
    along = np.indices([int(a.extent) for a in axes]).reshape(len(axes), points) if axes else ()
    grid = dict(zip(axes, along))
    flat = np.zeros(points, np.int64)
    for d in group:
        flat = flat * int(t.shape[d]) + coords[d].fold(lambda a: grid[a], np.asarray)
    places = np.unique(flat)
    if len(places) != points:
        raise IRError(f"a store reaches {points - len(places)} of its elements again")
    return places
