"""Dropout from counter-based random numbers: the mask is a function of place, step and seed, and is never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Builder, Node, Value
from convc.ir.index import Index
from convc.ir.ops.pointwise import Pointwise
from convc.ir.philox import UNIT_BITS, uniform
from convc.ir.scalar import Random, Scalar, select
from convc.ir.types import TensorType, row_major

WORD = TensorType("i32", ())


@dataclass(frozen=True)
class Dropout(Pointwise, name="dropout"):
    """y[i] = x[i] / (1 - p) where random(i; stream, seed, step) >= p, else 0; i is the element's row-major number.

    Operands: x, then seed and step, i32[], whose 32 bits key and count Philox4x32-10 (see convc.ir.philox).
    `stream` tells apart the dropout operators of one model. The same bits come out for every layout, number of
    rows and of threads. p is rounded up to a multiple of 2^-24. It is its own gradient: the mask is computed
    again from the counter, a few dozen integer instructions, where a kept one would hold a byte or more for each
    element from the forward to the backward pass. Source: Srivastava et al., Dropout, 2014, with the scale moved
    to training.
    """

    p: float = 0.5
    stream: int = 0

    def validate(self) -> None:
        if not 0 <= self.p < 1:
            raise IRError(f"p is the part that is dropped, 0 <= p < 1, not {self.p}")
        if self.threshold == 1:
            raise IRError(f"p may be at most 1 - 2^-24, for any element to be kept, not {self.p!r}")
        if not 0 <= self.stream < 2**32:
            raise IRError(f"stream is a number with 0 <= stream < 2^32, not {self.stream}")

    @property
    def threshold(self) -> float:
        """The least random number whose element is kept: exact in f32, so that all targets compare alike."""
        return float(ceil(self.p * 2**UNIT_BITS) * 2.0**-UNIT_BITS)

    def infer(self, x: TensorType, seed: TensorType, step: TensorType) -> tuple[TensorType, ...]:
        if (seed, step) != (WORD, WORD):
            raise IRError(f"seed and step must be {WORD}, but they are {seed} and {step}")
        return super().infer(x)

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("i32",) if operand else ("f32",)

    def whole_below(self, operand: int, inputs: Sequence[TensorType]) -> int | None:
        return 2**31 if operand else None

    def reference(self, x: Array, seed: Array, step: Array) -> tuple[Array, ...]:
        index = np.arange(x.size).reshape(x.shape)
        keep = uniform(index, seed=seed, stream=self.stream, step=step) >= self.threshold
        return (np.where(keep, x * (1 / (1 - self.p)), np.zeros_like(x)),)

    def scalar_at(self, point: Sequence[Index], shape: Sequence[int], *args: Scalar) -> Scalar:
        x, seed, step = args
        drawn = Random(row_major(len(shape)).offset(point, shape), self.stream, seed, step)
        return select("ge", drawn, self.threshold, x * (1 / (1 - self.p)), 0.0)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return b(self, dy, *node.inputs[1:]), None, None
