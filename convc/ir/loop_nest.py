"""Loop nests: ordered map and reduce stages that share outer axes.

Pointwise work, pooling and its gradient, statistics, softmax and cross-entropy, optimizer updates: all that
is not a matrix product. A reduction is over a monoid of one or several components (`argmax` carries a value
and its index); its result is a `Local` that later stages of the same outer point may read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array
from convc.ir.evaluate import Evaluator, extent_of, grid
from convc.ir.index import Axis
from convc.ir.scalar import Scalar, Store, walk
from convc.ir.types import TensorType

MONOIDS: dict[str, tuple[float, ...]] = {"sum": (0.0,), "max": (-np.inf,), "argmax": (-np.inf, -1.0)}
"""The neutral element of each monoid. `argmax` keeps the first of equal values; a NaN wins and stays."""
ACROSS_LANES = ("sum", "max")
"""Monoids that a vector machine may reduce lane by lane and combine at the end; `argmax` must see them in order."""


@dataclass(frozen=True)
class Reduce:
    """results = monoid over `axes` of `values`; sums of f32 accumulate in the order of the axes."""

    axes: tuple[Axis, ...]
    monoid: str
    results: tuple[str, ...]
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if self.monoid not in MONOIDS:
            raise IRError(f"unknown monoid '{self.monoid}'; known are {', '.join(MONOIDS)}")
        width = len(MONOIDS[self.monoid])
        if not len(self.results) == len(self.values) == width:
            raise IRError(f"monoid {self.monoid} has {width} components, not {len(self.results)}")

    @property
    def roots(self) -> tuple[Scalar, ...]:
        """The expressions that it evaluates."""
        return self.values


@dataclass(frozen=True)
class Map:
    """For every point of `axes`: the stores, in order."""

    axes: tuple[Axis, ...]
    stores: tuple[Store, ...]

    @property
    def roots(self) -> tuple[Scalar, ...]:
        """The expressions that it evaluates."""
        return tuple(s.value for s in self.stores)


Stage = Reduce | Map


@dataclass(frozen=True)
class LoopNest:
    """For every point of the outer axes: the stages in order."""

    axes: tuple[Axis, ...]
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        for axis in (*self.axes, *(a for s in self.stages for a in s.axes)):
            if axis.extent < 1:
                raise IRError(f"an axis of a loop nest must have at least 1 point, but {axis.name} has {axis.extent}")

    @property
    def flops(self) -> int:
        """Scalar operations at full capacity, loads and index arithmetic not counted."""
        total = 0
        outer = prod(int(a.extent) for a in self.axes)
        for stage in self.stages:
            inner = outer * prod(int(a.extent) for a in stage.axes)
            total += inner * sum(len([e for e in walk(r) if e.children()]) for r in stage.roots)
            total += inner if isinstance(stage, Reduce) else 0
        return total

    @property
    def stores(self) -> tuple[Store, ...]:
        return tuple(s for stage in self.stages if isinstance(stage, Map) for s in stage.stores)

    def execute(self, arrays: Sequence[Array], rows: int, outputs: Sequence[Array]) -> None:
        """Run the nest with NumPy on logical arrays, writing into `outputs`."""
        locals_: dict[str, Array] = {}
        for stage in self.stages:
            domain = (*self.axes, *stage.axes)
            inner = [1] * len(stage.axes)
            seen = {k: v.reshape(v.shape[: len(self.axes)] + tuple(inner)) for k, v in locals_.items()}
            evaluator = Evaluator(arrays, rows, grid(domain, rows), seen)
            if isinstance(stage, Map):
                for s in stage.stores:
                    evaluator.store(s, outputs[s.output])
                continue
            shape = [extent_of(a, rows) for a in domain]
            outer = shape[: len(self.axes)]
            values = [np.broadcast_to(evaluator(v), shape).reshape([*outer, -1]) for v in stage.values]
            locals_.update(zip(stage.results, _reduce(stage.monoid, values)))


def axes_of(t: TensorType, names: str = "nchw") -> tuple[Axis, ...]:
    """One axis for each of the type's: n, c, h, w, or i0, i1, ... beyond rank four."""
    letters = names if t.rank <= len(names) else [f"i{i}" for i in range(t.rank)]
    return tuple(Axis(letters[i], extent) for i, extent in enumerate(t.shape))


def _reduce(monoid: str, values: list[Array]) -> list[Array]:
    if monoid == "sum":
        return [values[0].sum(-1)]
    if monoid == "max":
        return [values[0].max(-1)]
    at = np.argmax(values[0], -1)[..., None]  # NumPy, too, lets the first NaN win
    return [np.take_along_axis(v, at, -1)[..., 0] for v in values]
