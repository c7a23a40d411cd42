"""Tables: as plain text of any width, whose names stay whole where they can, and as HTML.

What stands in them may come from a model's or a data set's file: text keeps to printable characters, HTML is escaped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from convc.ir.lexer import printable
from convc.show import WIDTH, html_table, wrapped

GAP = "  "
LEAST = 20
"""Columns that the last cell needs, to be wrapped rather than moved to a line below."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under `headings`, the first cell a name; `numbers` are the headings over numbers.

    `title` may be empty. `str(table)` is at most 80 columns wide.
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: Collection[str] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines(WIDTH))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """A <table>, its title as the caption."""
        return html_table(self.title, self.headings, self.rows, self.numbers)

    @property
    def width(self) -> int:
        """Columns that the rows take where each stands on one line."""
        return max(len(line) for block in self.blocks(None) for line in block)

    def lines(self, width: int) -> list[str]:
        """All lines, none longer than `width`."""
        blocks = self.blocks(width)
        return [*(wrapped(self.title, width=width).splitlines()), *(line for block in blocks for line in block)]

    def blocks(self, width: int | None, *, head: bool = True) -> list[list[str]]:
        """The lines of each row, with `head` those of the headings before them.

        A table that is too wide has its last cells wrapped or, where that leaves too little room, its names on lines
        of their own; a name longer than a line loses its middle.
        """
        table = [tuple(map(printable, row)) for row in (*([self.headings] if head else []), *self.rows)]
        widths = [max((len(row[i]) for row in table), default=0) for i in range(len(self.headings))]
        fixed = sum(w + len(GAP) for w in widths[:-1])
        if width is None or fixed + widths[-1] <= width:
            return [[self._line(row, widths)] for row in table]
        if self._wraps(table, width - fixed):
            return [self._wrapped(row, widths, width - fixed) for row in table]
        return [[shortened(row[0], width), *self._below(row, widths, width)] for row in table]

    def _wraps(self, rows: Sequence[tuple[str, ...]], room: int) -> bool:
        """Whether the last cells of these rows can be wrapped into so many columns, none of their words broken."""
        longest = max(len(word) for row in rows for word in row[-1].split() or [""])
        return room >= max(LEAST, longest) and self.headings[-1] not in self.numbers

    def _below(self, row: tuple[str, ...], widths: Sequence[int], width: int) -> list[str]:
        """The cells behind the name, indented."""
        rest = Table("", self.headings[1:], [row[1:]], self.numbers)
        room = width - len(GAP) - sum(w + len(GAP) for w in widths[1:-1])
        if widths[-1] <= room:
            lines = [rest._line(row[1:], widths[1:])]
        elif self._wraps([row], room):
            lines = rest._wrapped(row[1:], widths[1:], room)
        else:
            lines = textwrap.wrap(GAP.join(row[1:]), width - len(GAP), break_on_hyphens=False)
        return [GAP + line for line in lines]

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = (
            text.rjust(size) if heading in self.numbers else text.ljust(size)
            for text, size, heading in zip(row, widths, self.headings, strict=True)
        )
        return GAP.join(cells).rstrip()

    def _wrapped(self, row: Sequence[str], widths: Sequence[int], room: int) -> list[str]:
        """The row with its last cell in lines of at most `room` columns."""
        parts = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        first = self._line([*row[:-1], parts[0]], [*widths[:-1], 0])
        margin = " " * sum(w + len(GAP) for w in widths[:-1])
        return [first, *(margin + part for part in parts[1:])]


def shortened(name: str, width: int) -> str:
    """The name, its middle left out where it is longer than `width`: its ends tell kernels apart."""
    if len(name) <= width:
        return name
    half = (width - 3) // 2
    return f"{name[: width - 3 - half]}...{name[len(name) - half :]}"


def first(rows: Iterable[tuple[str, ...]], most: int, total: int) -> list[tuple[str, ...]]:
    """At most so many of `total` rows, and, where there are more, one that says how many."""
    kept = [row for row, _ in zip(rows, range(most))]
    if total > most and kept:
        kept.append((f"{total - most} more", *[""] * (len(kept[0]) - 1)))
    return kept
