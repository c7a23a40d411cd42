"""`convc eval`: how good trained weights are, and what they get wrong."""

from __future__ import annotations

from pathlib import Path

import click

from convc.checks import whole
from convc.cli.options import place_options, working
from convc.cli.tables import print_table
from convc.cli.training import DATA_HELP, FOLDER, trainable
from convc.data import load
from convc.evaluation import PARTS
from convc.evaluation import evaluate as evaluate_model
from convc.model_info import read_info
from convc.prediction import load_model


@click.command(name="eval")
@click.argument("model")
@click.option("--weights", type=click.Path(path_type=Path), required=True, help="A .safetensors file of that model.")
@click.option("--data", required=True, help=DATA_HELP)
@click.option(
    "--split",
    type=click.Choice(PARTS),
    default="test",
    show_default=True,
    help="The part of the data to measure on.",
)
@click.option("--batch", type=int, default=128, show_default=True, help="Images in a batch.")
@click.option("--out", type=FOLDER, help="Write confusion.csv, misread.csv and confusion.png there.")
@place_options
def evaluate(model: str, weights: Path, data: str, split: str, batch: int, out: Path | None, target: str) -> None:
    """Print loss, accuracy and confusion matrix of MODEL with trained weights.

    Images are normalised as WEIGHTS say; where they do not, by the train split
    of --data. The interval of the accuracy is Wilson's, from the number of
    images alone.

    \b
    Example:
      convc eval lenet5 --data mnist5k --out out/eval \\
        --weights out/study/weights/lr_0.01_seed_0_best.safetensors
    """
    whole(batch, "batch", 1, remedy="give another --batch")
    dataset = load(data)
    module = trainable(model, dataset)
    unsaid = dataset.normalized() if read_info(weights) is None else None
    with working(f"evaluating {model}"):
        net = load_model(weights, module, data=unsaid, batch=batch, target=target)
        found = evaluate_model(net, unsaid or dataset, split)
    click.echo(f"{split}: {found}")
    click.echo(found.uncertainty)
    for table in found.tables():
        click.echo()
        print_table(table)
    if out is not None:
        from convc.report.evaluation_files import write_evaluation  # here, for a fast start

        with working(f"writing {out}"):
            write_evaluation(out, found, dataset.parts()[split].images)
        click.echo(f"\nwrote {out / 'confusion.csv'}, misread.csv and confusion.png beside it")
