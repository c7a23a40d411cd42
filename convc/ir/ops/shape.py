"""Operators that move or rename elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from convc.errors import IRError
from convc.ir.core import RESULT, Array, Builder, Node, Op, Value
from convc.ir.index import Index
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, axes_of
from convc.ir.scalar import load, store
from convc.ir.types import Layout, TensorType, row_major


def _check_rows(x: TensorType, result: TensorType) -> None:
    if (x.rows or result.rows) and x.rows != result.rows:
        raise IRError(
            f"a reshape may not mix batch rows: axis 0 is {x.shape[0] if x.shape else 'absent'} in {x}"
            f" and {result.shape[0] if result.shape else 'absent'} in {result}; use a fixed batch"
        )


@dataclass(frozen=True)
class Moving(Op):
    """Base of operators whose result's elements are the operand's, bit for bit."""

    traits = frozenset({"moves"})

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("f32", "i32")


@dataclass(frozen=True)
class Reshape(Moving, name="reshape"):
    """y has x's elements in row-major order and the declared shape; batch rows stay axis 0."""

    result: TensorType = field(kw_only=True, metadata=RESULT)

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if x.dtype != self.result.dtype:
            raise IRError(f"a reshape keeps the dtype, but they are {x} and {self.result}")
        if x.elements != self.result.elements:
            raise IRError(f"{x} has {x.elements} elements, {self.result} has {self.result.elements}")
        _check_rows(x, self.result)
        return (self.result,)

    def reference(self, x: Array) -> tuple[Array, ...]:
        rows = self.result.rows is not None
        return (x.reshape([x.shape[0] if i == 0 and rows else int(e) for i, e in enumerate(self.result.shape)]),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return (b(Reshape(result=node.inputs[0].type), dy),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        flat = row_major(outputs[0].rank).offset(axes, outputs[0].shape)
        coords: list[Index] = []
        for extent in reversed([int(e) for e in inputs[0].shape[1:]]):
            coords.append(flat % extent)
            flat = flat // extent
        coords = [flat, *reversed(coords)] if inputs[0].rank else []
        return Loops(LoopNest(axes, (Map((), (store(0, axes, load(0, *coords)),)),)), results=tuple(outputs))


@dataclass(frozen=True)
class Flatten(Moving, name="flatten"):
    """y[n, c*h*w] = x[n, c, h, w]: all axes but the first become one."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if x.rank < 2:
            raise IRError(f"x must have at least two axes, but {x} has {x.rank}")
        return (TensorType(x.dtype, (x.shape[0], prod(int(e) for e in x.shape[1:]))),)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (x.reshape(x.shape[0], -1),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return (b(Reshape(result=node.inputs[0].type), dy),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        return Reshape(result=outputs[0]).lower(inputs, outputs)


@dataclass(frozen=True)
class Relayout(Moving, name="relayout"):
    """The same tensor in the declared layout; padding lanes become 0."""

    traits = frozenset({"relayout", "moves"})

    result: TensorType = field(kw_only=True, metadata=RESULT)

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if x.logical() != self.result.logical():
            raise IRError(f"a relayout keeps dtype and shape, but they are {x} and {self.result}")
        return (self.result,)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (np.array(x),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy, x = grads[0], node.inputs[0].type
        assert dy is not None
        return (dy if dy.type == x else b(Relayout(result=x), dy),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        return Loops(LoopNest(axes, (Map((), (store(0, axes, load(0, *axes)),)),)), results=tuple(outputs))


def batch_blocked(t: TensorType, width: int) -> TensorType:
    """t with its rows in blocks of `width` lanes, lanes innermost."""
    return t.with_layout(Layout(tuple(range(t.rank)), 0, width))
