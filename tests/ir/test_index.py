"""Index arithmetic agrees with Python's integers at every point of its axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from convc.ir.index import Axis, Bound, FloorDiv, Index, bounds
from convc.ir.types import Rows

N, P, Q, ONE = AXES = (Axis("n", Rows(3)), Axis("p", 5), Axis("q", 4), Axis("one", 1))
Point = dict[Axis, int]


def points() -> Iterator[Point]:
    for values in product(*[range(int(a.extent)) for a in AXES]):
        yield dict(zip(AXES, values))


@dataclass(frozen=True)
class Pair:
    """An expression twice: as an Index, and as a function of Python integers. The text is for reports."""

    index: Index
    value: Callable[[Point], int]
    text: str

    def __repr__(self) -> str:
        return self.text


def leaf(axis: Axis) -> Pair:
    return Pair(Index.of(axis), lambda at: at[axis], axis.name)


def constant(value: int) -> Pair:
    return Pair(Index.of(value), lambda at: value, str(value))


def add(a: Pair, b: Pair) -> Pair:
    return Pair(a.index + b.index, lambda at: a.value(at) + b.value(at), f"({a} + {b})")


def sub(a: Pair, b: Pair) -> Pair:
    return Pair(a.index - b.index, lambda at: a.value(at) - b.value(at), f"({a} - {b})")


def mul(a: Pair, by: int) -> Pair:
    return Pair(a.index * by, lambda at: a.value(at) * by, f"({a} * {by})")


def div(a: Pair, by: int) -> Pair:
    return Pair(a.index // by, lambda at: a.value(at) // by, f"({a} // {by})")


def mod(a: Pair, by: int) -> Pair:
    return Pair(a.index % by, lambda at: a.value(at) % by, f"({a} % {by})")


def negate(a: Pair) -> Pair:
    return Pair(-a.index, lambda at: -a.value(at), f"-{a}")


def pairs() -> st.SearchStrategy[Pair]:
    leaves = st.one_of(st.sampled_from(AXES).map(leaf), st.integers(-12, 12).map(constant))
    factor, divisor = st.integers(-5, 5), st.integers(1, 9)
    return st.recursive(
        leaves,
        lambda e: st.one_of(
            st.builds(add, e, e),
            st.builds(sub, e, e),
            st.builds(mul, e, factor),
            st.builds(div, e, divisor),
            st.builds(mod, e, divisor),
            st.builds(negate, e),
        ),
        max_leaves=8,
    )


def evaluate(index: Index, at: Point) -> int:
    return index.fold(lambda a: at[a], int)


quick = settings(max_examples=150, deadline=None)


@quick
@given(pairs())
def test_arithmetic_agrees_with_integers(e: Pair) -> None:
    assert all(evaluate(e.index, at) == e.value(at) for at in points())


@quick
@given(pairs())
def test_the_range_holds_every_value(e: Pair) -> None:
    lo, hi = e.index.range()
    values = [e.value(at) for at in points()]
    assert lo <= min(values)
    assert max(values) <= hi
    assert e.index.within(lo, hi + 1)
    assert not e.index.within(lo, hi)


@quick
@given(pairs(), pairs(), pairs())
def test_substitution_replaces_the_axes(e: Pair, p: Pair, q: Pair) -> None:
    changed = e.index.substitute({P: p.index, Q: q.index})
    for at in points():
        inside = {**at, P: p.value(at), Q: q.value(at)}
        # simplification relies on the axes' ranges, so values outside promise nothing
        if 0 <= inside[P] < P.extent and 0 <= inside[Q] < Q.extent:
            assert evaluate(changed, at) == e.value(inside)


@quick
@given(pairs())
def test_the_linear_form_has_the_same_values(e: Pair) -> None:
    linear = e.index.linear()
    assert all(evaluate(linear, at) == e.value(at) for at in points())


@quick
@given(pairs(), pairs())
def test_sums_are_canonical(a: Pair, b: Pair) -> None:
    assert a.index + b.index == b.index + a.index
    assert hash(a.index + b.index) == hash(b.index + a.index)
    assert (a.index - b.index) + b.index == a.index
    assert a.index - a.index == Index()
    assert a.index.substitute({}) == a.index


@quick
@given(pairs(), st.integers(-9, 9), st.integers(-9, 9))
def test_guards_are_decided_only_when_they_are_certain(e: Pair, lo: int, hi: int) -> None:
    guard = Bound(e.index, lo, hi)
    holds = {lo <= e.value(at) < hi for at in points()}
    assert not guard.always or holds == {True}
    assert not guard.never or holds == {False}


def test_ranges_of_sums_over_different_axes_are_exact() -> None:
    assert (Index.of(P) * 2 - Q + 1).range() == (-2, 9)
    assert Index.of(N).range() == (0, 2)
    assert ((Index.of(P) - 1) // 2).range() == (-1, 1)
    assert Index.of(Axis("empty", 0)).range() == (0, 0)


def test_simplification_uses_the_extents() -> None:
    block, lane = Axis("block", 4), Axis("lane", 16)
    flat = Index.of(block) * 16 + lane
    assert flat // 16 == Index.of(block)
    assert flat % 16 == Index.of(lane)
    assert Index.of(ONE) == Index()
    assert Index.of(P) // 5 == Index()
    assert (Index.of(P) * 4 + Q) // 4 * 4 + (Index.of(P) * 4 + Q) % 4 == Index.of(P) * 4 + Q
    assert str((Index.of(P) + 1) // 2) == "(p + 1) / 2"
    assert str((Index.of(P) * 3 + 7) % 4 * -2 + N) == "-((p*3 + 3) % 4)*2 + n"


def test_coefficients_and_axes() -> None:
    e = Index.of(P) * 3 - N + Index.of(Q) % 3
    assert [e.coefficient(a) for a in (P, N, Q, ONE)] == [3, -1, None, 0]
    assert e.axes() == (P, Q, N)
    (atom, _), *_ = ((Index.of(P) + 1) // 2).terms
    assert isinstance(atom, FloorDiv)


def test_bounds_guard_only_what_may_leave_the_shape() -> None:
    coords = [Index.of(N), Index.of(P) - 1, Index.of(Q) + 1]
    assert bounds(coords, (3, 4, 4)) == (Bound(coords[1], 0, 4), Bound(coords[2], 0, 4))
    assert bounds(coords[:1], (3,)) == ()
    with pytest.raises(ValueError, match="zip"):
        bounds(coords, (3,))


def test_rows_of_one_stay_an_axis() -> None:
    rows = Axis("n", Rows(1))
    assert Index.of(rows).axes() == (rows,)
