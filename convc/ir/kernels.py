"""The kernel level: `gemm` and `loops`, operators whose attributes are a view and its schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from convc.errors import IRError
from convc.ir.core import RESULT, Array, Op
from convc.ir.gemm_view import GemmView
from convc.ir.kernel_rules import (
    check_factor,
    check_load,
    check_next,
    check_store,
    check_whole_store,
    check_words,
    copied,
    small_locals,
)
from convc.ir.loop_nest import LoopNest, Reduce
from convc.ir.scalar import DEEPEST, Scalar, Store, loads
from convc.ir.types import TensorType


@dataclass(frozen=True)
class GemmSchedule:
    """How a vector machine computes a GEMM view: which axis fills the vector's lanes, and the register tile.

    `lanes` is an axis of n or k (None: scalar code), `width` its lanes a vector. `m_tile` and `n_tile` name
    an axis of m and of n and how many of its points a register tile holds.
    """

    lanes: str | None
    width: int
    m_tile: tuple[str, int]
    n_tile: tuple[str, int]

    @property
    def extents(self) -> str:
        """For a kernel's name: `3x9x16`."""
        return f"{self.m_tile[1]}x{self.n_tile[1]}x{self.width}"

    @property
    def summary(self) -> str:
        """`2 k x 14 q x 16 n`."""
        sides = (f"{size} {axis}".strip() for axis, size in (self.m_tile, self.n_tile))
        return " x ".join([*sides, _lanes(self.lanes, self.width)])


