"""`convc train`: one model, one learning rate or a schedule of them."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from convc.cli.live import Display
from convc.cli.training import (
    AUGMENT_HELP,
    DATA_HELP,
    FOLDER,
    interruptible,
    make_optimizer,
    optimizer_options,
    run_options,
    trainable,
)
from convc.data import load
from convc.schedule import FORMS
from convc.training_run import TrainPlan, TrainResult, run_training

WEIGHTS_HELP = "Begin with these weights; what is missing is told."
NEW_HEAD_HELP = "Arrays of another shape in --weights begin anew: a last layer for other classes."


@click.command()
@click.argument("model")
@click.option("--data", required=True, help=DATA_HELP)
@click.option("--epochs", type=int, default=30, show_default=True, help="Epochs in all, earlier ones included.")
@click.option("--lr", type=float, help="The greatest learning rate.  [default: sgd 0.01, others 0.001]")
@optimizer_options
@click.option("--schedule", default="constant", show_default=True, help=f"Of the learning rate: {FORMS}.")
@click.option("--augment", default="", metavar="STEPS", help=AUGMENT_HELP)
@click.option("--early-stop", type=int, metavar="EPOCHS", help="End after so many without a lower validation loss.")
@click.option("--weights", type=click.Path(dir_okay=False, path_type=Path), help=WEIGHTS_HELP)
@click.option("--new-head", is_flag=True, help=NEW_HEAD_HELP)
@click.option("--freeze", multiple=True, metavar="PATTERN", help="Layers that stay as they are, such as 'conv*'.")
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
    weight_decay: float | None,
    clip_norm: float | None,
    schedule: str,
    augment: str,
    early_stop: int | None,
    weights: Path | None,
    new_head: bool,
    freeze: tuple[str, ...],
    batch: int,
    seed: int,
    target: str,
    resume: bool,
    out: Path,
) -> None:
    """Train MODEL and save its weights: the last, and those of the epoch
    with the lowest validation loss.

    \b
    Examples:
      convc train lenet5 --data mnist5k --out out/lenet5
      convc train lenet5 --data mnist5k --out out/lenet5 --epochs 60 --resume
      convc train lenet5 --data mnist5k --optimizer adamw --early-stop 5 \\
        --schedule warmup:1+cosine --out out/adamw
      convc train lenet5 --data digits --weights out/lenet5/weights.safetensors \\
        --freeze 'conv*' --new-head --out out/tuned
    """
    rule = make_optimizer(optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay, clip_norm=clip_norm)
    plan = TrainPlan(
        model, data, rule, schedule, epochs, batch, seed, target, early_stop, freeze, weights, new_head, augment
    )
    dataset = load(data, seed=seed)
    module = trainable(model, dataset)
    console = Console()
    line = f"interrupted; {out} keeps the finished epochs: run the same command with --resume to go on"
    with interruptible(line), Display(console, epochs, len(dataset.train)) as display:
        result = run_training(plan, module, dataset, out, resume=resume, watch=display)
    for line in summary(result):
        click.echo(line)


def summary(result: TrainResult) -> list[str]:
    """What a run came to: where it ended and what its weights are worth."""
    last = result.history[-1]
    lines = []
    if result.stopped:
        waited = last.epoch - result.best_epoch
        lines.append(f"stopped early after epoch {last.epoch}: no lower validation loss for {waited} epochs")
    lines.append(f"test: {result.test}")
    lines.append(f"weights: {result.weights}, after epoch {last.epoch}")
    best = result.history[result.best_epoch - 1]
    lines.append(
        f"best: epoch {result.best_epoch}, validation loss {best.validation_loss:.4f}, "
        f"validation accuracy {best.validation_accuracy:.2%}"
    )
    lines.append(f"test of the best: {result.best_test}")
    lines.append(f"best weights: {result.best_weights}")
    return lines
