"""Reads index and scalar expressions, through the Index class, so that what it returns is canonical."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from convc.ir.index import Axis, Bound, Index
from convc.ir.lexer import MAX_INTEGER, Cursor, did_you_mean
from convc.ir.printer import COMPARISON, INFIX
from convc.ir.scalar import (
    BINARY,
    DEEPEST,
    UNARY,
    Binary,
    Const,
    IndexValue,
    Load,
    Local,
    Next,
    Random,
    RowCount,
    Scalar,
    Select,
    Unary,
)

MAX_DIVISIONS = 16
"""How deep `/` and `%` may nest in an index: simplifying can double the size with each."""
_COMPARE_BY_LENGTH = {v: k for k, v in sorted(COMPARISON.items(), key=lambda item: -len(item[1]))}
_ADD = {INFIX[fn][0]: fn for fn in ("add", "sub")}
_MUL = {INFIX[fn][0]: fn for fn in ("mul", "div")}


@dataclass(frozen=True)
class Scope:
    """The axes and the local results that an expression may name."""

    axes: Mapping[str, Axis]
    locals: frozenset[str] = field(default=frozenset())


def parse_scalar(c: Cursor, scope: Scope) -> Scalar:
    start = c.pos
    result = _sum(c, scope)
    if (deep := result.depth) > DEEPEST:
        raise c.error(f"an expression may be at most {DEEPEST} operators deep, but this is {deep}; split it", start)
    return result


def _sum(c: Cursor, scope: Scope) -> Scalar:
    result = _product(c, scope)
    while symbol := c.accept(*_ADD):
        result = Binary(_ADD[symbol], result, _product(c, scope))
    return result


def _product(c: Cursor, scope: Scope) -> Scalar:
    result = _factor(c, scope)
    while symbol := c.accept(*_MUL):
        result = Binary(_MUL[symbol], result, _factor(c, scope))
    return result


def _factor(c: Cursor, scope: Scope) -> Scalar:
    if c.accept("-"):
        if (value := c.number()) is not None:
            return Const(-float(value))
        with c.nested():
            return Unary("neg", _factor(c, scope))
    if (value := c.number()) is not None:
        return Const(float(value))
    at = c.pos
    if c.accept("("):
        with c.nested():
            inner = _sum(c, scope)
        c.close(")", at, "at the end of the parentheses")
        return inner
    if c.accept("$"):
        return _load(c, scope)
    if c.accept("#"):
        opened = c.open("(", "after '#'")
        index = parse_index(c, scope.axes)
        c.close(")", opened, "after the index")
        return IndexValue(index)
    if c.accept("rows"):
        return RowCount()
    word = c.word("an expression")
    if word == "select":
        return _select(c, scope)
    if word == "random":
        return _random(c, scope)
    if word == "next":
        return Next(*_arguments(c, scope, word, 1))
    if word in UNARY:
        return Unary(word, *_arguments(c, scope, word, 1))
    if word in BINARY:
        return Binary(word, *_arguments(c, scope, word, 2))
    if c.looking_at("("):
        raise c.error(
            f"unknown function '{word}'{did_you_mean(word, (*UNARY, *BINARY, 'select', 'random', 'next'))}", at
        )
    if word not in scope.locals:
        hint = f"; write #({word}) for the axis as a number" if word in scope.axes else did_you_mean(word, scope.locals)
        raise c.error(f"'{word}' is no result of an earlier stage{hint}", at)
    return Local(word)


def _arguments(c: Cursor, scope: Scope, fn: str, count: int) -> list[Scalar]:
    opened = c.open("(", f"after {fn}")
    with c.nested():
        values = [_sum(c, scope)]
        while len(values) < count:
            c.expect(",", f"and {count} arguments in {fn}")
            values.append(_sum(c, scope))
    c.close(")", opened, f"after {count} argument{'s' if count > 1 else ''} of {fn}")
    return values


def _select(c: Cursor, scope: Scope) -> Scalar:
    opened = c.open("(", "after select")
    with c.nested():
        a = _sum(c, scope)
        symbol = c.accept(*_COMPARE_BY_LENGTH)
        if not symbol:
            raise c.expected(f"a comparison ({' '.join(COMPARISON.values())})", "in select")
        b = _sum(c, scope)
        c.expect(",", "and the value where the comparison holds")
        then = _sum(c, scope)
        c.expect(",", "and the value where it does not hold")
        otherwise = _sum(c, scope)
    c.close(")", opened, "at the end of select")
    return Select(_COMPARE_BY_LENGTH[symbol], a, b, then, otherwise)


def _random(c: Cursor, scope: Scope) -> Random:
    """`random(index, stream, seed, step)`"""
    opened = c.open("(", "after random")
    with c.nested():
        index = parse_index(c, scope.axes)
        c.expect(",", "and the stream in random")
        at = c.pos
        stream = c.integer("the stream's number")
        if stream >= 2**32:
            raise c.error(f"a stream is a number below 2^32, not {stream}; write a smaller one", at)
        words = []
        for what in ("seed", "step"):
            c.expect(",", f"and the {what} in random")
            words.append(_sum(c, scope))
    c.close(")", opened, "after the step of random")
    return Random(index.linear(), stream, *words)


def _load(c: Cursor, scope: Scope) -> Load:
    operand = c.integer("an operand's number")
    opened = c.open("[", f"and the coordinates of ${operand}")
    coords = parse_coords(c, scope)
    guards: list[Bound] = []
    if c.accept("|"):
        guards.append(_guard(c, scope))
        while c.accept(","):
            guards.append(_guard(c, scope))
    fill = 0.0
    if c.accept(";"):
        negative = c.accept("-")
        value = c.number()
        if value is None:
            raise c.expected("a number", "to fill with")
        fill = -float(value) if negative else float(value)
    c.close("]", opened, f"at the end of ${operand}")
    return Load(operand, coords, tuple(guards), fill)


def _guard(c: Cursor, scope: Scope) -> Bound:
    index = parse_index(c, scope.axes)
    c.expect("in", "and the bounds of the guard")
    c.expect("[", "of the guard's bounds")
    lo = c.signed("the lower bound")
    c.expect(",", "between the guard's bounds")
    hi = c.signed("the upper bound")
    c.expect(")", "after the guard's bounds: they are [lo, hi), without hi")
    return Bound(index, lo, hi)


def parse_coords(c: Cursor, scope: Scope) -> tuple[Index, ...]:
    coords: list[Index] = []
    while not c.looking_at("]", "|", ";"):
        if coords:
            c.expect(",", "or ']' in the coordinates")
        coords.append(parse_index(c, scope.axes))
    return tuple(coords)


# Index expressions


def parse_index(c: Cursor, axes: Mapping[str, Axis]) -> Index:
    """Sums of products; a leading minus negates the whole first product, as in `-(h) / 2 + p`."""
    at = c.pos
    negative = c.accept("-")
    total = _index_product(c, axes)
    total = -total if negative else total
    while symbol := c.accept("+", "-"):
        term = _index_product(c, axes)
        total = total + term if symbol == "+" else total - term
    return _limited(c, total, at)


def _index_product(c: Cursor, axes: Mapping[str, Axis]) -> Index:
    at = c.pos
    result = _index_factor(c, axes)
    while symbol := c.accept("*", "/", "%"):
        right = c.pos
        other = _index_factor(c, axes)
        if symbol == "*":
            if result.terms and other.terms:
                raise c.error("an index may be multiplied by a constant only; one side must be a number", right)
            result = result * other.const if not other.terms else other * result.const
        else:
            if other.terms or other.const < 1:
                raise c.error(f"an index may be divided ({symbol}) by a positive constant only, not by {other}", right)
            result = result // other.const if symbol == "/" else result % other.const
        result = _limited(c, result, at)
    return result


def _index_factor(c: Cursor, axes: Mapping[str, Axis]) -> Index:
    at = c.pos
    if c.accept("("):
        with c.nested():
            inner = parse_index(c, axes)
        c.close(")", at, "at the end of the parentheses")
        return inner
    if c.accept("-"):
        return Index.of(-c.integer("a number"))
    word = c.peek_word()
    if not word:
        return Index.of(c.integer("an axis or a number"))
    c.accept(word)
    if word not in axes:
        raise c.error(f"axis '{word}' is none of the axes here{did_you_mean(word, axes)}", at)
    return Index.of(axes[word])


def _limited(c: Cursor, index: Index, at: int) -> Index:
    if any(abs(number) > MAX_INTEGER for number in (index.const, *(factor for _, factor in index.terms))):
        raise c.error(f"the numbers of an index must be at most {MAX_INTEGER}; write smaller ones", at)
    depth, level = 0, [index]
    while level := [atom.of for i in level for atom, _ in i.terms if not isinstance(atom, Axis)]:
        depth += 1
    if depth > MAX_DIVISIONS:
        raise c.error(f"'/' and '%' may nest at most {MAX_DIVISIONS} deep in an index; simplify it", at)
    return index
