"""The plan of one GEMM phase for blocks of threads: how each factor gets into shared memory, and what is stored.

A block holds a tile of C. It walks along K in slices; of each slice all threads together gather the two factors
into shared memory, where every guard is tested on the load, and then each multiplies its own part of the tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from convc.codegen.cuda.dims import Dim, dim, merged, variables
from convc.codegen.terms import Block, Condition, Placed, Scope, Term
from convc.errors import IRError
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import BlockTile
from convc.ir.scalar import Load, Scalar

PAD = 4
"""Floats behind each line of a tile in shared memory: neighbours along K then lie in different banks."""


@dataclass(frozen=True)
class Gather:
    """One factor on its way into shared memory.

    `lines` x `depth` elements of a slice; consecutive threads take consecutive elements along K where
    `along_k`, else along the other side: as the tensor lies in memory.
    """

    name: str
    line: Dim
    lines: int
    along_k: bool
    each: int
    ragged: bool
    lets: tuple[tuple[str, Index], ...]
    load: Term


@dataclass(frozen=True)
class GemmPlan:
    """Everything the template of a phase needs."""

    view: GemmView
    tile: BlockTile
    group: Dim
    m: Dim
    n: Dim
    k: Dim
    group_lets: tuple[tuple[str, Index], ...]
    a: Gather
    b: Gather
    store_lets: tuple[tuple[str, Index], ...]
    lets: tuple[tuple[str, Term], ...]
    stores: tuple[tuple[Term, Term], ...]

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
        return any(d.rows for d in (self.group, self.m, self.n, self.k)) or any(
            _counts_rows(t) for t in (*(t for _, t in self.lets), *(t for _, t in self.stores))
        )

    @property
    def ragged(self) -> tuple[Dim, ...]:
        """The sides whose last tile is partial: their stores are guarded."""
        sides = ((self.m, self.tile.block_m), (self.n, self.tile.block_n))
        return tuple(d for d, size in sides if d.rows or d.extent % size)

    @property
    def a_stride(self) -> int:
        return self.tile.block_m + PAD

    @property
    def b_stride(self) -> int:
        return self.tile.block_n + PAD

    @property
    def shared_bytes(self) -> int:
        return 4 * self.tile.block_k * (self.a_stride + self.b_stride)


def plan_gemm(view: GemmView, tile: BlockTile, inputs: Sequence[Placed], outputs: Sequence[Placed]) -> GemmPlan:
    """The plan of `view` with `tile`."""
    group, m = dim("group", view.batch), dim("gemm_m", view.m)
    n, k = dim("gemm_n", view.n), dim("gemm_k", view.k)
    groups = group.named()
    a = _gather("a", view.a, m, k, tile.block_m, tile, groups, inputs)
    b = _gather("b", view.b, n, k, tile.block_n, tile, groups, inputs)
    scope = Scope(inputs, outputs, merged(groups, m.named(), n.named()))
    block = Block(scope)
    values = block.terms([s.value for s in view.stores])
    targets = [scope.target(s) for s in view.stores]
    used = variables((*targets, *values, *(t for _, t in block.lets)))
    everywhere = (*used, *variables((a.load, b.load)))
    return GemmPlan(
        view=view, tile=tile, group=group, m=m, n=n, k=k, group_lets=group.lets(everywhere), a=a, b=b,
        store_lets=(*m.lets(used), *n.lets(used)), lets=tuple(block.lets), stores=tuple(zip(targets, values)),
    )  # fmt: skip


def _gather(
    name: str, factor: Scalar, line: Dim, k: Dim, lines: int, tile: BlockTile,
    groups: Mapping[Axis, IndexLike], inputs: Sequence[Placed],
) -> Gather:  # fmt: skip
    if not isinstance(factor, Load):
        raise IRError("a GEMM's factor must be a load; lower the prologue to a kernel of its own")
    term = _shortest(factor, line, k, groups, inputs)
    offset = inputs[factor.operand].type.offset(factor.coords)
    limits = [
        Condition(Index.of(d.flat), 0, f"{d.name.removeprefix('gemm_')}_extent", False, False)
        for d, size in ((line, lines), (k, tile.block_k))
        if d.rows or d.extent % size
    ]
    term = replace(term, conditions=(*limits, *term.conditions))
    used = variables((term,))
    elements = lines * tile.block_k
    return Gather(
        name=name, line=line, lines=lines, along_k=_consecutive(offset, k) and not _consecutive(offset, line),
        each=-(-elements // tile.threads), ragged=elements % tile.threads != 0,
        lets=(*line.lets(used), *k.lets(used)), load=term,
    )  # fmt: skip


def _shortest(factor: Load, line: Dim, k: Dim, groups: Mapping[Axis, IndexLike], inputs: Sequence[Placed]) -> Term:
    """The load with whole sides as flat variables where its address is linear in them, else with their axes."""
    for sides in ((line, k), (line,), (k,)):
        values = merged(groups, *(d.counted() if d in sides else d.named() for d in (line, k)))
        term = Scope(inputs, (), values).load(factor)
        offset = term.index.linear()
        tested = {a for c in term.conditions for a in c.index.axes()}
        if all(offset.coefficient(d.flat) is not None and d.flat not in tested for d in sides):
            return replace(term, index=offset)
    return Scope(inputs, (), merged(groups, line.named(), k.named())).load(factor)


def _consecutive(offset: Index, side: Dim) -> bool:
    """Whether the side's innermost axis walks through memory element by element."""
    inner = next((a for a in reversed(side.axes) if a.extent > 1), None)
    return inner is not None and offset.coefficient(inner) in (1, -1)


def _counts_rows(t: Term) -> bool:
    return t.kind == "rows" or any(map(_counts_rows, t.args))
