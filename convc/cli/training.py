"""What the commands that train or evaluate share: options, the model, and how Ctrl-C ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from convc.cli.group import EXIT_INTERRUPTED
from convc.cli.models import resolve_model
from convc.cli.options import place_options
from convc.data import FORMS, Dataset
from convc.errors import ConvcError, RunError
from convc.nn import Module
from convc.optim import DEFAULT_MOMENTUM, OPTIMIZERS, Optimizer

AUGMENT_HELP = "Of training images, anew in every epoch: shift:2,flip,cutout:8."
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


def optimizer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--optimizer, --momentum, --weight-decay and --clip-norm."""
    decay = "Times the weights; adamw's is decoupled.  [default: adamw 0.01, others 0]"
    decorators = (
        click.option(
            "--optimizer", type=click.Choice(tuple(OPTIMIZERS)), default="sgd", show_default=True, help="Update rule."
        ),
        click.option("--momentum", type=float, help="Of sgd and rmsprop.  [default: sgd 0.9, rmsprop 0]"),
        click.option("--weight-decay", type=float, help=decay),
        click.option("--clip-norm", type=float, metavar="NORM", help="Scale gradients whose global norm is greater."),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def make_optimizer(name: str, **numbers: float | None) -> Optimizer:
    """The optimizer of that name; None stands for a number's default. Raises RunError on a momentum that has no use."""
    kind = OPTIMIZERS[name]
    given = {n: number for n, number in numbers.items() if number is not None}
    known = {field.name for field in fields(kind)}
    if "momentum" in given and "momentum" not in known:
        raise RunError(f"{name} has no momentum of that kind; leave out --momentum, or choose --optimizer sgd")
    if name in DEFAULT_MOMENTUM:
        given.setdefault("momentum", DEFAULT_MOMENTUM[name])
    return kind(**given)


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
