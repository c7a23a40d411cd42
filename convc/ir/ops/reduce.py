"""Sums over axes, and the splat constant that seeds a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from convc.errors import IRError
from convc.ir.core import RESULT, Array, Builder, Node, Op, Value
from convc.ir.fields import same
from convc.ir.index import Axis
from convc.ir.kernel_rules import EXACT_BELOW
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, axes_of
from convc.ir.scalar import Const, Local, RowCount, Scalar, load, store
from convc.ir.types import Rows, TensorType


@dataclass(frozen=True)
class Sum(Op, name="sum"):
    """y = x summed over `axes`, which leave the shape; `mean=True` divides by their number (rows count n)."""

    traits = frozenset({"reduction"})

    axes: tuple[int, ...] = ()
    mean: bool = False

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if len(set(self.axes)) != len(self.axes) or any(not 0 <= a < x.rank for a in self.axes):
            raise IRError(f"axes must be different ones of x's {x.rank}, not {list(self.axes)}")
        return (TensorType(x.dtype, tuple(e for i, e in enumerate(x.shape) if i not in self.axes)),)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (np.asarray(x.mean(self.axes) if self.mean else x.sum(self.axes)),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return (b(Broadcast(self.axes, self.mean, result=node.inputs[0].type), dy),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(inputs[0])
        outer = tuple(a for i, a in enumerate(axes) if i not in self.axes)
        inner = tuple(axes[i] for i in sorted(self.axes))
        total: Scalar = Local("total")
        if self.mean:
            total = total / count(inner)
        stages = (Reduce(inner, "sum", ("total",), (load(0, *axes),)), Map((), (store(0, outer, total),)))
        return Loops(LoopNest(outer, stages), results=tuple(outputs))


@dataclass(frozen=True)
class Broadcast(Op, name="broadcast"):
    """x[point] = y[point without `axes`]; `mean=True` divides by the number of copies. Declared type: x's."""

    traits = frozenset({"moves"})

    axes: tuple[int, ...] = ()
    mean: bool = False
    result: TensorType = field(kw_only=True, metadata=RESULT)

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("f32",) if self.mean else ("f32", "i32")

    def infer(self, y: TensorType) -> tuple[TensorType, ...]:
        if len(set(self.axes)) != len(self.axes) or any(not 0 <= a < self.result.rank for a in self.axes):
            raise IRError(f"axes must be different ones of the result's {self.result.rank}, not {list(self.axes)}")
        if y.dtype != self.result.dtype:
            raise IRError(f"a broadcast keeps the dtype, but they are {y} and {self.result}")
        kept = tuple(e for i, e in enumerate(self.result.shape) if i not in self.axes)
        if y.shape != kept:
            raise IRError(
                f"{self.result} without axes {list(self.axes)} needs an operand of shape {list(kept)}, not {y}"
            )
        return (self.result,)

    def execute(self, arrays: Sequence[Array], rows: int) -> tuple[Array, ...]:
        shape = [rows if isinstance(e, Rows) else int(e) for e in self.result.shape]
        copies = prod(shape[a] for a in self.axes)
        y = np.expand_dims(arrays[0], self.axes)
        return (np.broadcast_to(y / copies if self.mean else y, shape).copy(),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dx = grads[0]
        assert dx is not None
        return (b(Sum(self.axes, self.mean), dx),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        value: Scalar = load(0, *[a for i, a in enumerate(axes) if i not in self.axes])
        if self.mean:
            value = value / count([axes[i] for i in self.axes])
        return Loops(LoopNest(axes, (Map((), (store(0, axes, value),)),)), results=tuple(outputs))


@dataclass(frozen=True)
class Full(Op, name="full"):
    """A tensor of the declared type, every element `value`, rounded to that type."""

    traits = frozenset({"constant"})

    value: float = 0.0
    result: TensorType = field(kw_only=True, metadata=RESULT)

    def __eq__(self, other: object) -> bool:
        """0.0 and -0.0 are different constants."""
        return isinstance(other, Full) and same(self.value, other.value) and self.result == other.result

    @property
    def number(self) -> float:
        """What its elements are: 0.1 in f32 is 0.100000001490116."""
        return float(np.float32(self.value))

    def infer(self) -> tuple[TensorType, ...]:
        if self.result.dtype == "i32" and not (abs(self.value) <= EXACT_BELOW and self.value.is_integer()):
            raise IRError(
                f"a value of {self.result} must be a whole number of at most 2^24 in magnitude, not {self.value}"
            )
        return (self.result,)

    def execute(self, arrays: Sequence[Array], rows: int) -> tuple[Array, ...]:
        shape = [rows if isinstance(e, Rows) else int(e) for e in self.result.shape]
        return (np.full(shape, self.number),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return ()

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        return Loops(LoopNest(axes, (Map((), (store(0, axes, Const(self.number)),)),)), results=tuple(outputs))


def count(axes: Sequence[Axis]) -> Scalar:
    """The number of points of `axes` in this run: n for batch rows."""
    fixed = prod(int(a.extent) for a in axes if not isinstance(a.extent, Rows))
    if not any(isinstance(a.extent, Rows) for a in axes):
        return Const(float(fixed))
    return RowCount() * float(fixed) if fixed != 1 else RowCount()


def sum_to(b: Builder, x: Value, wanted: TensorType) -> Value:
    """x summed down to a scalar operand's type, where the operand was broadcast."""
    return x if wanted.rank == x.type.rank else b(Sum(tuple(range(x.type.rank))), x)
