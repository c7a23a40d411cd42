"""How far the verdicts and the intervals of a study can be trusted, measured on a pool of runs of many seeds.

    python benchmarks/study_statistics.py train POOL          # trains the pool: about an hour on two cores
    python benchmarks/study_statistics.py record POOL FILE    # some seeds as one small file, for the tests
    python benchmarks/study_statistics.py verdicts POOL       # what each rate is called, by seed and horizon
    python benchmarks/study_statistics.py redraw POOL         # coverage, false findings, agreement, optimism
    python benchmarks/study_statistics.py stopping POOL       # runs that a refined study would end early
    python benchmarks/study_statistics.py images              # the error that the validation images leave

All but the first two print tables in Markdown; `docs/study-statistics.md` holds them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import mean

import click
import numpy as np
from scipy.special import ndtri
from study_pool import CLASSES, IMAGES, losses_by_image, read_pool, train_pool, write_recording

from convc.report.candidates import Candidate, candidates_of
from convc.report.history import RunHistory, Setting
from convc.report.intervals import LEVEL, difference_error, loss_error, paired
from convc.report.recommend import compare, recommend
from convc.report.refine import should_stop
from convc.report.run_curves import lowest_level
from convc.report.summary import Summary, summary_of
from convc.report.thresholds import NEAR
from convc.report.verdict import Outcome, Verdict, judge

HORIZONS = (6, 10, 15, 20, 30, 45, 60)
LETTERS = dict(zip(Outcome, "COIFXDS"))
BOOTSTRAPS = 499
Runs = dict[float, list[tuple[RunHistory, Verdict]]]


def print_table(header: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    click.echo(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        click.echo(f"| {' | '.join(map(str, row))} |")
    click.echo()


def first_epochs(run: RunHistory, count: int) -> RunHistory:
    return replace(run, epochs=run.epochs[:count])


def span(text: str) -> range:
    """`0-5` -> range(0, 6)"""
    first, last = map(int, text.split("-"))
    return range(first, last + 1)


@click.group(help=__doc__)
def main() -> None: ...


@main.command()
@click.argument("pool", type=click.Path(path_type=Path))
@click.option("--seeds", default=24, show_default=True)
@click.option("--epochs", default=60, show_default=True)
@click.option("--workers", default=2, show_default=True)
def train(pool: Path, seeds: int, epochs: int, workers: int) -> None:
    train_pool(pool, seeds, epochs, workers)


@main.command()
@click.argument("pool", type=click.Path(path_type=Path, exists=True))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seeds", default="0-5", show_default=True)
@click.option("--epochs", default=60, show_default=True)
def record(pool: Path, file: Path, seeds: str, epochs: int) -> None:
    write_recording(file, read_pool(pool, span(seeds)), epochs)


@main.command()
@click.argument("pool", type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", default="0-5", show_default=True)
def verdicts(pool: Path, seeds: str) -> None:
    runs = read_pool(pool, span(seeds))
    by_letter = ", ".join(f"{letter} {outcome.value}" for outcome, letter in LETTERS.items())
    click.echo(f"Seeds {seeds}, in order: {by_letter}.\n")
    print_table(["learning rate", *map(str, HORIZONS)], (_letters(runs[lr]) for lr in runs))


def _letters(runs: Sequence[RunHistory]) -> list[str]:
    outcomes = [[judge(first_epochs(run, n), CLASSES, IMAGES).outcome for run in runs] for n in HORIZONS]
    return [f"{runs[0].lr:g}", *("".join(LETTERS[found] for found in at) for at in outcomes)]


@dataclass(frozen=True)
class Population:
    """The runs of one horizon, which re-draws take for all the runs there could be."""

    runs: Runs

    @cached_property
    def summaries(self) -> list[Summary]:
        return [summary_of(Setting(lr), judged) for lr, judged in self.runs.items()]

    @cached_property
    def candidates(self) -> list[Candidate]:
        return candidates_of(self.summaries)

    @property
    def size(self) -> int:
        return len(next(iter(self.runs.values())))

    def draw(self, chosen: Sequence[int]) -> list[Summary]:
        """The study of the runs with these numbers, which may come twice; its seeds are 0, 1, 2 ..."""
        return [
            summary_of(Setting(lr), [(replace(judged[i][0], seed=seed), judged[i][1]) for seed, i in enumerate(chosen)])
            for lr, judged in self.runs.items()
        ]


@main.command()
@click.argument("pool", type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", default="0-23", show_default=True)
@click.option("--epochs", default=(30, 60), show_default=True, multiple=True)
@click.option("--sizes", default=(3, 5, 8), show_default=True, multiple=True)
@click.option("--draws", default=400, show_default=True)
def redraw(pool: Path, seeds: str, epochs: tuple[int, ...], sizes: tuple[int, ...], draws: int) -> None:
    runs = read_pool(pool, span(seeds))
    rng = np.random.default_rng(0)
    coverages, chosen = [], []
    for horizon in epochs:
        cut = {lr: [first_epochs(run, horizon) for run in of_rate] for lr, of_rate in runs.items()}
        judged = {lr: [(run, judge(run, CLASSES, IMAGES)) for run in of_rate] for lr, of_rate in cut.items()}
        population = Population(judged)
        click.echo(
            f"{horizon} epochs, seeds {seeds}: {recommend(population.summaries, validation_images=IMAGES).why}\n"
        )
        for size in sizes:
            picks = rng.integers(population.size, size=(draws, size))
            coverages.append((horizon, size, *coverage(population, picks, rng), *false_findings(population, picks)))
            chosen.append((horizon, size, *agreement(population, picks)))
    header = ("epochs", "seeds", "t", "normal", "bootstrap", "no correction", "Holm", "wrong way")
    print_table(header, iter(coverages))
    print_table(("epochs", "seeds", "the same", "or its peer", "mean excess", "taken"), iter(chosen))
    optimism(runs, epochs)


def coverage(population: Population, picks: np.ndarray, rng: np.random.Generator) -> tuple[str, ...]:
    """How often the interval of a difference holds the pool's: Student's t, normal quantile, percentile bootstrap."""
    held: Counter[str] = Counter()
    pairs = list(combinations(population.candidates, 2))
    factor = float(ndtri((1 + LEVEL) / 2)) / math.sqrt(picks.shape[1])
    for first, second in pairs:
        differences = np.array(second.losses) - np.array(first.losses)
        true = differences.mean()
        for drawn in differences[picks]:
            middle, low, high, _ = paired(drawn.tolist())
            held["t"] += low <= true <= high
            held["normal"] += abs(middle - true) <= factor * drawn.std(ddof=1)
            means = drawn[rng.integers(len(drawn), size=(BOOTSTRAPS, len(drawn)))].mean(axis=1)
            low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            held["bootstrap"] += low <= true <= high
    return tuple(f"{held[name] / (len(picks) * len(pairs)):.1%}" for name in ("t", "normal", "bootstrap"))


def false_findings(population: Population, picks: np.ndarray) -> tuple[str, ...]:
    """How often a study tells any setting apart from the lowest though all have one mean, without and with Holm's
    correction; and, with the means they have, how often it does so with the wrong sign."""
    plain, corrected, wrong = 0, 0, 0
    candidates = population.candidates
    true = {c.setting: c.loss for c in candidates}
    for pick in picks:
        drawn = [replace(c, losses=tuple(c.losses[i] for i in pick)) for c in candidates]
        level = [replace(c, losses=tuple(loss - true[c.setting] for loss in c.losses)) for c in drawn]
        reference, others = drawn[0], drawn[1:]
        found = compare(level[0], level[1:], IMAGES)
        corrected += any(c.apart for c in found)
        plain += any(c.low > 0 or c.high < 0 for c in found)
        found = compare(reference, others, IMAGES)
        wrong += any(c.apart and c.difference * (true[c.setting] - true[reference.setting]) < 0 for c in found)
    return tuple(f"{count / len(picks):.1%}" for count in (plain, corrected, wrong))


def agreement(population: Population, picks: np.ndarray) -> tuple[str, str, str, str]:
    """How often a draw recommends what the whole pool does, or a peer of it; how much more its loss is than the
    lowest, on average, by the pool; and what was taken."""
    whole = recommend(population.summaries, validation_images=IMAGES)
    learned = {s.setting: [v.loss for v in s.judged.values() if v.outcome.learned] for s in population.summaries}
    losses = {setting: mean(of_runs) for setting, of_runs in learned.items() if of_runs}
    taken = [recommend(population.draw(pick), validation_images=IMAGES).setting for pick in picks]
    counts, lowest = Counter(taken), min(losses.values())
    peers = counts[whole.setting] + sum(counts[setting] for setting in whole.level)
    excess = mean(losses[setting] - lowest for setting in taken if setting)
    shares = ", ".join(f"{setting} {count / len(taken):.0%}" for setting, count in counts.most_common(4))
    return f"{counts[whole.setting] / len(taken):.0%}", f"{peers / len(taken):.0%}", f"{excess:.4f}", shares


def optimism(runs: dict[float, list[RunHistory]], epochs: Sequence[int]) -> None:
    """How far below the epochs beside them the lowest epoch and the lowest level lie: what choosing them gains."""

    def rows() -> Iterator[Sequence[object]]:
        for lr, of_rate in runs.items():
            for horizon in epochs:
                yield lr, horizon, *_optimism([first_epochs(run, horizon) for run in of_rate])

    print_table(("learning rate", "epochs", "lowest epoch", "below its neighbours", "lowest level"), rows())


def _optimism(runs: Sequence[RunHistory]) -> tuple[str, ...]:
    verdicts = [judge(run, CLASSES, IMAGES) for run in runs]
    learned = [(run, verdict.loss) for run, verdict in zip(runs, verdicts) if verdict.outcome.learned]
    if not learned:
        return "–", "–", "–"
    curves = [[record.validation_loss for record in run.epochs] for run, _ in learned]
    at = [curve.index(min(curve)) for curve in curves]
    beside = [mean(curve[i] for i in (k - 1, k + 1) if 0 <= i < len(curve)) for curve, k in zip(curves, at)]
    lowest = mean(map(min, curves))
    return f"{lowest:.4f}", f"{1 - lowest / mean(beside):.0%}", f"{mean(level for _, level in learned):.4f}"


@main.command()
@click.argument("pool", type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", default="0-11", show_default=True)
@click.option("--epochs", default=(30, 60), show_default=True, multiple=True)
@click.option("--best", default=0.02, show_default=True, help="The rate of the setting that the others have to reach.")
def stopping(pool: Path, seeds: str, epochs: tuple[int, ...], best: float) -> None:
    """How often a refined run would be stopped, among those that come within 10 % of the best setting and those that
    do not; the best setting has three seeds, every three in turn."""
    runs = read_pool(pool, span(seeds))

    def rows() -> Iterator[Sequence[object]]:
        for horizon in epochs:
            cut = {lr: [first_epochs(run, horizon) for run in of_rate] for lr, of_rate in runs.items()}
            found: Counter[tuple[bool, bool]] = Counter()
            for first in range(0, len(cut[best]), 3):
                reference = cut[best][first : first + 3]
                bar = (1 + NEAR) * max(map(lowest_level, reference))
                for run in (run for of_rate in cut.values() for run in of_rate if not run.ended_early):
                    stopped = any(should_stop(first_epochs(run, n), reference, CLASSES) for n in range(1, horizon))
                    found[lowest_level(run) <= bar, stopped] += 1
            yield (
                horizon,
                *(f"{found[good, True]} of {found[good, True] + found[good, False]}" for good in (True, False)),
            )

    print_table(("epochs", "stopped of those that catch up", "stopped of the others"), rows())


@main.command()
@click.option("--rates", default=(0.05, 0.02, 0.01, 0.005), show_default=True, multiple=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--epochs", default=(8, 15, 25), show_default=True, multiple=True)
def images(rates: tuple[float, ...], seeds: int, epochs: tuple[int, ...]) -> None:
    """The standard error from losses of single images, beside what a history alone lets one say."""
    measured = {lr: [losses_by_image(lr, seed, epochs) for seed in range(seeds)] for lr in rates}

    def rows() -> Iterator[Sequence[object]]:
        for epoch in epochs:
            by_image = {lr: np.mean([run[epoch][0] for run in of_rate], axis=0) for lr, of_rate in measured.items()}
            accuracy = {lr: mean(run[epoch][1] for run in of_rate) for lr, of_rate in measured.items()}
            stated = {lr: loss_error(by_image[lr].mean(), accuracy[lr], IMAGES) for lr in rates}
            for lr in rates:
                yield epoch, lr, f"{by_image[lr].mean():.3f}", f"{_error(by_image[lr]):.4f}", f"{stated[lr]:.4f}"
            for a, b in combinations(rates, 2):
                differences = by_image[b] - by_image[a]
                bound = difference_error(stated[a], stated[b])
                yield epoch, f"{b} - {a}", f"{differences.mean():.3f}", f"{_error(differences):.4f}", f"{bound:.4f}"

    print_table(("epoch", "learning rate", "loss", "standard error, by image", "from the history"), rows())


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


if __name__ == "__main__":
    main()
