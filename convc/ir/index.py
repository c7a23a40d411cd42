"""Integer index expressions: sums of axes, floor divisions and remainders, kept in one canonical form.

An `Index` is `c0 + c1*atom1 + c2*atom2 + ...` where an atom is an axis, `e / d` (floor) or `e % d` with
a constant d > 0. Expressions are data: ranges, strides and guards are read off them, and two equal
expressions are equal objects. Simplification uses the axes' ranges, so that `(b*16 + lane) / 16` is `b`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Axis:
    """A loop axis: takes the values 0 <= axis < extent (for batch rows the extent is the capacity)."""

    name: str
    extent: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FloorDiv:
    """floor(of / by), by > 0."""

    symbol: ClassVar[str] = "/"

    of: Index
    by: int

    def __str__(self) -> str:
        return f"{_dividend(self.of)} / {self.by}"


@dataclass(frozen=True)
class Mod:
    """of - by * floor(of / by), by > 0."""

    symbol: ClassVar[str] = "%"

    of: Index
    by: int

    def __str__(self) -> str:
        return f"{_dividend(self.of)} % {self.by}"


Atom: TypeAlias = "Axis | FloorDiv | Mod"
IndexLike: TypeAlias = "Index | Axis | int"


@dataclass(frozen=True)
class Index:
    """sum(coefficient * atom) + const, terms sorted so that equal sums are equal objects."""

    terms: tuple[tuple[Atom, int], ...] = ()
    const: int = 0

    @staticmethod
    def of(value: IndexLike) -> Index:
        if isinstance(value, Index):
            return value
        if isinstance(value, Axis):
            return Index(((value, 1),)) if value.extent != 1 else Index()
        return Index((), int(value))

    @staticmethod
    def _sum(terms: Sequence[tuple[Atom, int]], const: int) -> Index:
        total: dict[Atom, int] = {}
        for atom, c in terms:
            total[atom] = total.get(atom, 0) + c
        kept = [(a, c) for a, c in total.items() if c]
        kept.sort(key=lambda t: (-abs(t[1]), t[1] < 0, str(t[0])))
        return Index(tuple(kept), const)

    def __add__(self, other: IndexLike) -> Index:
        o = Index.of(other)
        if not o.terms or not self.terms:
            return Index(self.terms or o.terms, self.const + o.const)
        return Index._sum((*self.terms, *o.terms), self.const + o.const)

    __radd__ = __add__

    def __mul__(self, factor: int) -> Index:
        factor = int(factor)
        if factor > 0:  # the terms keep their order
            return Index(tuple((a, c * factor) for a, c in self.terms), self.const * factor)
        return Index._sum([(a, c * factor) for a, c in self.terms], self.const * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: IndexLike) -> Index:
        return self + -Index.of(other)

    def __floordiv__(self, by: int) -> Index:
        quotient, rest = self._split(by)
        if by == 1 or rest.within(0, by):
            return quotient
        if len(rest.terms) == 1 and rest.const == 0 and rest.terms[0][1] == 1:
            atom = rest.terms[0][0]
            if isinstance(atom, FloorDiv):  # (e / a) / b = e / (a*b)
                return quotient + atom.of // (atom.by * by)
        return quotient + Index(((FloorDiv(rest, by), 1),))

    def __mod__(self, by: int) -> Index:
        _, rest = self._split(by)
        if rest.within(0, by):
            return rest
        return Index(((Mod(rest, by), 1),))

    def _split(self, by: int) -> tuple[Index, Index]:
        """self = by * quotient + rest, with every coefficient of rest in [0, by)."""
        quotient = Index._sum([(a, c // by) for a, c in self.terms], self.const // by)
        return quotient, Index._sum([(a, c % by) for a, c in self.terms], self.const % by)

    def linear(self) -> Index:
        """The shorter of this and the same with every `e % d` written as `e - d*(e / d)`: in the offset of a
        reshaped tensor the divisions cancel."""
        total = Index((), self.const)
        for atom, c in self.terms:
            if isinstance(atom, Mod):
                whole = atom.of.linear()
                total += (whole - (whole // atom.by) * atom.by) * c
            else:
                total += Index(((atom, c),))
        return total if len(total.terms) < len(self.terms) else self

    def range(self) -> tuple[int, int]:
        """The least and the greatest value, both inclusive, over all values of the axes."""
        lo = hi = self.const
        for atom, c in self.terms:
            a, b = _atom_range(atom)
            lo, hi = lo + min(c * a, c * b), hi + max(c * a, c * b)
        return lo, hi

    def within(self, lo: int, hi: int) -> bool:
        """Whether lo <= self < hi holds for every value of the axes."""
        a, b = self.range()
        return lo <= a and b < hi

    @property
    def lone(self) -> bool:
        """Whether it is one axis and nothing else."""
        return len(self.terms) == 1 and not self.const and self.terms[0][1] == 1 and isinstance(self.terms[0][0], Axis)

    def axes(self) -> tuple[Axis, ...]:
        """The axes that occur, each once, in order of first occurrence."""
        return tuple(dict.fromkeys(self._axes()))

    def _axes(self) -> Iterator[Axis]:
        for atom, _ in self.terms:
            if isinstance(atom, Axis):
                yield atom
            else:
                yield from atom.of._axes()

    def coefficient(self, axis: Axis) -> int | None:
        """The factor of `axis`, 0 where it does not occur, None where it is under a `/` or `%`."""
        factor = 0
        for atom, c in self.terms:
            if atom == axis:
                factor = c
            elif not isinstance(atom, Axis) and axis in atom.of.axes():
                return None
        return factor

    def substitute(self, values: Mapping[Axis, IndexLike]) -> Index:
        """Axes replaced by expressions, simplified anew."""
        return self.fold(lambda a: Index.of(values.get(a, a)), Index.of)

    def fold(self, axis: Callable[[Axis], T], const: Callable[[int], T]) -> T:
        """Evaluate with other numbers: `axis` gives an axis' value, `const` a constant's."""
        total: Any = const(self.const)
        for atom, c in self.terms:
            value: Any = axis(atom) if isinstance(atom, Axis) else atom.of.fold(axis, const)
            if isinstance(atom, FloorDiv):
                value = value // atom.by
            elif isinstance(atom, Mod):
                value = value % atom.by
            total = total + value * c
        result: T = total
        return result

    def __str__(self) -> str:
        text = ""
        for atom, c in self.terms:
            factor = str(atom) if abs(c) == 1 else f"{_factor(atom)}*{abs(c)}"
            text += factor if not text and c > 0 else f"-{factor}" if not text else f" {'+' if c > 0 else '-'} {factor}"
        if not text:
            return str(self.const)
        return text if not self.const else f"{text} {'+' if self.const > 0 else '-'} {abs(self.const)}"


def _dividend(e: Index) -> str:
    return str(e) if e.lone else f"({e})"


def _factor(atom: Atom) -> str:
    return str(atom) if isinstance(atom, Axis) else f"({atom})"


def _atom_range(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Axis):
        return 0, max(int(atom.extent) - 1, 0)
    lo, hi = atom.of.range()
    if isinstance(atom, FloorDiv):
        return lo // atom.by, hi // atom.by
    return 0, atom.by - 1


@dataclass(frozen=True)
class Bound:
    """A guard: lo <= index < hi. Divisibility is a bound too: 0 <= index % d < 1."""

    index: Index
    lo: int
    hi: int

    @property
    def always(self) -> bool:
        return self.index.within(self.lo, self.hi)

    @property
    def never(self) -> bool:
        lo, hi = self.index.range()
        return hi < self.lo or lo >= self.hi

    def substitute(self, values: Mapping[Axis, IndexLike]) -> Bound:
        return Bound(self.index.substitute(values), self.lo, self.hi)

    def __str__(self) -> str:
        return f"{self.index} in [{self.lo}, {self.hi})"


def bounds(coords: Sequence[Index], shape: Sequence[int]) -> tuple[Bound, ...]:
    """The guards that keep `coords` inside `shape`: one for each coordinate not proved to be inside."""
    limits = (Bound(c, 0, int(extent)) for c, extent in zip(coords, shape, strict=True))
    return tuple(b for b in limits if not b.always)
