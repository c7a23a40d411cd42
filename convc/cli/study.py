"""`convc study`: one model at several learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from convc.cli.live import Display
from convc.cli.training import DATA_HELP, FOLDER, interruptible, run_options, trainable
from convc.cli.usage import is_number
from convc.data import load
from convc.report.verdict import rate_text
from convc.study import RATES, StudyPlan, StudyResult, run_study


class SeveralRates(click.Command):
    """Reads `--lr 1.0 0.1` as `--lr 1.0 --lr 0.1`: an option of click takes a fixed count of values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args, "--lr"))


def spread(args: list[str], flag: str) -> list[str]:
    """The arguments with `flag` repeated before each further number that follows its value."""
    result: list[str] = []
    taking = False
    for i, arg in enumerate(args):
        if arg == "--":
            return result + args[i:]
        value = i > 0 and args[i - 1] == flag
        if taking and not value and is_number(arg):
            result.append(flag)
        else:
            taking = value or arg == flag or arg.startswith(f"{flag}=")
        result.append(arg)
    return result


@click.command(cls=SeveralRates)
@click.argument("model", default="lenet5")
@click.option("--data", default="mnist5k", show_default=True, help=DATA_HELP)
@click.option(
    "--lr",
    "rates",
    type=float,
    multiple=True,
    default=RATES,
    show_default=" ".join(map(rate_text, RATES)),
    metavar="RATE...",
    help="Learning rates, one after the other.",
)
@click.option("--epochs", type=int, default=30, show_default=True, help="Epochs at each rate.")
@click.option("--momentum", type=float, default=0.9, show_default=True, help="Of the gradient descent.")
@run_options
@click.option("--out", type=FOLDER, default="out/study", show_default=True, help="Where report and weights go.")
def study(model: str, data: str, out: Path, seed: int, **numbers: Any) -> None:
    """Train MODEL (at first lenet5) at several learning rates, and report which one to take.

    It is compiled once for all rates. The same command again goes on where an interrupted study stopped.

    \b
    Examples:
      convc study
      convc study lenet5 --lr 0.1 0.01 0.001 --epochs 10 --out out/three-rates
    """
    plan = StudyPlan(model, data, seed=seed, **numbers)
    dataset = load(data, seed=seed)
    module = trainable(model, dataset)
    console = Console()
    resume = f"interrupted; {out} keeps the finished epochs: run the same command again to resume"
    with interruptible(resume), Display(console, plan.epochs, len(dataset.train)) as display:
        result = run_study(plan, module, dataset, out, display)
    console.print(table(result))
    console.print(result.recommendation.why, highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {result.report}", highlight=False, markup=False, soft_wrap=True)


def table(result: StudyResult) -> Table:
    """A row per rate: the verdict, the accuracy at the end and the best one."""
    rows = Table("rate", "verdict", "final accuracy", "best")
    for run, verdict in zip(result.runs, result.verdicts):
        accuracies = [record.test_accuracy for record in run.epochs]
        best = max((a for a in accuracies if a == a), default=accuracies[-1])
        style = "bold" if run.lr == result.recommendation.lr else None
        rows.add_row(rate_text(run.lr), verdict.words, f"{accuracies[-1]:.1%}", f"{best:.1%}", style=style)
    return rows
