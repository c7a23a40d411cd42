"""Pointwise operators. Each gives its scalar function once, and NumPy's version as the oracle.

Gradients are functions of the output where that suffices (`relu_grad(dy, y)`): the input need not be kept,
and epilogue fusion still fires after autodiff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Builder, Node, Op, Value
from convc.ir.index import Index
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, axes_of
from convc.ir.ops.reduce import Sum, sum_to
from convc.ir.scalar import Load, Scalar, Unary, exp, maximum, select, store
from convc.ir.types import TensorType


@dataclass(frozen=True)
class Pointwise(Op):
    """out[i] = scalar(inputs[i], ...): operands of the first one's shape, or f32[] for all points."""

    traits = frozenset({"scalar"})

    def scalar(self, *args: Scalar) -> Scalar:
        """The function of one point."""
        raise IRError(f"operator '{self.name}' has no scalar function")

    def scalar_at(self, point: Sequence[Index], shape: Sequence[int], *args: Scalar) -> Scalar:
        """The same for the output's `point`, for an operator whose value depends on where it is computed."""
        return self.scalar(*args)

    def coords(self, operand: int, inputs: Sequence[TensorType], point: Sequence[Index]) -> tuple[Index, ...]:
        """Where operand number `operand` is read for the output point."""
        return () if inputs[operand].rank == 0 else tuple(point)

    def infer(self, *operands: Any, **_: Any) -> tuple[TensorType, ...]:
        first, *rest = operands
        for t in rest:
            if t.shape not in ((), first.shape):
                raise IRError(f"operands must have one shape, but they are {first} and {t}")
            if t.dtype != first.dtype:
                raise IRError(f"operands must have one dtype, but they are {first.dtype} and {t.dtype}")
        return (first,)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        point = [Index.of(a) for a in axes]
        args = [Load(i, self.coords(i, inputs, point)) for i in range(len(inputs))]
        value = self.scalar_at(point, outputs[0].shape, *args)
        return Loops(LoopNest(axes, (Map((), (store(0, point, value),)),)), results=tuple(outputs))


@dataclass(frozen=True)
class Relu(Pointwise, name="relu"):
    """y = max(x, 0); a NaN stays a NaN."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (np.maximum(x, 0),)

    def scalar(self, *args: Scalar) -> Scalar:
        return maximum(args[0], 0.0)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return (b(ReluGrad(), grads[0], node.out),)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ReluGrad(Pointwise, name="relu_grad"):
    """dx = 0 where y <= 0, else dy: what a NaN lets through is seen."""

    def infer(self, dy: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        return super().infer(dy, y)

    def reference(self, dy: Array, y: Array) -> tuple[Array, ...]:
        return (np.where(y <= 0, np.zeros_like(dy), dy),)

    def scalar(self, *args: Scalar) -> Scalar:
        return select("le", args[1], 0.0, 0.0, args[0])

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return b(ReluGrad(), grads[0], node.inputs[1]), None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Leaky(Pointwise):
    """What leaky_relu and its gradient share. The slope is above 0, so that y has x's sign: the gradient reads y."""

    slope: float = 0.01

    def validate(self) -> None:
        if not 0 < self.slope < inf:
            raise IRError(
                f"slope must be above 0 and finite, for the gradient to tell by y's sign, not {self.slope};"
                " with slope 0 it is relu"
            )


