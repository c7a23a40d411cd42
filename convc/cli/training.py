"""What the commands that train or evaluate share: options, the model, and how Ctrl-C ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from convc.cli.group import EXIT_INTERRUPTED
from convc.cli.models import resolve_model
from convc.cli.options import place_options
from convc.data import FORMS, Dataset
from convc.errors import ConvcError
from convc.nn import Module

DATA_HELP = f"{FORMS}."
MODULE_RULE = "only a model of layers has weights to train and to load"
FOLDER = click.Path(file_okay=False, path_type=Path)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--batch, --seed, --target, --device and --compiler."""
    seed_help = "Of the first weights and of the order of the images."
    decorators = (
        click.option("--batch", type=int, default=128, show_default=True, help="Images in a batch."),
        click.option("--seed", type=int, default=0, show_default=True, help=seed_help),
        place_options,
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def trainable(spec: str, dataset: Dataset) -> Module:
    """The model that MODEL names. Raises ConvcError where there is none, or it has no parameters to train."""
    if spec.endswith(".conv"):
        raise ConvcError(
            f"a graph in text form has no first weights to train from: give a name from the zoo or file.py:function, "
            f"not {spec}"
        )
    model, _ = resolve_model(spec, dataset.image_shape)
    if not isinstance(model, Module):
        raise ConvcError(f"only a model of layers can be trained, and {spec} is a graph")
    return model


@contextmanager
def interruptible(line: str) -> Iterator[None]:
    """Ctrl-C ends the command with `line` on standard error and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"convc: {line}", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
