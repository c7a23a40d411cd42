"""`convc lr-find`: a learning rate to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from convc.cli.training import (
    DATA_HELP,
    FOLDER,
    interruptible,
    make_optimizer,
    optimizer_options,
    run_options,
    trainable,
)
from convc.data import load
from convc.range_test import HIGHEST, LOWEST, RULE, SEEDS, STEPS, RangeTest, find_rate


@click.command(name="lr-find")
@click.argument("model")
@click.option("--data", required=True, help=DATA_HELP)
@optimizer_options
@click.option("--lowest", type=float, default=LOWEST, show_default=True, help="The rate of the first batch.")
@click.option("--highest", type=float, default=HIGHEST, show_default=True, help="The rate of the last batch.")
@click.option("--steps", type=int, default=STEPS, show_default=True, help="Batches, of growing rates.")
@click.option("--seeds", type=int, default=SEEDS, show_default=True, help="Tests, of seeds from --seed on.")
@run_options
@click.option("--out", type=FOLDER, default="out/lr-find", show_default=True, help="Where table and picture go.")
def lr_find(
    model: str,
    data: str,
    optimizer: str,
    momentum: float | None,
    weight_decay: float | None,
    clip_norm: float | None,
    steps: int,
    seeds: int,
    out: Path,
    **numbers: Any,
) -> None:
    """Suggest a learning rate for MODEL by a range test (Smith, 2017).

    It trains from the first weights while the rate grows from batch to batch,
    until the loss is back where it began, for several seeds; it suggests a
    tenth of the rate at which the smoothed loss is lowest, the median over
    seeds. What a rate comes to in the end, `convc study` tells.

    \b
    Examples:
      convc lr-find lenet5 --data mnist5k
      convc lr-find lenet5 --data mnist5k --optimizer adam --seeds 5
    """
    rule = make_optimizer(optimizer, momentum=momentum, weight_decay=weight_decay, clip_norm=clip_norm)
    dataset = load(data, seed=numbers["seed"])
    module = trainable(model, dataset)
    console = Console()
    bar = Progress(console=console, disable=not console.is_terminal, transient=True)
    with interruptible("interrupted; nothing was written"), bar:
        task = bar.add_task(f"range test of {model}", total=steps * seeds)
        found = find_rate(
            module,
            dataset,
            optimizer=rule,
            steps=steps,
            seeds=seeds,
            after_batch=lambda images: bar.advance(task),
            **numbers,
        )
    table, picture = found.write(out)
    for line in (*lines(found), f"picture: {picture}", f"table: {table}"):
        click.echo(line)


def lines(found: RangeTest) -> list[str]:
    """What each seed's test found, then what all suggest, and by which rule."""
    said = []
    for run in found.runs:
        lowest = f"lowest at {run.lowest_at:.3g}" if run.lowest_at is not None else "never fell"
        ended = f"back up at {run.diverged_at:.3g}" if run.diverged_at is not None else "to the last rate"
        taken = f"take {run.suggestion:.3g}" if run.suggestion is not None else "no suggestion"
        said.append(f"seed {run.seed}: smoothed loss {lowest}, {ended}: {taken}")
    if found.suggestion is not None:
        which = "the median over seeds of " if len(found.runs) > 1 else ""
        return [*said, f"suggestion: --lr {found.suggestion:.3g}", f"rule: {which}{RULE}"]
    if any(run.lowest_at is not None for run in found.runs):
        return [*said, "no suggestion: the loss fell to the last rate; give a higher --highest"]
    return [*said, "no suggestion: the loss did not fall; give more --steps"]
