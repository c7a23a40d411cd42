"""Axes flattened into one index, as blocks and threads count them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from convc.codegen.terms import Term
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.types import Rows

_WORDS = """
    alignas alignof asm auto bool break case catch char class const constexpr continue decltype default delete do
    double else enum explicit export extern false float for friend goto if inline int long mutable namespace new
    noexcept nullptr operator private protected public register return short signed sizeof static struct switch
    template this throw true try typedef typename union unsigned using virtual void volatile while
    acc a_part a_tile b_part b_tile block depth element group k_extent k_first lane line m_extent m_first m_thread
    n_extent n_first n_thread slice slices stage gather done part partials point first shared shared_b
    rows thread tm tn value index gemm_m gemm_n gemm_k
"""
RESERVED = frozenset(_WORDS.split())
"""Keywords, and the templates' own names: an axis of such a name gets an underscore."""


def variable(axis: Axis) -> str:
    """What the axis is called in the source."""
    return f"{axis.name}_" if axis.name in RESERVED else axis.name


@dataclass(frozen=True)
class Dim:
    """Axes counted by one variable. Batch rows are counted slowest, so that n rows are a prefix of all points."""

    name: str
    axes: tuple[Axis, ...]

    @property
    def extent(self) -> int:
        """Points at full batch capacity."""
        return prod(int(a.extent) for a in self.axes)

    @property
    def rows(self) -> bool:
        """Whether the number of points depends on the batch rows of the run."""
        return bool(self.axes) and isinstance(self.axes[0].extent, Rows)

    @property
    def rest(self) -> int:
        """Points for each batch row."""
        return prod(int(a.extent) for a in self.axes[1:]) if self.rows else self.extent

    @property
    def flat(self) -> Axis:
        """The variable. It counts to two at least: past the end of a partial tile it is not 0, even for one point."""
        return Axis(self.name, max(self.extent, 2))

    def named(self) -> dict[Axis, IndexLike]:
        """Each axis as a variable of its own."""
        return {a: Index.of(Axis(variable(a), int(a.extent))) for a in self.axes}

    def counted(self) -> dict[Axis, IndexLike]:
        """Each axis as an expression of the flat variable."""
        values: dict[Axis, IndexLike] = {}
        stride = 1
        for a in reversed(self.axes):
            values[a] = Index.of(self.flat) // stride % int(a.extent) if a.extent > 1 else Index()
            stride *= max(int(a.extent), 1)
        return values

    def lets(self, used: Iterable[str]) -> tuple[tuple[str, Index], ...]:
        """(variable, its expression in the flat one) of each axis that occurs among `used`."""
        names = set(used)
        found = [(variable(a), Index.of(e)) for a, e in self.counted().items() if variable(a) in names]
        return tuple(reversed(found))


def dim(name: str, axes: Sequence[Axis]) -> Dim:
    return Dim(name, tuple(sorted(axes, key=lambda a: not isinstance(a.extent, Rows))))


def variables(terms: Iterable[Term]) -> tuple[str, ...]:
    """The index variables that occur in the terms."""
    found: dict[str, None] = {}
    for t in terms:
        for e in (t.index, *(c.index for c in t.conditions)):
            found.update((a.name, None) for a in e.axes())
        found.update((name, None) for name in variables(t.args))
    return tuple(found)


def merged(*values: Mapping[Axis, IndexLike]) -> dict[Axis, IndexLike]:
    return {a: e for v in values for a, e in v.items()}


def counts_rows(t: Term) -> bool:
    """Whether the expression has the number of batch rows in it."""
    return t.kind == "rows" or any(map(counts_rows, t.args))
