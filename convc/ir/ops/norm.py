"""Local response normalisation across channels, and its gradient.

    s[c] = k + alpha/size * sum of x[j]^2 over j = c - size/2 .. c + (size-1)/2 (those that there are)
    y[c] = x[c] * s[c]^-beta

for every row and pixel. Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep
Convolutional Neural Networks, 2012, section 3.3, which does not divide alpha by the size; PyTorch and ONNX do, and
so does this: the paper's alpha = 1e-4 over 5 channels is 5e-4 here.

The power is a product of roots: s^(3/4) is sqrt(s) * sqrt(sqrt(s)), within 4u of the exact one for u = 2^-24. Of a
beta that is no multiple of 1/4 the rest r, |r| <= 1/8, goes through exp(-r * log(s)), whose relative error is near
8u * |r * log(s)| + 4u: 4u to 16u over the range of f32, where exp(-beta * log(s)) would have 400u.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Builder, Node, Op, Value
from convc.ir.index import Axis, Index
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, Stage, axes_of
from convc.ir.scalar import Local, Scalar, Unary, exp, load, store
from convc.ir.types import TensorType

LEAST_NORMAL = 2.0**-126
LARGEST_ROOTED = 8
"""A beta beyond this goes through exp and log alone."""


@dataclass(frozen=True)
class Normalisation(Op):
    """What the operator and its gradients share; the last operand but the gradients' terms is x, NCHW."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def validate(self) -> None:
        if self.size < 1:
            raise IRError(f"size is a number of channels of at least 1, not {self.size}")
        if not (self.k >= LEAST_NORMAL and self.alpha >= 0) or not all(map(isfinite, (self.k, self.alpha, self.beta))):
            raise IRError(
                "k must be above 0 and alpha 0 or more, so that a power of k + alpha/size * sum exists in f32"
                f" (k of 2^-126 or more), but k is {self.k}, alpha {self.alpha}, beta {self.beta}"
            )

    @property
    def shared(self) -> dict[str, Any]:
        return {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}

    @property
    def before(self) -> int:
        """How many channels before its own a window begins."""
        return self.size // 2

    @property
    def share(self) -> float:
        return self.alpha / self.size

    def infer(self, *operands: Any) -> tuple[TensorType, ...]:
        x = operands[0]
        if x.rank != 4:
            raise IRError(f"x must be NCHW, but it is {x}")
        if any(t.logical() != x.logical() for t in operands):
            raise IRError(f"operands must have one type, but they are {', '.join(map(str, operands))}")
        return (x,)

    def summed(self, x: Array, before: int) -> Array:
        """For each channel the sum of x over the `size` channels that begin `before` ahead of it."""
        padded = np.pad(x, ((0, 0), (before, self.size - 1 - before), (0, 0), (0, 0)))
        return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, self.size, 1).sum(-1))

    def scale(self, x: Array) -> Array:
        return np.asarray(self.k + self.share * self.summed(x * x, self.before))

    def scale_stage(self, axes: Sequence[Axis], operand: int) -> Stage:
        """squares = the sum of squares of the window of x's channel."""
        at = load(operand, *window(axes, self.tap, self.before))
        return Reduce((self.tap,), "sum", ("squares",), (at * at,))

    @property
    def tap(self) -> Axis:
        return Axis("j", self.size)

    def divided(self, x: Scalar) -> Scalar:
        """x * s^-beta, after `scale_stage`."""
        s = self.scaled
        quarters = round(4 * self.beta) if abs(self.beta) <= LARGEST_ROOTED else 0
        rest = self.beta - quarters / 4
        for factor in _quarter_power(
            s, abs(quarters)
        ):  # one by one: their product may overflow where the result is small
            x = x / factor if quarters > 0 else x * factor
        return x * exp(-rest * Unary("log", s)) if rest else x

    @property
    def scaled(self) -> Scalar:
        """s, after `scale_stage`."""
        return self.k + self.share * Local("squares")


def _quarter_power(s: Scalar, quarters: int) -> list[Scalar]:
    """Factors of s^(quarters / 4), each within two roundings."""
    root = Unary("sqrt", s)
    roots: dict[int, list[Scalar]] = {0: [], 1: [Unary("sqrt", root)], 2: [root], 3: [root * Unary("sqrt", root)]}
    return [*roots[quarters % 4], *[s] * (quarters // 4)]


def window(axes: Sequence[Axis], tap: Axis, before: int) -> tuple[Index, ...]:
    """The point `axes` with its channel moved to the tap's; a channel that is not there counts as 0."""
    n, c, h, w = axes
    return Index.of(n), Index.of(c) + tap - before, Index.of(h), Index.of(w)


@dataclass(frozen=True)
class Lrn(Normalisation, name="lrn"):
    """y = x * (k + alpha/size * (sum of squares over `size` channels around))^-beta, for x NCHW."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (x * self.scale(x) ** -self.beta,)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        """s is computed again from x, which the operator before keeps anyway: twice `size` multiply-adds an
        element, little beside a convolution's hundreds, against one more tensor kept through the whole step."""
        x, dy = node.inputs[0], grads[0]
        assert dy is not None
        return (b(LrnGrad(**self.shared), dy, x, b(LrnTerms(**self.shared), dy, x)),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        y = self.divided(load(0, *axes))
        stages = (self.scale_stage(axes, 0), Map((), (store(0, axes, y),)))
        return Loops(LoopNest(axes, stages), results=tuple(outputs))


@dataclass(frozen=True)
class LrnTerms(Normalisation, name="lrn_terms"):
    """t = dy * x * s^(-beta - 1): what a channel adds to the gradients of those in whose windows it lies."""

    def infer(self, dy: TensorType, x: TensorType) -> tuple[TensorType, ...]:
        return super().infer(dy, x)

    def reference(self, dy: Array, x: Array) -> tuple[Array, ...]:
        return (dy * x * self.scale(x) ** (-self.beta - 1),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        t = self.divided(load(0, *axes) * (load(1, *axes) / self.scaled))
        stages = (self.scale_stage(axes, 1), Map((), (store(0, axes, t),)))
        return Loops(LoopNest(axes, stages), results=tuple(outputs))


@dataclass(frozen=True)
class LrnGrad(Normalisation, name="lrn_grad"):
    """dx = dy * s^-beta - 2 * beta * alpha/size * x * (sum of t over the channels whose windows hold x's)."""

    def infer(self, dy: TensorType, x: TensorType, t: TensorType) -> tuple[TensorType, ...]:
        return super().infer(dy, x, t)

    def reference(self, dy: Array, x: Array, t: Array) -> tuple[Array, ...]:
        around = self.summed(t, self.size - 1 - self.before)  # j's window holds c: c's holds j, read the other way
        return (dy * self.scale(x) ** -self.beta - 2 * self.beta * self.share * x * around,)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        term = load(2, *window(axes, self.tap, self.size - 1 - self.before))
        dx = self.divided(load(0, *axes))
        dx = dx - 2 * self.beta * self.share * (load(1, *axes) * Local("around"))
        stages = (
            self.scale_stage(axes, 1),
            Reduce((self.tap,), "sum", ("around",), (term,)),
            Map((), (store(0, axes, dx),)),
        )
        return Loops(LoopNest(axes, stages), results=tuple(outputs))
