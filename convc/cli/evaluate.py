"""`convc eval`: how good trained weights are."""

from __future__ import annotations

from pathlib import Path

import click

from convc.cli.options import place_options, working
from convc.cli.training import DATA_HELP, trainable
from convc.compiler import compile
from convc.data import load
from convc.train import check_classes, check_count
from convc.train import evaluate as evaluate_split


@click.command(name="eval")
@click.argument("model")
@click.option("--weights", type=click.Path(path_type=Path), required=True, help="A .safetensors file of that model.")
@click.option("--data", required=True, help=DATA_HELP)
@click.option(
    "--split",
    type=click.Choice(("train", "validation", "test")),
    default="test",
    show_default=True,
    help="The part of the data to measure on.",
)
@click.option("--batch", type=int, default=128, show_default=True, help="Images in a batch.")
@place_options
def evaluate(model: str, weights: Path, data: str, split: str, batch: int, target: str) -> None:
    """Print the loss and the accuracy of MODEL with trained weights.

    Images are normalised by the train split of --data, as in training.

    \b
    Example:
      convc eval lenet5 --weights out/study/weights/lr_0.01_seed_0_best.safetensors --data mnist5k
    """
    check_count("batch", batch)
    dataset = load(data)
    module = trainable(model, dataset)
    with working(f"evaluating {model}"):
        program = compile(module, (batch, *dataset.image_shape), mode="eval", target=target)
        check_classes(program, dataset)
        module.store.load(weights)
        metrics = evaluate_split(program, dataset.normalized().parts()[split])
    click.echo(f"{split}: {metrics}")
