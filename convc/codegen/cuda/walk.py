"""How a block walks along K: slice by slice, each slice `depth` terms of the sum."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from convc.codegen.cuda.dims import Dim, dim, variable
from convc.codegen.terms import Condition
from convc.errors import IRError
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import BlockTile

DEPTH = "depth"
"""The variable that counts the terms of a slice."""
SLICE = Axis("slice", 2**31)
"""The variable that counts the slices."""


@dataclass(frozen=True)
class Walk:
    """The sum's axes as expressions of a slice's variables and of `depth`.

    Along an axis, `counter` counts the slices: its axes are variables that are the same for a whole slice.
    Without one, `gemm_k = slice * depth + ...` counts all terms, and each element works out its own axes.
    """

    k: Dim
    depth: int
    counter: Dim | None
    values: dict[Axis, IndexLike]
    guards: tuple[Condition, ...]
    along: Axis | None

    def element_lets(self, used: Iterable[str]) -> tuple[tuple[str, Index], ...]:
        """Variables of one element."""
        return () if self.counter else self.k.lets(used)

    @property
    def inner(self) -> tuple[Axis, ...]:
        """The axes along which neighbours in a slice lie."""
        return (self.along,) if self.along else self.k.axes


def plan_walk(view: GemmView, tile: BlockTile) -> Walk:
    """The walk of a view's sum; raises IRError where the tile names an axis that k has not."""
    k = dim("gemm_k", view.k)
    depth = tile.block_k
    if tile.slice is None:
        limit = Condition(Index.of(k.flat), 0, "k_extent", False, False)
        return Walk(k, depth, None, k.named(), (limit,) if k.rows or k.extent % depth else (), None)
    axis = next((a for a in view.k if a.name == tile.slice), None)
    if axis is None:
        names = ", ".join(a.name for a in view.k)
        raise IRError(f"the schedule slices along axis {tile.slice}, but k has {names or 'none'}")
    blocks = Axis(f"{axis.name}_slice", -(-int(axis.extent) // depth))
    counter = dim("slice", [blocks, *(a for a in view.k if a is not axis)])
    at = Index.of(Axis(variable(blocks), int(blocks.extent))) * depth + Axis(DEPTH, depth)
    values = {**counter.named(), axis: at}
    extent = int(axis.extent)
    guards = (Condition(at, 0, extent, False, False),) if extent % depth else ()
    return Walk(k, depth, counter, values, guards, axis)
