"""The learning-rate range test: which rate to begin with, from a few batches at rates that grow.

Source: Smith, Cyclical learning rates for training neural networks, 2017, section 3.3.

A model is trained from its first weights, and the rate of each batch is a constant times that of the one before. The
loss is smoothed: an exponential moving average, its bias corrected as in Adam. At first it hardly falls, then fast, and
where the rate is too high it rises again. The suggestion is a tenth of the rate at which the smoothed loss was lowest.
For LeNet-5 on mnist5k and 100 batches it is 0.01 to 0.012 for five seeds of six, and 0.04 for one, where a study finds
no difference between 0.005 and 0.02; 200 batches suggest about half. Two other rules in use are further off there: the
rate of the steepest descent is 0.1, and a tenth of the rate at which the loss is four times its lowest is 1, since a
network of ReLUs seldom diverges so far but dies, at the loss of guessing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from convc.build.files import write_atomically
from convc.checks import seed_of, whole
from convc.data import Dataset, epoch_order
from convc.errors import RunError
from convc.nn import Module
from convc.optim import Optimizer, optimizer_of
from convc.rows import csv_text
from convc.schedule import check_rate
from convc.sweep import Sweep
from convc.train import Trainer, compile_trainer

LOWEST, HIGHEST, STEPS, SEEDS = 1e-5, 10.0, 100, 3
SMOOTHING = 0.9
"""The part of the moving average that is kept at each batch."""
SHARE = 0.1
"""What part of the rate at the lowest loss is suggested."""
FELL, BACK, ROSE = 0.95, 1.0, 1.5
"""Parts of the first loss: below the first the smoothed loss fell, above the second it is back after that, and above
the third it diverges, fallen or not."""
RULE = "a tenth of the rate at which the smoothed loss is lowest"


@dataclass(frozen=True)
class RangeRun:
    """One seed's run: the learning rates, losses in nats and smoothed losses of its batches.

    The last loss may be no number. `diverged_at` is the rate at which the run ended before its last batch, None where
    it did not.
    """

    seed: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged_at: float | None

    @property
    def lowest_at(self) -> float | None:
        """The rate at which the smoothed loss is lowest; None where it never fell below 95 % of the first."""
        numbers = [s if math.isfinite(s) else math.inf for s in self.smoothed]
        lowest = min(numbers)
        return self.rates[numbers.index(lowest)] if lowest < FELL * numbers[0] else None

    @property
    def suggestion(self) -> float | None:
        """A tenth of `lowest_at`; None where there is none, or it may lie beyond the rates tried."""
        if self.lowest_at is None or (self.diverged_at is None and self.lowest_at == self.rates[-1]):
            return None
        return SHARE * self.lowest_at


@dataclass(frozen=True)
class RangeTest:
    """The runs of all seeds. Their suggestion is the median of those there are; None where most runs have none."""

    runs: tuple[RangeRun, ...]

    @property
    def suggestion(self) -> float | None:
        found = [run.suggestion for run in self.runs if run.suggestion is not None]
        return median(found) if 2 * len(found) > len(self.runs) else None

    @property
    def diverged_at(self) -> float | None:
        """The median of the rates at which runs ended; None where most did not."""
        found = [run.diverged_at for run in self.runs if run.diverged_at is not None]
        return median(found) if 2 * len(found) > len(self.runs) else None

    @property
    def curve(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """Rates, and medians over the seeds of losses and smoothed losses, as far as all runs went."""
        length = min(len(run.rates) for run in self.runs)
        losses, smoothed = (
            tuple(median(getattr(run, name)[i] for run in self.runs) for i in range(length))
            for name in ("losses", "smoothed")
        )
        return self.runs[0].rates[:length], losses, smoothed

    def write(self, folder: Path | str) -> tuple[Path, Path]:
        """Write range_test.csv, a row for each seed and batch, and range_test.png into the folder, made if need be.

        Raises DataError where they cannot be written.
        """
        from convc.report.training_figures import write_range_test_figure  # here: Matplotlib takes its time

        folder = Path(folder)
        rows = [
            (run.seed, step, *map(repr, numbers))
            for run in self.runs
            for step, numbers in enumerate(zip(run.rates, run.losses, run.smoothed), 1)
        ]
        table, picture = folder / "range_test.csv", folder / "range_test.png"
        write_atomically(table, csv_text(("seed", "batch", "learning_rate", "loss", "smoothed_loss"), rows))
        write_range_test_figure(picture, *self.curve, self.suggestion, self.diverged_at)
        return table, picture


def find_rate(
    module: Module,
    dataset: Dataset,
    *,
    optimizer: Optimizer | None = None,
    batch: int = 128,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
    seed: int = 0,
    seeds: int = SEEDS,
    target: str = "auto",
    after_batch: Callable[[int], None] | None = None,
) -> RangeTest:
    """Range tests of `module` on `dataset` (as loaded; normalised here), one for each seed from `seed` on.

    `optimizer` (SGD with momentum 0.9) is compiled once; its rate grows from `lowest` to `highest` in `steps` batches.
    The module is left with its first values for `seed`. `after_batch` is called with the images trained. Raises
    RunError for numbers out of range, and what `compile_trainer` raises.
    """
    lowest, highest = check_rate(lowest), check_rate(highest)
    steps = whole(steps, "the batches of a range test", 2, remedy="give another --steps")
    seeds = whole(seeds, "the number of seeds", 1, remedy="give another --seeds")
    last = seed_of(seed_of(seed) + seeds - 1, remedy="give a smaller --seed or --seeds")
    if highest <= lowest:
        raise RunError(f"the rates of a range test grow, but {lowest:g} to {highest:g} do not; give a higher --highest")
    rule = optimizer_of(optimizer)
    trainer = compile_trainer(module, dataset, batch=batch, optimizer=rule, seed=seed, target=target)
    normalized = dataset.normalized()
    rates = [lowest * (highest / lowest) ** (i / (steps - 1)) for i in range(steps)]
    runs = []
    for each in range(seed, last + 1):
        module.reset(each)
        runs.append(_run(trainer, normalized, rates, each, after_batch))
    module.reset(seed)
    return RangeTest(tuple(runs))


def _run(
    trainer: Trainer, dataset: Dataset, rates: list[float], seed: int, after_batch: Callable[[int], None] | None
) -> RangeRun:
    losses: list[float] = []
    smoothed: list[float] = []
    average, fell, diverged = 0.0, False, False
    for rows, loss in _batches(trainer, dataset, rates, seed):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        losses.append(loss)
        smoothed.append(average / (1 - SMOOTHING ** len(losses)))
        if after_batch:
            after_batch(rows)
        fell = fell or smoothed[-1] < FELL * smoothed[0]
        diverged = not smoothed[-1] <= (BACK if fell else ROSE) * smoothed[0]
        if diverged:
            break
    ended = rates[len(losses) - 1] if diverged else None
    return RangeRun(seed, tuple(rates[: len(losses)]), tuple(losses), tuple(smoothed), ended)


def _batches(trainer: Trainer, dataset: Dataset, rates: list[float], seed: int) -> Iterator[tuple[int, float]]:
    """Rows and loss of a batch for each rate, epoch after epoch."""
    sweep = Sweep(trainer.step, dataset.train)
    scalars = {v.name for v in trainer.step.graph.inputs_of("scalar")}
    known = {"seed": seed} if "seed" in scalars else {}
    done, epoch = 0, 0
    while done < len(rates):
        epoch += 1
        order = epoch_order(len(dataset.train), seed=seed, epoch=epoch)[: (len(rates) - done) * sweep.capacity]
        left = rates[done:]
        for rows, loss in sweep.run(order, partial(_numbers, known, left)):
            done += 1
            yield rows, float(loss)


def _numbers(known: Mapping[str, float], rates: Sequence[float], batch: int) -> Mapping[str, float]:
    return {**known, "lr": rates[batch]}
