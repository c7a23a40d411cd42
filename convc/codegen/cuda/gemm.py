"""The plan of one GEMM phase for blocks of threads: how each factor gets into shared memory, and what is stored.

A block holds a tile of C. It walks along K in slices; of each slice all threads together gather the two factors
into shared memory, where every guard is tested on the load, and then each multiplies its own part of the tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convc.codegen.cuda.dims import Dim, counts_rows, dim, variable, variables
from convc.codegen.cuda.epilogue import Epilogue, plan_epilogue
from convc.codegen.cuda.gather import Gather, plan_gather
from convc.codegen.cuda.walk import SLICE, Walk, plan_walk
from convc.codegen.terms import Placed
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Index
from convc.ir.kernels import BlockTile
from convc.passes.target import STATIC_SHARED_BYTES


@dataclass(frozen=True)
class GemmPlan:
    """Everything the template of a phase needs. `a_pad`, `b_pad`: floats behind each row of a tile in shared memory."""

    template: ClassVar[str] = "cuda/gemm.cu.j2"

    view: GemmView
    tile: BlockTile
    group: Dim
    m: Dim
    n: Dim
    walk: Walk
    group_lets: tuple[tuple[str, Index], ...]
    a: Gather
    b: Gather
    epilogue: Epilogue
    a_pad: int
    b_pad: int

    @property
    def k(self) -> Dim:
        return self.walk.k

    @property
    def m_blocks(self) -> int:
        return -(-self.m.extent // self.tile.block_m)

    @property
    def n_blocks(self) -> int:
        return -(-self.n.extent // self.tile.block_n)

    @property
    def blocks(self) -> int:
        """Blocks of threads at full batch capacity."""
        return self.m_blocks * self.n_blocks * self.group.extent

    @property
    def rows(self) -> bool:
        """Whether it asks for the batch rows of the run."""
        return any(d.rows for d in (self.group, self.m, self.n, self.k)) or any(map(counts_rows, self.epilogue.terms))

    @property
    def ragged(self) -> tuple[Dim, ...]:
        """The sides whose last tile is partial: their stores are guarded."""
        sides = ((self.m, self.tile.block_m), (self.n, self.tile.block_n))
        return tuple(d for d, size in sides if d.rows or d.extent % size)

    @property
    def compared(self) -> tuple[Dim, ...]:
        """The sides whose extent something is compared with."""
        return (*self.ragged, *([self.k] if self.walk.counter is None and self.walk.guards else []))

    @property
    def element_lets(self) -> tuple[tuple[str, Index], ...]:
        """Variables of an element that one of the factors needs."""
        return tuple(dict.fromkeys((*self.a.element_lets, *self.b.element_lets)))

    @property
    def slice_order(self) -> tuple[Axis, ...]:
        """The variables that count slices, the fastest last."""
        counter = self.walk.counter
        axes = tuple(a for a in counter.axes if a.extent > 1) if counter else ()
        return tuple(Axis(variable(a), int(a.extent)) for a in axes) or (SLICE,)

    @property
    def a_stride(self) -> int:
        return self.tile.block_m + self.a_pad

    @property
    def b_stride(self) -> int:
        return self.tile.block_n + self.b_pad

    @property
    def dynamic(self) -> bool:
        """Whether its shared memory is more than can be declared with a size."""
        return self.shared_bytes > STATIC_SHARED_BYTES

    @property
    def shared(self) -> tuple[int, int]:
        """Floats of shared memory for the slices of A, and for those of B."""
        depth = self.tile.stages * self.tile.block_k
        return depth * self.a_stride, depth * self.b_stride

    @property
    def shared_bytes(self) -> int:
        return 4 * sum(self.shared)


def plan_gemm(view: GemmView, tile: BlockTile, inputs: Sequence[Placed], outputs: Sequence[Placed]) -> GemmPlan:
    """The plan of `view` with `tile`."""
    group, m, n = dim("group", view.batch), dim("gemm_m", view.m), dim("gemm_n", view.n)
    walk = plan_walk(view, tile)
    groups = group.named()
    a = plan_gather("a", view.a, m, walk, tile.block_m, tile, groups, inputs)
    b = plan_gather("b", view.b, n, walk, tile.block_n, tile, groups, inputs)
    epilogue = plan_epilogue(view, tile, groups, inputs, outputs)
    used = (*variables(epilogue.terms), *(v for g in (a, b) for v in _variables(g)))
    return GemmPlan(
        view=view, tile=tile, group=group, m=m, n=n, walk=walk, group_lets=group.lets(used), a=a, b=b,
        epilogue=epilogue, a_pad=a.pad, b_pad=b.pad,
    )  # fmt: skip


def _variables(g: Gather) -> tuple[str, ...]:
    indices = (g.base, g.step, *(e for _, e in g.hoisted), *(c.index for _, c in g.guards),
               *(c.index for c in g.line_guards))  # fmt: skip
    return tuple(a.name for e in indices for a in e.axes())
