"""`convc study`: one model at several learning rates, each with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from convc.cli.study_live import StudyDisplay
from convc.cli.tables import print_table
from convc.cli.training import AUGMENT_HELP, DATA_HELP, FOLDER, interruptible, run_options, trainable
from convc.cli.usage import is_number
from convc.data import load
from convc.errors import RunError
from convc.optim import OPTIMIZERS
from convc.report.history import rate_text
from convc.runtime.pool import get_num_threads
from convc.runtime.targets import kind_of, resolve_target
from convc.schedule import FORMS
from convc.study import (
    RATES,
    SEEDS,
    Dask,
    Processes,
    StudyPlan,
    Workers,
    compare_studies,
    run_study,
    seeds_from,
)
from convc.study.result import CAPTION

SEVERAL: Mapping[str, Callable[[str], bool]] = {
    "--lr": is_number,
    "--momentum": is_number,
    "--compare": lambda arg: not arg.startswith("-"),
}
"""Options that take several values after one flag, and what is one more value."""
AS_MANY = -1


class SeveralValues(click.Command):
    """Reads `--lr 1.0 0.1` as `--lr 1.0 --lr 0.1`: an option of click takes a fixed count of values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for flag in SEVERAL:
            args = spread(args, flag)
        return super().parse_args(ctx, args)


def spread(args: list[str], flag: str) -> list[str]:
    """The arguments with `flag` repeated before each further value that follows its first one."""
    result: list[str] = []
    taking = False
    for i, arg in enumerate(args):
        if arg == "--":
            return result + args[i:]
        value = i > 0 and args[i - 1] == flag
        if taking and not value and SEVERAL[flag](arg):
            result.append(flag)
        else:
            taking = value or arg == flag or arg.startswith(f"{flag}=")
        result.append(arg)
    return result


@click.command(cls=SeveralValues)
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
    help="Learning rates.",
)
@click.option(
    "--seeds",
    type=int,
    default=len(SEEDS),
    show_default=True,
    help="Runs at each rate: with --seed S the seeds S, S+1 ...",
)
@click.option("--epochs", type=int, default=30, show_default=True, help="Epochs of each run.")
@click.option(
    "--optimizer", type=click.Choice(tuple(OPTIMIZERS)), default="sgd", show_default=True, help="Update rule."
)
@click.option(
    "--momentum",
    "momenta",
    type=float,
    multiple=True,
    metavar="MOMENTUM...",
    help="Of sgd and rmsprop; several are studied at every rate.  [default: sgd 0.9, rmsprop 0]",
)
@click.option("--schedule", default="constant", show_default=True, help=f"Of the learning rates: {FORMS}.")
@click.option("--augment", default="", metavar="STEPS", help=AUGMENT_HELP)
@click.option(
    "--refine",
    type=int,
    is_flag=False,
    flag_value=AS_MANY,
    metavar="[EPOCHS]",
    help="Add rates beside the best one, within a budget of so many epochs.  [without a number: a third of the runs]",
)
@run_options
@click.option("--jobs", type=int, metavar="N", help="Runs trained at once, each on one core.  [default: all cores]")
@click.option("--workers", metavar="ADDRESS", help="Train on the workers of a Dask scheduler, such as tcp://host:8786.")
@click.option(
    "--compare",
    type=FOLDER,
    multiple=True,
    metavar="DIR...",
    help="Train nothing: compare these studies, in a table, and with --out in a file.",
)
@click.option("--out", type=FOLDER, help="Where report and weights go.  [default: out/study]")
def study(
    model: str,
    data: str,
    out: Path | None,
    seed: int,
    seeds: int,
    refine: int | None,
    jobs: int | None,
    workers: str | None,
    compare: tuple[Path, ...],
    **settings: Any,
) -> None:
    """Train MODEL (at first lenet5) at several learning rates, and report which one to take.

    It is compiled once for all runs. The same command again goes on where an interrupted study stopped; with other
    rates, seeds or momenta, or with more epochs, a study grows.

    \b
    Examples:
      convc study
      convc study lenet5 --lr 0.1 0.01 0.001 --epochs 10 --out out/three-rates
      convc study --momentum 0 0.9 --refine --out out/momentum
      convc study --compare out/study out/momentum
    """
    console = Console()
    if compare:
        show_comparison(console, compare, out)
        return
    out = Path("out/study") if out is None else out
    budget = False if refine is None else True if refine == AS_MANY else refine
    plan = StudyPlan(model, data, seeds=seeds_from(seed, seeds), refine=budget, **settings)
    crew = make_workers(plan, jobs, workers)
    dataset = load(data)  # in the same order for every seed: a seed's run does not depend on the study it is in
    module = trainable(model, dataset)
    resume = f"interrupted; {out} keeps the finished epochs: run the same command again to resume"
    with interruptible(resume), StudyDisplay(console, plan, len(dataset.train)) as display:
        result = run_study(plan, module, dataset, out, display, crew)
    print_table(result.table())
    for line in (CAPTION, "", result.headline, result.recommendation.why):
        console.print(line, highlight=False, markup=False)
    console.print(f"report: {result.report}", highlight=False, markup=False, soft_wrap=True)


def make_workers(plan: StudyPlan, jobs: int | None, address: str | None) -> Workers | None:
    """What --jobs and --workers say; None: this process trains. Raises RunError where they do not fit together."""
    kind = kind_of(resolve_target(plan.target))
    if address is not None:
        if jobs is not None:
            raise RunError("runs are trained by --jobs processes here or by --workers elsewhere; leave one of them out")
        return Dask(address)
    if kind != "cpu":
        if jobs not in (None, 1):
            raise RunError(f"--jobs goes with target cpu, where a run takes a core, not with {kind}; leave it out")
        return None
    count = Processes(get_num_threads() if jobs is None else jobs).jobs
    count = min(count, len(plan.settings) * len(plan.seeds))
    return Processes(count) if count > 1 else None


def show_comparison(console: Console, folders: tuple[Path, ...], out: Path | None) -> None:
    """Print what `compare_studies` finds, and write it where `out` says."""
    found = compare_studies(folders)
    for folder in dict.fromkeys(row[0] for row in found.rows):
        rows = Table(*found.columns[1:], title=folder, title_justify="left")
        for name, *cells in found.rows:
            if name == folder:
                rows.add_row(*cells)
        console.print(rows)
    for line in found.notes:
        console.print(line, highlight=False, markup=False)
    if out is not None:
        console.print(f"comparison: {found.write(out)}", highlight=False, markup=False, soft_wrap=True)