@dataclass(frozen=True)
class BlockTile:
    """How blocks of threads compute a GEMM view: the tile of C that a block holds, the part of it a thread holds.

    A block steps through K in slices of `block_k`, which it gathers into shared memory. A thread's
    `thread_m` x `thread_n` sums stay in registers. `stages` slices are in shared memory at once: one is
    multiplied while the next ones are copied; with 0 there is no shared memory at all. `slice` is the axis of k
    whose points make a slice, for every point of the other axes; None: k is counted through, all axes together.
    """

    block_m: int
    block_n: int
    block_k: int
    thread_m: int
    thread_n: int
    stages: int = 1
    slice: str | None = None

    def __post_init__(self) -> None:
        for side, block, thread in (("m", self.block_m, self.thread_m), ("n", self.block_n, self.thread_n)):
            if thread not in (1, 2, 4, 8) or block < 1 or block % thread:
                raise IRError(f"thread_{side} must be 1, 2, 4 or 8 and divide block_{side}={block}, not {thread}")
        if not 0 <= self.stages <= 8:
            raise IRError(f"stages must be 0 to 8, not {self.stages}")
        if self.block_k < 1 or self.threads % 32 or not 32 <= self.threads <= 1024:
            raise IRError(f"a block tile must have 32 to 1024 threads in whole warps, and block_k >= 1, but {self} has"
                          f" {self.threads} and {self.block_k}")  # fmt: skip

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return (self.block_m // self.thread_m) * (self.block_n // self.thread_n)

    @property
    def extents(self) -> str:
        """For a kernel's name: `64x64x8`."""
        return f"{self.block_m}x{self.block_n}x{self.block_k}"

    @property
    def summary(self) -> str:
        """`64 x 64 x 8, 4 x 4 a thread`."""
        block = f"{self.block_m} x {self.block_n} x {self.block_k}{f' along {self.slice}' if self.slice else ''}"
        slices = f", {self.stages} slices" if self.stages > 1 else ""
        return f"{block}, {self.thread_m} x {self.thread_n} a thread{slices}"


@dataclass(frozen=True)
class LoopSchedule:
    """How a vector machine computes a loop nest: which axis fills the vector's lanes (None: scalar code)."""

    lanes: str | None
    width: int

    @property
    def summary(self) -> str:
        """`16 n`."""
        return _lanes(self.lanes, self.width)


@dataclass(frozen=True)
class TeamSchedule:
    """How blocks of threads compute a loop nest.

    `team` threads work on one outer point together: 1, a part of a warp, a warp's 32, or all `threads` of the block.
    They are neighbours; or, where they are `apart` = `threads` / `team` from each other, neighbours are points, and
    a team meets in shared memory: for stages that read neighbouring elements at neighbouring points.

    A team of one may take `vector` neighbouring points of the innermost axis, with loads and stores of 4 * `vector`
    bytes. Where a reduction's innermost axis has `window` points, their elements are loaded at once.
    """

    threads: int
    team: int
    vector: int = 1
    window: int = 1
    apart: int = 1

    def __post_init__(self) -> None:
        if self.threads % 32 or not 32 <= self.threads <= 1024:
            raise IRError(f"threads must be 32 to 1024 in whole warps, not {self.threads}")
        if self.team not in (1, 2, 4, 8, 16, 32, self.threads) or self.threads % self.team:
            raise IRError(f"team must be 1, 2, 4, 8, 16, 32 or all {self.threads} threads of the block, and divide"
                          f" them, not {self.team}")  # fmt: skip
        if self.team > 1 and self.vector * self.window > 1:
            raise IRError(f"vector and window must be 1 for a team of {self.team}, not {self.vector} and {self.window}")
        if self.apart not in (1, self.threads // self.team):
            raise IRError(f"apart must be 1 or {self.threads // self.team}, which is threads / team, not {self.apart}")
        if self.vector * self.window not in (1, 2, 4):
            raise IRError(f"vector * window must be 1, 2 or 4, not {self.vector} * {self.window}")

    @property
    def summary(self) -> str:
        """`a warp a point`."""
        if self.team == 1:
            points = f"{self.vector} points a thread" if self.vector > 1 else "a thread a point"
            return f"{points}, {self.window} of a window at once" if self.window > 1 else points
        if self.apart > 1:
            return f"{self.team} threads a point, {self.apart} apart"
        return "a warp a point" if self.team == 32 else f"{self.team} threads a point"


@dataclass(frozen=True)
class TransposeSchedule:
    """How blocks of threads compute a loop nest that reads memory along one axis and writes it along another.

    A block takes a tile of `reads` x `stores`, each an axis and how many of its points. Its threads evaluate the
    reduce stages, and what the last stage loads along `reads`, as neighbours along that axis; through shared memory,
    the results go to threads that are neighbours along `stores`.
    """

    reads: tuple[str, int]
    stores: tuple[str, int]
    threads: int

    def __post_init__(self) -> None:
        if self.threads % 32 or not 32 <= self.threads <= 1024:
            raise IRError(f"threads must be 32 to 1024 in whole warps, not {self.threads}")
        if self.reads[0] == self.stores[0] or min(self.reads[1], self.stores[1]) < 1:
            raise IRError(f"a tile has two axes and a point at least of each, not {self.reads} and {self.stores}")

    @property
    def summary(self) -> str:
        """`tiles of 32 c x 32 n that turn in shared memory`."""
        sides = " x ".join(f"{size} {axis}" for axis, size in (self.reads, self.stores))
        return f"tiles of {sides} that turn in shared memory"


def _lanes(axis: str | None, width: int) -> str:
    return f"{width} {axis}" if axis else "scalar"


AnyGemmSchedule = GemmSchedule | BlockTile
AnyLoopSchedule = LoopSchedule | TeamSchedule | TransposeSchedule


CHECKED = "_checked"
"""Where a kernel notes the operand types that it was last found right for; no field, so that it counts for nothing."""


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

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("f32", "i32")

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if self.__dict__.get(CHECKED) == inputs:  # most passes leave most kernels alone
            return self.results
        try:
            self.check(inputs)
        except IRError as error:
            raise IRError(f"{self.label} {error}") from None
        self.__dict__[CHECKED] = inputs
        return self.results

    def check(self, inputs: Sequence[TensorType]) -> None:
        """Raises IRError with the rule that an access or a value breaks."""
        roots, stores = tuple(self.roots()), tuple(self.stores())
        if (deep := max((e.depth for e in roots), default=0)) > DEEPEST:
            raise IRError(f"has an expression {deep} operators deep, and may have one of {DEEPEST} at most; split it")
        for e in dict.fromkeys(e for root in roots for e in loads(root)):
            check_load(e, inputs)
        small = self.small_locals()
        for s in stores:
            check_store(s, self.results)
            check_whole_store(s, self.results[s.output], inputs, small)
        for root in roots:
            check_words(root, inputs)
        check_next(stores, roots[len(stores) :], self.results, inputs)
        if any(t.dtype != "f32" for t in inputs):
            copied(stores, roots[len(stores) :], inputs)

    def small_locals(self) -> dict[str, bool]:
        """Results of reductions that are whole numbers below 2^24."""
        return {}

    def roots(self) -> Iterator[Scalar]:
        """Every scalar expression of the kernel, those that are stored first."""
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
    schedules: tuple[AnyGemmSchedule, ...] = ()

    def fill(self, arrays: Sequence[Array], rows: int, outputs: Sequence[Array]) -> None:
        for view in self.phases:
            view.execute(arrays, rows, outputs)

    def check(self, inputs: Sequence[TensorType]) -> None:
        super().check(inputs)
        for view in self.phases:
            check_factor("a", view.a, inputs)
            check_factor("b", view.b, inputs)

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
    schedule: AnyLoopSchedule | None = None

    def fill(self, arrays: Sequence[Array], rows: int, outputs: Sequence[Array]) -> None:
        self.nest.execute(arrays, rows, outputs)

    def small_locals(self) -> dict[str, bool]:
        reductions = [s for s in self.nest.stages if isinstance(s, Reduce)]
        return {k: v for s in reductions for k, v in small_locals(s.results, s.monoid, s.values).items()}

    def stores(self) -> Iterator[Store]:
        yield from self.nest.stores

    def roots(self) -> Iterator[Scalar]:
        yield from super().roots()
        yield from (e for s in self.nest.stages if isinstance(s, Reduce) for e in s.values)

    def flops(self, inputs: Sequence[TensorType]) -> int:
        return self.nest.flops
