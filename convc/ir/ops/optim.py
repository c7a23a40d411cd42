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
        m, v, direction = _moments(g + decay * w, m, v, beta1, beta2, eps, step)
        return w - lr * direction, m, v

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        m, v, lr, beta1, beta2, eps, decay, step = rest
        m, v, ratio, root = _moment_terms(g + decay * w, m, v, beta1, beta2, eps, step)
        return w - lr * ratio / root, m, v


@dataclass(frozen=True)
class AdamW(Update, name="adamw"):
    """m' = b1*m + (1-b1)*g;  v' = b2*v + (1-b2)*g*g;  w' = w - lr * ((m'/c1) / (sqrt(v'/c2) + eps) + weight_decay*w).

    c1 and c2 as in adam, of which it differs by the decay, which does not go through the moments. Source: Loshchilov
    and Hutter, 2019, algorithm 2, with the rate multiplying the decay too, as in PyTorch.
    """

    state: ClassVar[tuple[str, ...]] = ("adamw.m", "adamw.v")
    scalars: ClassVar[tuple[str, ...]] = Adam.scalars
    counts: ClassVar[tuple[str, ...]] = Adam.counts

    def reference(self, w: Array, g: Array, *rest: Array) -> tuple[Array, ...]:
        m, v, lr, beta1, beta2, eps, decay, step = rest
        m, v, direction = _moments(g, m, v, beta1, beta2, eps, step)
        return w - lr * (direction + decay * w), m, v

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        m, v, lr, beta1, beta2, eps, decay, step = rest
        m, v, ratio, root = _moment_terms(g, m, v, beta1, beta2, eps, step)
        return w - lr * (ratio / root + decay * w), m, v


@dataclass(frozen=True)
class RmsProp(Update, name="rmsprop"):
    """s' = alpha*s + (1-alpha)*d*d;  w' = w - lr * d / (sqrt(s') + eps), with d = g + weight_decay * w.

    Not centred, and eps is outside the root, as in PyTorch. Source: Tieleman and Hinton, 2012, lecture 6.5.
    """

    state: ClassVar[tuple[str, ...]] = ("rmsprop.square",)
    scalars: ClassVar[tuple[str, ...]] = ("lr", "alpha", "eps", "weight_decay")

    def reference(self, w: Array, g: Array, *rest: Array) -> tuple[Array, ...]:
        s, lr, alpha, eps, decay = rest
        d = g + decay * w
        s = alpha * s + (1 - alpha) * d * d
        return w - lr * (d / (np.sqrt(s) + eps)), s

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        s, lr, alpha, eps, decay = rest
        d = g + decay * w
        s = alpha * s + (1.0 - alpha) * d * d
        return w - lr * (d / (Unary("sqrt", s) + eps)), s


@dataclass(frozen=True)
class RmsPropMomentum(Update, name="rmsprop_momentum"):
    """s' as in rmsprop;  v' = momentum * v + d / (sqrt(s') + eps);  w' = w - lr * v'.

    In PyTorch's form: the momentum is of the scaled gradients, and the rate multiplies it.
    """

    state: ClassVar[tuple[str, ...]] = ("rmsprop.square", "rmsprop.velocity")
    scalars: ClassVar[tuple[str, ...]] = ("lr", "alpha", "eps", "momentum", "weight_decay")

    def reference(self, w: Array, g: Array, *rest: Array) -> tuple[Array, ...]:
        s, v, lr, alpha, eps, momentum, decay = rest
        d = g + decay * w
        s = alpha * s + (1 - alpha) * d * d
        v = momentum * v + d / (np.sqrt(s) + eps)
        return w - lr * v, s, v

    def point(self, w: Scalar, g: Scalar, *rest: Scalar) -> tuple[Scalar, ...]:
        s, v, lr, alpha, eps, momentum, decay = rest
        d = g + decay * w
        s = alpha * s + (1.0 - alpha) * d * d
        v = momentum * v + d / (Unary("sqrt", s) + eps)
        return w - lr * v, s, v


def _moments(
    d: Array, m: Array, v: Array, beta1: Array, beta2: Array, eps: Array, step: Array
) -> tuple[Array, Array, Array]:
    """The new moments of Adam, and the direction that they give."""
    m = beta1 * m + (1 - beta1) * d
    v = beta2 * v + (1 - beta2) * d * d
    c1, c2 = 1 - beta1**step, 1 - beta2**step
    return m, v, (m / c1) / (np.sqrt(v / c2) + eps)


def _moment_terms(
    d: Scalar, m: Scalar, v: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, step: Scalar
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """The new moments of one element, and the two parts of the direction: its quotient is left to the caller."""
    m = beta1 * m + (1.0 - beta1) * d
    v = beta2 * v + (1.0 - beta2) * d * d
    c1, c2 = _one_minus_power(beta1, step), _one_minus_power(beta2, step)
    return m, v, m / c1, Unary("sqrt", v / c2) + eps


def _one_minus_power(base: Scalar, exponent: Scalar) -> Scalar:
    """1 - base^exponent, without the cancellation for a base near 1; a base of 0 gives 1."""
    least_normal = Const(1.1754943508222875e-38)  # keeps the logarithm of a zero finite
    return -Unary("expm1", exponent * Unary("log", Binary("max", base, least_normal)))
