"""Tables as plain text, of any width: names stay whole where they can, and words are never broken."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GAP = "  "
LEAST = 20
"""Columns that the last cell needs, to be wrapped rather than moved to a line below."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under `headings`, the first cell a name; `numbers` are the headings over numbers.

    `title` may be empty.
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return "\n".join(self.lines(None))

    def lines(self, width: int | None) -> list[str]:
        """All lines, none longer than `width` (None: as long as they are)."""
        blocks = self.blocks(width)
        return [*([self.title] if self.title else []), *(line for block in blocks for line in block)]

    def blocks(self, width: int | None, *, head: bool = True) -> list[list[str]]:
        """The lines of each row, with `head` those of the headings before them.

        A table that is too wide has its last cells wrapped or, where that leaves too little room, its names on lines
        of their own; a name longer than a line loses its middle.
        """
        table = [*([self.headings] if head else []), *self.rows]
        widths = [max((len(row[i]) for row in table), default=0) for i in range(len(self.headings))]
        fixed = sum(w + len(GAP) for w in widths[:-1])
        if width is None or fixed + widths[-1] <= width:
            return [[self._line(row, widths)] for row in table]
        if width - fixed >= LEAST and self.headings[-1] not in self.numbers:
            return [self._wrapped(row, widths, width - fixed) for row in table]
        return [[shortened(row[0], width), *self._below(row, widths, width)] for row in table]

    def _below(self, row: tuple[str, ...], widths: Sequence[int], width: int) -> list[str]:
        """The cells behind the name, indented."""
        rest = Table("", self.headings[1:], [row[1:]], self.numbers)
        room = width - len(GAP) - sum(w + len(GAP) for w in widths[1:-1])
        if widths[-1] <= room:
            lines = [rest._line(row[1:], widths[1:])]
        elif room >= LEAST and self.headings[-1] not in self.numbers:
            lines = rest._wrapped(row[1:], widths[1:], room)
        else:
            lines = textwrap.wrap(GAP.join(row[1:]), width - len(GAP), break_long_words=False, break_on_hyphens=False)
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