@dataclass(frozen=True)
class LeakyRelu(Leaky, name="leaky_relu"):
    """y = x where x > 0, else slope * x; a NaN stays a NaN."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (np.where(x > 0, x, x * self.slope),)

    def scalar(self, *args: Scalar) -> Scalar:
        return select("gt", args[0], 0.0, args[0], args[0] * self.slope)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return (b(LeakyReluGrad(self.slope), grads[0], node.out),)  # type: ignore[arg-type]


@dataclass(frozen=True)
class LeakyReluGrad(Leaky, name="leaky_relu_grad"):
    """dx = dy where y > 0, else slope * dy."""

    def infer(self, dy: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        return super().infer(dy, y)

    def reference(self, dy: Array, y: Array) -> tuple[Array, ...]:
        return (np.where(y > 0, dy, dy * self.slope),)

    def scalar(self, *args: Scalar) -> Scalar:
        return select("gt", args[1], 0.0, args[0], args[0] * self.slope)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return b(self, grads[0], node.inputs[1]), None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sigmoid(Pointwise, name="sigmoid"):
    """y = 1 / (1 + exp(-x))."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x)

    def reference(self, x: Array) -> tuple[Array, ...]:
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-x)),)

    def scalar(self, *args: Scalar) -> Scalar:
        return 1.0 / (1.0 + exp(-args[0]))

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return (b(SigmoidGrad(), grads[0], node.out),)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SigmoidGrad(Pointwise, name="sigmoid_grad"):
    """dx = dy * y * (1 - y)."""

    def infer(self, dy: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        return super().infer(dy, y)

    def reference(self, dy: Array, y: Array) -> tuple[Array, ...]:
        return (dy * y * (1 - y),)

    def scalar(self, *args: Scalar) -> Scalar:
        dy, y = args
        return dy * y * (1.0 - y)


@dataclass(frozen=True)
class Tanh(Pointwise, name="tanh"):
    """y = tanh(x)."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (np.tanh(x),)

    def scalar(self, *args: Scalar) -> Scalar:
        return Unary("tanh", args[0])

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return (b(TanhGrad(), grads[0], node.out),)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TanhGrad(Pointwise, name="tanh_grad"):
    """dx = dy * (1 - y*y)."""

    def infer(self, dy: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        return super().infer(dy, y)

    def reference(self, dy: Array, y: Array) -> tuple[Array, ...]:
        return (dy * (1 - y * y),)

    def scalar(self, *args: Scalar) -> Scalar:
        dy, y = args
        return dy * (1.0 - y * y)


@dataclass(frozen=True)
class BiasAdd(Pointwise, name="bias_add"):
    """y[n, c, ...] = x[n, c, ...] + bias[c]: along axis 1, or `axis`."""

    axis: int = 1

    def infer(self, x: TensorType, bias: TensorType) -> tuple[TensorType, ...]:
        if not 0 <= self.axis < x.rank:
            raise IRError(f"axis must be one of x's {x.rank}, not {self.axis}")
        if bias.shape != (x.shape[self.axis],) or bias.dtype != x.dtype:
            wanted = TensorType(x.dtype, (x.shape[self.axis],))
            raise IRError(f"bias must be {wanted} (x's axis {self.axis}), not {bias}")
        return (x,)

    def coords(self, operand: int, inputs: Sequence[TensorType], point: Sequence[Index]) -> tuple[Index, ...]:
        return (point[self.axis],) if operand == 1 else tuple(point)

    def reference(self, x: Array, bias: Array) -> tuple[Array, ...]:
        return (x + bias.reshape([-1 if i == self.axis else 1 for i in range(x.ndim)]),)

    def scalar(self, *args: Scalar) -> Scalar:
        return args[0] + args[1]

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        return dy, b(Sum(tuple(i for i in range(dy.type.rank) if i != self.axis)), dy)


@dataclass(frozen=True)
class Add(Pointwise, name="add"):
    """z = x + y; y may be f32[]."""

    def infer(self, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x, y)

    def reference(self, x: Array, y: Array) -> tuple[Array, ...]:
        return (x + y,)

    def scalar(self, *args: Scalar) -> Scalar:
        return args[0] + args[1]

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dz = grads[0]
        assert dz is not None
        return dz, sum_to(b, dz, node.inputs[1].type)


@dataclass(frozen=True)
class Mul(Pointwise, name="mul"):
    """z = x * y; y may be f32[]."""

    def infer(self, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        return super().infer(x, y)

    def reference(self, x: Array, y: Array) -> tuple[Array, ...]:
        return (x * y,)

    def scalar(self, *args: Scalar) -> Scalar:
        return args[0] * args[1]

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dz, (x, y) = grads[0], node.inputs
        assert dz is not None
        return b(Mul(), dz, y), sum_to(b, b(Mul(), dz, x), y.type)
