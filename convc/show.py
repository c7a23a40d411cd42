"""How objects show themselves: tables as text, at most 80 columns wide, and as HTML for notebooks.

What stands in them may come from a model's or a data set's file: text keeps to printable characters, HTML is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

from convc.ir.lexer import printable

WIDTH = 80
_LEAST = 8
"""A column of text is never cut shorter, even where the table then is wider."""
_MARK = "..."


@dataclass(frozen=True)
class Table:
    """Rows under headings; those of `headings` that are in `numbers` stand over numbers. `title` may be empty.

    `str(table)` is at most 80 columns wide where shortening its texts, the longest column first, achieves that.
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [tuple(map(printable, row)) for row in (self.headings, *self.rows)]
        widths = self._widths([max(len(row[i]) for row in rows) for i in range(len(self.headings))])
        lines = ["  ".join(map(self._cell, row, widths, self.headings)).rstrip() for row in rows]
        return "\n".join([*wrap(printable(self.title), WIDTH), *lines])

    def _widths(self, widths: list[int]) -> list[int]:
        texts = [i for i, heading in enumerate(self.headings) if heading not in self.numbers]
        while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
            widest = max(texts, key=lambda i: widths[i], default=None)
            if widest is None or widths[widest] <= _LEAST:
                break
            widths[widest] -= 1
        return widths

    def _cell(self, text: str, width: int, heading: str) -> str:
        return text.rjust(width) if heading in self.numbers else clipped(text, width).ljust(width)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """A <table>, its title as the caption."""
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        head = "".join(f"<th{self._style(h)}>{html.escape(h)}</th>" for h in self.headings)
        body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _cells(self, row: Sequence[str]) -> str:
        return "".join(f"<td{self._style(h)}>{html.escape(text)}</td>" for text, h in zip(row, self.headings))

    def _style(self, heading: str) -> str:
        return f' style="text-align: {"right" if heading in self.numbers else "left"}"'


def clipped(text: str, width: int) -> str:
    """The text, its end cut off where it is longer than `width`."""
    return text if len(text) <= width else text[: width - len(_MARK)] + _MARK


def preformatted(text: str, summary: str = "") -> str:
    """HTML of text as it stands; with a `summary`, folded up behind it."""
    block = f"<pre>{html.escape(text)}</pre>"
    return f"<details><summary>{html.escape(summary)}</summary>{block}</details>" if summary else block


def paragraph(text: str) -> str:
    """HTML of one paragraph."""
    return f"<p>{html.escape(text)}</p>"


def first(rows: Iterable[tuple[str, ...]], most: int, total: int) -> list[tuple[str, ...]]:
    """At most so many of `total` rows, and, where there are more, one that says how many."""
    kept = [row for row, _ in zip(rows, range(most))]
    if total > most and kept:
        kept.append((f"{total - most} more", *[""] * (len(kept[0]) - 1)))
    return kept
