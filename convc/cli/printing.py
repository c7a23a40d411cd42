"""Lines that fit the terminal: 80 columns where there is none, and what COLUMNS says."""

from __future__ import annotations

import shutil
import textwrap

import click

from convc.table import Table


def width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


def say(text: str, style: dict[str, bool] | None = None) -> None:
    """Print the text, each line of it wrapped between words; what is wrapped is indented by two more.

    A word that is longer, a path or a name, stays whole.
    """
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())] + "  "
        wrapped = textwrap.wrap(
            line, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
            replace_whitespace=False, drop_whitespace=True,
        )  # fmt: skip
        for part in wrapped or [""]:
            click.echo(click.style(part, **style) if style else part)


def fitted(table: Table) -> str:
    """The table as it fits the terminal."""
    return "\n".join(table.lines(width()))
