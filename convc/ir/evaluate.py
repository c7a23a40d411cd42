"""Scalar expressions evaluated with NumPy over a whole iteration domain at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from convc.ir.core import Array
from convc.ir.index import Axis, Bound, Index
from convc.ir.philox import uniform
from convc.ir.scalar import (
    LAST_WHOLE,
    Binary,
    Const,
    IndexValue,
    Load,
    Local,
    Next,
    Random,
    RowCount,
    Scalar,
    Select,
    Store,
    Unary,
    walk,
)
from convc.ir.types import Rows

UNARY_FN: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "abs": np.abs,
}
BINARY_FN: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}
COMPARE_FN: dict[str, Callable[[Array, Array], Array]] = {
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


def extent_of(axis: Axis, rows: int) -> int:
    """The axis' extent in this run: n for batch rows."""
    return rows if isinstance(axis.extent, Rows) else int(axis.extent)


def grid(axes: Sequence[Axis], rows: int) -> dict[Axis, Array]:
    """For each axis its values, shaped to broadcast over the domain of all of them."""
    rank = len(axes)
    return {
        a: np.arange(extent_of(a, rows)).reshape([-1 if j == i else 1 for j in range(rank)]) for i, a in enumerate(axes)
    }


def full_grid(axes: Sequence[Axis]) -> dict[Axis, Array]:
    """The same at full batch capacity."""
    return {
        a: np.arange(int(a.extent)).reshape([-1 if j == i else 1 for j in range(len(axes))]) for i, a in enumerate(axes)
    }


class Evaluator:
    """Evaluates expressions over one grid; `locals_` are results of earlier stages, already on the grid."""

    def __init__(
        self, arrays: Sequence[Array], rows: int, axes: Mapping[Axis, Array], locals_: Mapping[str, Array]
    ) -> None:
        self.arrays = arrays
        self.rows = rows
        self.axes = axes
        self.locals = locals_

    def __call__(self, root: Scalar) -> Array:
        values: dict[Scalar, Array] = {}
        with np.errstate(all="ignore"):
            for e in walk(root):
                values[e] = self._one(e, [values[c] for c in e.children()])
        return values[root]

    def index(self, e: Index) -> Array:
        return np.asarray(e.fold(lambda a: self.axes[a], np.asarray))

    def inside(self, bound: Bound) -> Array:
        i = self.index(bound.index)
        return np.asarray((i >= bound.lo) & (i < bound.hi))

    def store(self, s: Store, output: Array) -> None:
        coords = np.broadcast_arrays(*self.axes.values(), *[self.index(c) for c in s.coords])[len(self.axes) :]
        output[tuple(coords)] = self(s.value)

    def _one(self, e: Scalar, x: list[Array]) -> Array:
        match e:
            case Const(value):
                return np.asarray(value)
            case Load():
                return self._load(e)
            case Local(name):
                return self.locals[name]
            case IndexValue(index):
                return self.index(index)
            case RowCount():
                return np.asarray(float(self.rows))
            case Random(index, stream):
                return uniform(self.index(index), seed=x[0], stream=stream, step=x[1])
            case Next():
                return np.asarray(np.minimum(x[0] + 1, LAST_WHOLE))
            case Unary(fn):
                return UNARY_FN[fn](x[0])
            case Binary(fn):
                return BINARY_FN[fn](x[0], x[1])
            case Select(fn):
                return np.where(COMPARE_FN[fn](x[0], x[1]), x[2], x[3])
        raise AssertionError(f"no evaluation for {type(e).__name__}")

    def _load(self, e: Load) -> Array:
        array = self.arrays[e.operand]
        coords = [self.index(c) for c in e.coords]
        ok = np.asarray(True)
        for c, extent in zip(coords, array.shape, strict=True):
            ok = ok & (c >= 0) & (c < extent)
        for g in e.guards:
            ok = ok & self.inside(g)
        if ok.size and ok.all():  # of no point at all, too, all() holds
            return np.asarray(array[tuple(coords)])
        clipped = tuple(np.clip(c, 0, extent - 1) for c, extent in zip(coords, array.shape))
        return np.where(ok, array[clipped], np.asarray(e.fill, array.dtype))
