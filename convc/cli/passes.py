"""`convc passes`: the table of passes."""

from __future__ import annotations

from importlib.metadata import entry_points

import click

from convc.cli.opt import loaded
from convc.cli.printing import fitted, say
from convc.errors import IRError
from convc.passes import pipeline
from convc.passes.registry import ENTRY_POINTS, PASSES, summary
from convc.table import Table


@click.command()
def passes() -> None:
    """List the passes in the order in which they run, each with its mode and its rewrite.

    \b
    Example:
      convc passes
    """
    infer, train = ([pipeline.pass_name(p) for p in pipeline.pipeline(mode, clip=mode)] for mode in (False, True))
    rows = [(name, "every" if name in infer else "train", summary(PASSES[name])) for name in dict.fromkeys(train)]
    rows += [(name, "-", summary(PASSES[name])) for name in PASSES if name not in train]
    rows += [(e.name, "-", _offered(e.name)) for e in entry_points(group=ENTRY_POINTS) if e.name not in PASSES]
    click.echo(fitted(Table("", ("pass", "mode", "rewrite"), rows)))
    again = [name for name in dict.fromkeys(train) if train.count(name) > 1]
    second = train.index(again[0], train.index(again[0]) + 1)
    say(f"\nIn mode train, {', '.join(again)} run once more after {train[second - 1]}.")


def _offered(name: str) -> str:
    try:
        return summary(loaded(name))
    except IRError as error:
        return str(error)
