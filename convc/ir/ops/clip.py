"""Clipping of gradients by their global norm: the norm, and the factor that brings it down to a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Op
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, axes_of
from convc.ir.ops.pointwise import Pointwise
from convc.ir.scalar import Binary, Local, Scalar, Unary, load, maximum, select, store
from convc.ir.types import TensorType

EPS = 1e-6
"""What PyTorch's clip_grad_norm_ adds to the norm that it divides by."""


@dataclass(frozen=True)
class Norm(Op, name="norm"):
    """y = sqrt(sum of x*x) over `axes`, which leave the shape.

    The squares are of x / max|x|: neither do they overflow, nor is what is small lost. y is infinite where an x is,
    and NaN where one is.
    """

    traits = frozenset({"reduction"})

    axes: tuple[int, ...] = ()

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if len(set(self.axes)) != len(self.axes) or any(not 0 <= a < x.rank for a in self.axes):
            raise IRError(f"axes must be different ones of x's {x.rank}, not {list(self.axes)}")
        return (TensorType(x.dtype, tuple(e for i, e in enumerate(x.shape) if i not in self.axes)),)

    def reference(self, x: Array) -> tuple[Array, ...]:
        top = np.abs(x).max(self.axes, keepdims=True)
        with np.errstate(invalid="ignore"):
            share = np.where(np.abs(x) == top, 1, x / np.where(top == 0, 1, top))
        total = np.sqrt((share * share).sum(self.axes))
        return (np.asarray(top.reshape(total.shape) * total),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(inputs[0])
        outer = tuple(a for i, a in enumerate(axes) if i not in self.axes)
        inner = tuple(axes[i] for i in sorted(self.axes))
        size, top = Unary("abs", load(0, *axes)), Local("top")
        share = _share(size, top)
        stages = (
            Reduce(inner, "max", ("top",), (size,)),
            Reduce(inner, "sum", ("total",), (share * share,)),
            Map((), (store(0, outer, top * Unary("sqrt", Local("total"))),)),
        )
        return Loops(LoopNest(outer, stages), results=tuple(outputs))


def _share(size: Scalar, top: Scalar) -> Scalar:
    """size / top, and 1 where they are equal: 0 / 0 and infinity / infinity too."""
    return select("eq", size, top, 1.0, size / top)


@dataclass(frozen=True)
class Hypot(Pointwise, name="hypot"):
    """z = sqrt(x*x + y*y), without overflow of the squares; a NaN stays a NaN, beside an infinity too."""

    def infer(self, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x, y)

    def reference(self, x: Array, y: Array) -> tuple[Array, ...]:
        return (np.where(np.isnan(x) | np.isnan(y), np.nan, np.hypot(x, y)),)

    def scalar(self, *args: Scalar) -> Scalar:
        x, y = (Unary("abs", a) for a in args)
        top = maximum(x, y)
        share = _share(Binary("min", x, y), top)
        return top * Unary("sqrt", 1.0 + share * share)


@dataclass(frozen=True)
class ClipScale(Pointwise, name="clip_scale"):
    """y = min(1, limit / (norm + 1e-6)), as PyTorch's clip_grad_norm_ has it; NaN where the norm is.

    It is 0 for an infinite norm: what is finite of the gradient vanishes, and what is not becomes NaN.
    """

    scalars: ClassVar[tuple[str, ...]] = ("clip_norm",)

    def infer(self, norm: TensorType, limit: TensorType) -> tuple[TensorType, ...]:
        return super().infer(norm, limit)

    def reference(self, norm: Array, limit: Array) -> tuple[Array, ...]:
        ratio = limit / (norm + EPS)
        return (np.where(ratio >= 1, 1, ratio),)

    def scalar(self, *args: Scalar) -> Scalar:
        norm, limit = args
        ratio = limit / (norm + EPS)
        return select("ge", ratio, 1.0, 1.0, ratio)
