"""The text of expressions and indices: as it is written, made canonical, there and back for any expression."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import convc.ir.ops  # noqa: F401  (registers the operators)
from convc.errors import IRError
from convc.ir.expression_parser import Scope, parse_scalar
from convc.ir.index import Axis, Bound, Index
from convc.ir.kernels import Loops
from convc.ir.lexer import Cursor
from convc.ir.loop_nest import LoopNest, Map
from convc.ir.scalar import (
    BINARY,
    COMPARE,
    UNARY,
    Binary,
    Const,
    IndexValue,
    Load,
    Local,
    Random,
    RowCount,
    Scalar,
    Select,
    Store,
    Unary,
)
from convc.ir.text import print_node
from convc.ir.types import Rows, f32
from tests.ir.graphs import graph_of

AXES = {a.name: a for a in (Axis("n", Rows(8)), Axis("p", 5), Axis("q", 7), Axis("one", 1))}
SEVEN = f32(7)


def parsed(expression: str) -> Scalar:
    """The expression parsed where the axes n, p, q and one and the locals acc and top are known."""
    return parse_scalar(Cursor(expression), Scope(AXES, {"acc", "top"}))


def printed(e: Scalar) -> str:
    nest = LoopNest(tuple(AXES.values()), (Map((), (Store(0, (Index.of(AXES["q"]),), e),)),))
    text = print_node(graph_of(Loops(nest, results=(SEVEN,)), (SEVEN,), (SEVEN,)).nodes[0])
    start, end = text.index("store 0[q] = ") + len("store 0[q] = "), text.rindex(" }")
    return text[start:end]


@pytest.mark.parametrize(
    "text",
    [
        "1.0 - (acc - (top - 2.0)) - 3.0",
        "(acc + top) * rows / (acc * (top / 2.0))",
        "-acc * top",
        "random(p*7 + q, 4294967295, $0[], $1[]) - 1.0",
        "random(0, 0, 16777215.0, 0.0)",
        "-(acc * top)",
        "acc - -top",
        "acc * -1.0 + -inf",
        "-(1.0)",
        "-(-1.0)",
        "--acc",
        "max(acc, min(1e-30, nan)) + 1e+16",
        "select(acc + 1.0 >= -top, exp(acc), log(expm1(tanh(sqrt(abs(top))))))",
        "select(acc != 0.0, select(acc == 1.0, 2.0, 3.0), 4.0)",
        "select(acc < 1.0, top, 1.0 + select(acc <= 2.0, 1.0, top))",
        "$0[] + $12[n, p*2 - q - 1, (q + 1) / 2, -((p*3 + q) / 4)*5 + p ; -inf]",
        "$0[(p*2 + q) % 4 | (p + 1) % 2 in [0, 1), q - 1 in [-3, 2) ; -1.0]",
        "$0[((p + q) % 4)*3 - n ; nan] * #(-p) + #(0)",
    ],
)
def test_expressions_print_as_they_are_written(text: str) -> None:
    assert printed(parsed(text)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("((acc)) + (top * 2)", "acc + top * 2.0"),
        ("add(acc, mul(top, neg(acc)))", "acc + top * -acc"),
        ("$0[q + p + q + 2 - 1 + one ; 0.0]", "$0[q*2 + p + 1]"),
        ("$0[(4*p + 8) / 4, 7 % 4, p / 5, q / 1, -7 / 2, p*-2]", "$0[p + 2, 3, 0, q, -3, -p*2]"),
        ("- 5 - -.5", "-5.0 - -0.5"),
        ("random(q + p + q, 07, 3, $2[])", "random(q*2 + p, 7, 3.0, $2[])"),
    ],
)
def test_expressions_become_canonical(text: str, canonical: str) -> None:
    assert printed(parsed(text)) == canonical


def test_a_negative_zero_keeps_its_sign() -> None:
    assert printed(parsed("$0[q ; -0.0] + -0.0")) == "$0[q ; -0.0] + -0.0"


def indices() -> st.SearchStrategy[Index]:
    leaves = st.one_of(st.sampled_from([Index.of(a) for a in AXES.values()]), st.integers(-9, 9).map(Index.of))

    def grow(inner: st.SearchStrategy[Index]) -> st.SearchStrategy[Index]:
        small = st.integers(1, 9)
        return st.one_of(
            st.builds(lambda a, b: a + b, inner, inner),
            st.builds(lambda a, f: a * f, inner, st.integers(-4, 4)),
            st.builds(lambda a, d: a // d, inner, small),
            st.builds(lambda a, d: a % d, inner, small),
        )

    return st.recursive(leaves, grow, max_leaves=6)


def tuples(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(elements, max_size=3).map(tuple)


def drawn(index: Index, stream: int, seed: int, step: int) -> Random:
    return Random(index.linear(), stream, Load(seed), Load(step))


def scalars() -> st.SearchStrategy[Scalar]:
    number = st.floats(allow_nan=False)
    guards = st.builds(Bound, indices(), st.integers(-9, 9), st.integers(-9, 9))
    leaves = st.one_of(
        st.builds(Const, number),
        st.builds(Load, st.integers(0, 9), tuples(indices()), tuples(guards), number),
        st.sampled_from([Local("acc"), Local("top"), RowCount()]),
        st.builds(IndexValue, indices()),
        st.builds(drawn, indices(), st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 9)),
    )  # fmt: skip
    return st.recursive(
        leaves,
        lambda e: st.one_of(
            st.builds(Unary, st.sampled_from(UNARY), e),
            st.builds(Binary, st.sampled_from(BINARY), e, e),
            st.builds(Select, st.sampled_from(COMPARE), e, e, e, e),
        ),
        max_leaves=10,
    )


@settings(max_examples=100, deadline=None)
@given(scalars())
def test_any_expression_round_trips(e: Scalar) -> None:
    text = printed(e)
    assert parsed(text) == e
    assert printed(parsed(text)) == text


def test_a_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(IRError, match="local name 'max' must be"):
        printed(Local("max"))
