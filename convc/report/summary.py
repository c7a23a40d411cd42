"""What became of a setting over all its seeds, and which setting to take: the forms that a report is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median_low

from convc.errors import DataError
from convc.report.history import RunHistory, Setting
from convc.report.thresholds import IMAGES
from convc.report.verdict import Outcome, Verdict, judge

# (one run, several runs), where several settings or seeds are counted.
SHORT = {
    Outcome.CONVERGED: ("converged", "converged"),
    Outcome.OVERFITS: ("overfits", "overfit"),
    Outcome.IMPROVING: ("still improving", "still improving"),
    Outcome.FLUCTUATES: ("fluctuates", "fluctuate"),
    Outcome.COLLAPSED: ("collapsed", "collapsed"),
    Outcome.DIVERGED: ("diverged or at chance", "diverged or at chance"),
    Outcome.TOO_SHORT: ("too short to tell", "too short to tell"),
}


@dataclass(frozen=True)
class Summary:
    """One setting: its runs by seed, ascending, each with its verdict (those that were stopped have none).

    `outcome` is what more than half of the verdicts say, or None: mixed. `words` is the headline, counts included:
    "converged at about epoch 14 (3 of 3 seeds)", "mixed: 2 of 4 fluctuate, 1 collapsed, 1 converged".
    """

    setting: Setting
    runs: tuple[RunHistory, ...]
    verdicts: tuple[Verdict | None, ...]
    outcome: Outcome | None
    words: str
    asked: bool = True
    """False for a rate that the study added by itself."""

    @property
    def judged(self) -> dict[int, Verdict]:
        """The verdicts there are, by seed."""
        return {run.seed: verdict for run, verdict in zip(self.runs, self.verdicts) if verdict is not None}

    @property
    def failed(self) -> int:
        """How many of the runs diverged, stayed at chance, or collapsed."""
        return sum(v.outcome in (Outcome.DIVERGED, Outcome.COLLAPSED) for v in self.judged.values())

    @property
    def epoch(self) -> int | None:
        """The epoch of the headline: the median of those that the verdicts of its outcome name."""
        named = [v.epoch for v in self.judged.values() if v.outcome is self.outcome and v.epoch is not None]
        return median_low(named) if named else None


def summarise(
    setting: Setting, runs: Sequence[RunHistory], classes: int, asked: bool = True, images: int = IMAGES
) -> Summary:
    """What became of `setting` over its runs, in any order, on a model over `classes` classes.

    `images` is the number of validation images. A run that was stopped gets no verdict. Raises DataError where a run
    is not of this setting, or a seed comes twice.
    """
    return summary_of(setting, [(run, None if run.stopped else judge(run, classes, images)) for run in runs], asked)


def summary_of(setting: Setting, judged: Sequence[tuple[RunHistory, Verdict | None]], asked: bool = True) -> Summary:
    """As `summarise`, of runs that were judged before."""
    judged = sorted(judged, key=lambda pair: pair[0].seed)
    runs, verdicts = tuple(run for run, _ in judged), tuple(verdict for _, verdict in judged)
    for before, run in zip((None, *runs), runs):
        if run.setting != setting or (before and before.seed == run.seed):
            raise DataError(f"the summary of {setting} takes one run of it for each seed, not {run}; leave that out")
    counts = Counter(verdict.outcome for verdict in verdicts if verdict is not None)
    outcome = next((found for found, count in counts.items() if 2 * count > counts.total()), None)
    summary = Summary(setting, runs, verdicts, outcome, "", asked)
    return replace(summary, words=_words(summary, counts))


def _words(summary: Summary, counts: Counter[Outcome]) -> str:
    total = counts.total()
    if not total:
        return _unjudged(summary.runs)
    if summary.outcome is None:
        (first, count), *rest = counts.most_common()
        parts = [f"{count} of {total} {_short(first, count)}", *(f"{n} {_short(other, n)}" for other, n in rest)]
        return f"mixed: {', '.join(parts)}"
    words = summary.outcome.value.replace("epoch k", f"epoch {summary.epoch}")
    return f"{words} ({'one seed' if total == 1 else f'{counts[summary.outcome]} of {total} seeds'})"


def _short(outcome: Outcome, count: int) -> str:
    return SHORT[outcome][count > 1]


def _unjudged(runs: Sequence[RunHistory]) -> str:
    if not runs:
        return "not run"
    last = sorted({len(run.epochs) for run in runs})
    return f"stopped at epoch {' to '.join(map(str, last[:1] + last[1:][-1:]))}"


@dataclass(frozen=True)
class Comparison:
    """Another setting's validation loss less the recommended one's, paired by seed, in nats.

    A run's loss is the lowest level of its validation loss. `low` to `high` is the 95 % interval of the mean difference
    by Student's t with n-1 degrees of freedom, `p` the two-sided p-value after Holm's correction over all comparisons
    of the study; `apart` is p < 0.05. With one seed the three are nan, and nothing is apart. `images` is about the
    standard error that comes from the number of validation images, which more seeds do not lessen: rather too large.
    """

    setting: Setting
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    images: float
    apart: bool


@dataclass(frozen=True)
class Recommendation:
    """The setting to take, or None where the study supports none; `why` is a few sentences.

    `level` are the settings that are near it and cannot be told apart from it (with one seed: that are near it), in the
    order of their losses; `look` are the learning rates that are worth trying next.
    """

    setting: Setting | None
    why: str
    level: tuple[Setting, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    look: tuple[float, ...] = ()
