"""How objects show themselves: as text at most 80 columns wide, and as HTML for notebooks.

What stands in them may come from a model's or a data set's file: text keeps to printable characters, HTML is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from textwrap import wrap

from convc.ir.lexer import printable

WIDTH = 80


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


def wrapped(*texts: str, width: int = WIDTH) -> str:
    """Each of the texts from a line of its own on, in lines of at most `width` columns; longer words stay whole."""
    lines = (wrap(printable(text), width, break_long_words=False, break_on_hyphens=False) for text in texts)
    return "\n".join(line for part in lines for line in part)


def preformatted(text: str, summary: str = "") -> str:
    """HTML of text as it stands; with a `summary`, folded up behind it."""
    block = f"<pre>{html.escape(text)}</pre>"
    return f"<details><summary>{html.escape(summary)}</summary>{block}</details>" if summary else block


def paragraph(text: str) -> str:
    """HTML of one paragraph."""
    return f"<p>{html.escape(text)}</p>"
