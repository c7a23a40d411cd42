"""How objects show themselves: tables as text, at most 80 columns wide, and as HTML for notebooks.

What stands in them may come from a model's or a data set's file: text keeps to printable characters, HTML is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
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
    numbers: Collection[str] = ()

    def __str__(self) -> str:
        rows = [tuple(map(printable, row)) for row in (self.headings, *self.rows)]
        widths = self._widths([max(len(row[i]) for row in rows) for i in range(len(self.headings))])
        lines = ["  ".join(map(self._cell, row, widths, self.headings)).rstrip() for row in rows]
        return "\n".join([*([wrapped(self.title)] if self.title else []), *lines])

    @property
    def width(self) -> int:
        """Columns that the text takes, once its texts are cut as far as they may be."""
        return max(len(line) for line in str(self).splitlines())

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
        return html_table(self.title, self.headings, self.rows, self.numbers)


def html_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> str:
    """A <table> of escaped texts, `title` as its caption; headings that are in `numbers` stand over numbers."""
    sides = [f' style="text-align: {"right" if h in numbers else "left"}"' for h in headings]

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}{side}>{html.escape(text)}</{tag}>" for text, side in zip(texts, sides))

    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{caption}<thead><tr>{cells('th', headings)}</tr></thead><tbody>{body}</tbody></table>"


def wrapped(*texts: str) -> str:
    """Each of the texts from a line of its own on, in lines of at most 80 columns; longer words stay whole."""
    lines = (wrap(printable(text), WIDTH, break_long_words=False, break_on_hyphens=False) for text in texts)
    return "\n".join(line for part in lines for line in part)


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
