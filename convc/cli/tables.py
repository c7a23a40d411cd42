"""Tables on the command line: in colour on a terminal, as plain text elsewhere."""

from __future__ import annotations

import click

from convc.cli.options import in_colour
from convc.cli.printing import fitted
from convc.ir.lexer import printable
from convc.table import Table


def print_table(table: Table) -> None:
    """Print it; plain text fits the width of the terminal."""
    if not in_colour():
        click.echo(fitted(table))
        return
    from rich.console import Console  # here, for a fast start
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, header_style="dim", pad_edge=False)
    for heading in table.headings:
        shown.add_column(heading, justify="right" if heading in table.numbers else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(printable(text)) for text in row))
    console = Console()
    if table.title:
        console.print(Text(table.title, "bold"))
    console.print(shown)
