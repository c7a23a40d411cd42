"""Counting: how often a graph has run, kept as a state of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Builder, Node, Op, Value
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map
from convc.ir.scalar import LAST_WHOLE, Next, load, store
from convc.ir.types import TensorType

NUMBER = TensorType("i32", ())


@dataclass(frozen=True)
class Count(Op, name="count"):
    """y = x + 1, both i32[]: exact, and at 2^31 - 1 it stays. With `update %x = %y` x counts the runs of the graph."""

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("i32",)

    def whole_below(self, operand: int, inputs: Sequence[TensorType]) -> int | None:
        return LAST_WHOLE + 1

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if x != NUMBER:
            raise IRError(f"what is counted must be {NUMBER}, not {x}")
        return (NUMBER,)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (np.asarray(np.minimum(x + 1, LAST_WHOLE)).astype(np.int32),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return (None,)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        return Loops(LoopNest((), (Map((), (store(0, (), Next(load(0))),)),)), results=tuple(outputs))
