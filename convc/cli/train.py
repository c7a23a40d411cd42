"""`convc train`: one model, one learning rate or a schedule of them."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from convc.cli.live import Display
from convc.cli.training import DATA_HELP, FOLDER, interruptible, run_options, trainable
from convc.data import load
from convc.errors import RunError
from convc.optim import SGD, Adam
from convc.schedule import FORMS
from convc.training_run import TrainPlan, run_training


@click.command()
@click.argument("model")
@click.option("--data", required=True, help=DATA_HELP)
@click.option("--epochs", type=int, default=30, show_default=True, help="Epochs in all, earlier ones included.")
@click.option("--lr", type=float, help="The learning rate at first.  [default: 0.01, with adam 0.001]")
@click.option("--optimizer", type=click.Choice(("sgd", "adam")), default="sgd", show_default=True, help="Update rule.")
@click.option("--momentum", type=float, help="Of sgd.  [default: 0.9]")
@click.option("--weight-decay", type=float, default=0.0, show_default=True, help="Times the weights, to gradients.")
@click.option("--schedule", default="constant", show_default=True, help=f"Of the learning rate: {FORMS}.")
@run_options
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--out", type=FOLDER, required=True, help="Where weights, history and checkpoint go.")
def train(
    model: str,
    data: str,
    epochs: int,
    lr: float | None,
    optimizer: str,
    momentum: float | None,
    weight_decay: float,
    schedule: str,
    batch: int,
    seed: int,
    target: str,
    resume: bool,
    out: Path,
) -> None:
    """Train MODEL and save its weights.

    \b
    Examples:
      convc train lenet5 --data mnist5k --out out/lenet5
      convc train lenet5 --data mnist5k --lr 0.05 --schedule cosine --epochs 20 --out out/cosine
      convc train lenet5 --data mnist5k --epochs 60 --out out/lenet5 --resume
    """
    rule = make_optimizer(optimizer, lr, momentum, weight_decay)
    plan = TrainPlan(model, data, rule, schedule, epochs, batch, seed, target)
    dataset = load(data, seed=seed)
    module = trainable(model, dataset)
    console = Console()
    line = f"interrupted; {out} keeps the finished epochs: run the same command with --resume to go on"
    with interruptible(line), Display(console, epochs, len(dataset.train)) as display:
        result = run_training(plan, module, dataset, out, resume=resume, watch=display)
    click.echo(f"test: {result.test}")
    click.echo(f"weights: {result.weights}")


def make_optimizer(name: str, lr: float | None, momentum: float | None, weight_decay: float) -> SGD | Adam:
    """The optimizer of that name; None stands for its default. Raises RunError on a momentum that has no use."""
    if name == "adam":
        if momentum is not None:
            raise RunError("adam has no momentum of that kind; leave out --momentum, or choose --optimizer sgd")
        return Adam(lr=0.001 if lr is None else lr, weight_decay=weight_decay)
    momentum = 0.9 if momentum is None else momentum
    return SGD(lr=0.01 if lr is None else lr, momentum=momentum, weight_decay=weight_decay)
