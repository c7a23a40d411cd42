"""Reads tensor types: `f32[n<=64,1,28,28|0123.0x16]`."""

from __future__ import annotations

import re

from convc.ir.lexer import Cursor, did_you_mean
from convc.ir.types import DTYPES, Layout, Rows, TensorType

MAX_RANK = 32
_LAYOUT = re.compile(r"([0-9]*)(?:\.([0-9])x([0-9]{1,6}))?(?![A-Za-z0-9_.])")


def parse_type(c: Cursor) -> TensorType:
    start = c.pos
    dtype = c.word("a type")
    if dtype not in DTYPES:
        raise c.error(f"unknown dtype '{dtype}'{did_you_mean(dtype, DTYPES)}", start)
    opened = c.open("[", "and the shape")
    shape: list[int] = []
    while not c.looking_at("]", "|") and not c.done:
        if shape:
            c.expect(",", "or ']' in the shape")
        shape.append(parse_extent(c))
        if len(shape) > MAX_RANK:
            raise c.error(f"a tensor has at most {MAX_RANK} axes; use fewer", start)
    layout = _layout(c, len(shape)) if c.accept("|") else None
    c.close("]", opened, "at the end of the type")
    return c.attempt(start, TensorType, dtype, tuple(shape), layout)


def parse_extent(c: Cursor) -> int:
    """`28`, or for batch rows `n<=64`."""
    if not c.accept("n"):
        return c.integer("an extent")
    c.expect("<=", "and the capacity of the batch rows")
    return Rows(c.integer("the capacity of the batch rows"))


def _layout(c: Cursor, rank: int) -> Layout:
    """`0123.0x16`: the axes in storage order, the blocked axis, its width."""
    at = c.pos
    found = c.match(_LAYOUT)
    if found is None:
        raise c.expected("a layout such as 0123 or 0123.0x16", "after '|'")
    order = tuple(map(int, found[1]))
    if found[2] is None:
        return c.attempt(at, Layout, order)
    blocked, width = int(found[2]), int(found[3])
    if blocked >= rank or width < 1:
        rule = f"a layout blocks one of the {rank} axes by at least 1, not axis {blocked} by {width}"
        raise c.error(f"{rule}; name another axis or width", at)
    return c.attempt(at, Layout, order, blocked, width)
