"""The kernel level: `gemm` and `loops`, operators whose attributes are a view and its schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from convc.errors import IRError
from convc.ir.core import RESULT, Array, Op
from convc.ir.gemm_view import GemmView
from convc.ir.index import Index
from convc.ir.loop_nest import LoopNest, Reduce
from convc.ir.scalar import Const, Load, Random, Scalar, Store, loads, walk
from convc.ir.types import TensorType


@dataclass(frozen=True)
class GemmSchedule:
    """How a GEMM view is computed: which axis fills the vector's lanes, and the register tile.

    `lanes` is an axis of n or k (None: scalar code), `width` its lanes a vector. `m_tile` and `n_tile` name
    an axis of m and of n and how many of its points a register tile holds.
    """

    lanes: str | None
    width: int
    m_tile: tuple[str, int]
    n_tile: tuple[str, int]


@dataclass(frozen=True)
class LoopSchedule:
    """How a loop nest is computed: which axis fills the vector's lanes (None: scalar code)."""

    lanes: str | None
    width: int


@dataclass(frozen=True)
class KernelOp(Op):
    """What both kernel families share: results are declared, and running fills fresh arrays with NaN first.

    A point that no store reaches stays NaN and is seen in every comparison.
    """

    results: tuple[TensorType, ...] = field(default=(), metadata=RESULT, kw_only=True)
    title: str = field(default="", kw_only=True)

    @property
    def label(self) -> str:
        return self.title or self.name

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        for load, place in self.accesses():
            tensors, what = (inputs, "reads $") if load else (self.results, "stores ")
            if place[0] >= len(tensors):
                raise IRError(f"{self.label} {what}{place[0]}, but there are only {len(tensors)}")
            if len(place[1]) != tensors[place[0]].rank:
                raise IRError(
                    f"{self.label} {what}{place[0]} at {len(place[1])} coordinates, but it is {tensors[place[0]]}"
                )
        for e in (e for root in self.roots() for e in walk(root) if isinstance(e, Random)):
            for word in e.children():
                whole = isinstance(word, Const) and 0 <= word.value < 2**24 and word.value.is_integer()
                if not whole and not (isinstance(word, Load) and inputs[word.operand] == TensorType("i32", ())):
                    raise IRError(
                        f"{self.label}: seed and step of random must be operands of type i32[], or whole numbers"
                        " below 2^24"
                    )
        return self.results

    def accesses(self) -> Iterator[tuple[bool, tuple[int, tuple[Index, ...]]]]:
        """(is it a load, (operand or output number, coordinates)) of every load and store."""
        for e in self.roots():
            yield from ((True, (x.operand, x.coords)) for x in loads(e))
        yield from ((False, (s.output, s.coords)) for s in self.stores())

    def roots(self) -> Iterator[Scalar]:
        """Every scalar expression of the kernel."""
        yield from (s.value for s in self.stores())

    def stores(self) -> Iterator[Store]:
        yield from ()

    def execute(self, arrays: Sequence[Array], rows: int) -> tuple[Array, ...]:
        dtype = np.result_type(np.float64, *[a.dtype for a in arrays])
        outputs = [np.full(_run_shape(t, rows), np.nan, dtype) for t in self.results]
        self.fill(arrays, rows, outputs)
        return tuple(outputs)

    def fill(self, arrays: Sequence[Array], rows: int, outputs: Sequence[Array]) -> None:
        raise AssertionError("a kernel fills its outputs")


def _run_shape(t: TensorType, rows: int) -> tuple[int, ...]:
    return tuple(rows if i == 0 and t.rows is not None else int(e) for i, e in enumerate(t.shape))


@dataclass(frozen=True)
class Gemm(KernelOp, name="gemm"):
    """One or several disjoint phases of `C[m,n] = epilogue(sum over k of A[m,k] * B[k,n])`."""

    phases: tuple[GemmView, ...] = ()
    schedules: tuple[GemmSchedule, ...] = ()

    def fill(self, arrays: Sequence[Array], rows: int, outputs: Sequence[Array]) -> None:
        for view in self.phases:
            view.execute(arrays, rows, outputs)

    def stores(self) -> Iterator[Store]:
        yield from (s for view in self.phases for s in view.stores)

    def roots(self) -> Iterator[Scalar]:
        yield from super().roots()
        yield from (e for view in self.phases for e in (view.a, view.b))

    def flops(self, inputs: Sequence[TensorType]) -> int:
        return sum(v.flops(inputs) for v in self.phases)


@dataclass(frozen=True)
class Loops(KernelOp, name="loops"):
    """A loop nest: map and reduce stages over shared outer axes."""

    nest: LoopNest = field(default_factory=lambda: LoopNest((), ()))
    schedule: LoopSchedule | None = None

    def fill(self, arrays: Sequence[Array], rows: int, outputs: Sequence[Array]) -> None:
        self.nest.execute(arrays, rows, outputs)

    def stores(self) -> Iterator[Store]:
        yield from self.nest.stores

    def roots(self) -> Iterator[Scalar]:
        yield from super().roots()
        yield from (e for s in self.nest.stages if isinstance(s, Reduce) for e in s.values)

    def flops(self, inputs: Sequence[TensorType]) -> int:
        return self.nest.flops
