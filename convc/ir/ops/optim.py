"""Optimizer updates. Every number of an optimizer is a run-time scalar: a study compiles once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Op
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, axes_of
from convc.ir.scalar import Binary, Const, Load, Scalar, Unary, load, store
from convc.ir.types import TensorType


@dataclass(frozen=True)
class Update(Op):
    """Operands: the parameter, its gradient, the state, then the scalars. Results: parameter and state, new."""

    traits = frozenset({"update"})
    state: ClassVar[tuple[str, ...]] = ()
    scalars: ClassVar[tuple[str, ...]] = ()
    counts: ClassVar[tuple[str, ...]] = ()
    """Those of the scalars that are whole numbers, i32[]; the others are f32[]."""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        tensors = 2 + len(self.state)
        if len(inputs) != tensors + len(self.scalars):
            wanted = ", ".join(("w", "g", *self.state, *self.scalars))
            raise IRError(f"operands must be ({wanted}), but there are {len(inputs)}")
        for t in inputs[1:tensors]:
            if t.logical() != inputs[0].logical():
                raise IRError(f"gradient and state must have the parameter's type {inputs[0]}, not {t}")
        for name, t in zip(self.scalars, inputs[tensors:]):
            if t.rank != 0:
                raise IRError(f"{name} must be a scalar, not {t}")
        return (inputs[0], *inputs[2:tensors])

    def dtypes(self, operand: int) -> tuple[str, ...]:
        scalar = operand - 2 - len(self.state)
        return ("i32", "f32") if scalar >= 0 and self.scalars[scalar] in self.counts else ("f32",)

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        """The new parameter and state of one element."""
        raise IRError(f"operator '{self.name}' has no update rule")

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        tensors = 2 + len(self.state)
        args: list[Load] = [load(i, *axes) if i < tensors else load(i) for i in range(len(inputs))]
        stores = tuple(store(i, axes, value) for i, value in enumerate(self.point(*args)))
        return Loops(LoopNest(axes, (Map((), stores),)), results=tuple(outputs))


@dataclass(frozen=True)
class Sgd(Update, name="sgd"):
    """w' = w - lr * (g + weight_decay * w)."""

    scalars: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")

    def reference(self, w: Array, g: Array, *rest: Array) -> tuple[Array, ...]:
        lr, decay = rest
        return (w - lr * (g + decay * w),)

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        lr, decay = rest
        return (w - lr * (g + decay * w),)


@dataclass(frozen=True)
class SgdMomentum(Update, name="sgd_momentum"):
    """d = g + weight_decay * w;  v' = momentum * v + d;  w' = w - lr * v'.

    With `nesterov=True`, w' = w - lr * (d + momentum * v'). Source: Sutskever et al., 2013, in the form
    where the rate multiplies the velocity.
    """

    state: ClassVar[tuple[str, ...]] = ("velocity",)
    scalars: ClassVar[tuple[str, ...]] = ("lr", "momentum", "weight_decay")

    nesterov: bool = False

    def reference(self, w: Array, g: Array, *rest: Array) -> tuple[Array, ...]:
        v, lr, momentum, decay = rest
        d = g + decay * w
        v = momentum * v + d
        return w - lr * (d + momentum * v if self.nesterov else v), v

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        v, lr, momentum, decay = rest
        d = g + decay * w
        v = momentum * v + d
        return w - lr * (d + momentum * v if self.nesterov else v), v


@dataclass(frozen=True)
class Adam(Update, name="adam"):
    """m' = b1*m + (1-b1)*d;  v' = b2*v + (1-b2)*d*d;  w' = w - lr * (m'/c1) / (sqrt(v'/c2) + eps).

    d = g + weight_decay * w, c1 = 1 - b1^step, c2 = 1 - b2^step; step counts from 1. Source: Kingma and
    Ba, 2015, algorithm 1.
    """

    state: ClassVar[tuple[str, ...]] = ("m", "v")
    scalars: ClassVar[tuple[str, ...]] = ("lr", "beta1", "beta2", "eps", "weight_decay", "step")
    counts: ClassVar[tuple[str, ...]] = ("step",)

    def reference(self, w: Array, g: Array, *rest: Array) -> tuple[Array, ...]:
        m, v, lr, beta1, beta2, eps, decay, step = rest
        d = g + decay * w
        m = beta1 * m + (1 - beta1) * d
        v = beta2 * v + (1 - beta2) * d * d
        c1, c2 = 1 - beta1**step, 1 - beta2**step
        return w - lr * (m / c1) / (np.sqrt(v / c2) + eps), m, v

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        m, v, lr, beta1, beta2, eps, decay, step = rest
        d = g + decay * w
        m = beta1 * m + (1.0 - beta1) * d
        v = beta2 * v + (1.0 - beta2) * d * d
        c1, c2 = _one_minus_power(beta1, step), _one_minus_power(beta2, step)
        return w - lr * (m / c1) / (Unary("sqrt", v / c2) + eps), m, v


def _one_minus_power(base: Scalar, exponent: Scalar) -> Scalar:
    """1 - base^exponent, without the cancellation for a base near 1; a base of 0 gives 1."""
    least_normal = Const(1.1754943508222875e-38)  # keeps the logarithm of a zero finite
    return -Unary("expm1", exponent * Unary("log", Binary("max", base, least_normal)))
