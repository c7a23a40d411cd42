"""What the report says in words and numbers: texts, ready to print, the same in Markdown and in HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, median_low

from scipy.special import stdtrit

from convc.report.facts import StudyFacts, count, listing, seeds_text
from convc.report.history import EpochRecord, RunHistory
from convc.report.intervals import LEVEL, accuracy_error
from convc.report.summary import Comparison, Recommendation, Summary
from convc.report.verdict import Outcome, Verdict

_NAMED = 3  # settings in a headline; more are counted


@dataclass(frozen=True)
class Cell:
    """A figure, and what stands below it: its range."""

    main: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.main} ({self.note})" if self.note else self.main


@dataclass(frozen=True)
class SettingRow:
    """One setting in the table of settings. `by_seed` holds (seed, verdict, reason) of each run that was begun."""

    setting: str
    words: str
    loss: Cell
    accuracy: Cell
    last_accuracy: Cell
    epochs: Cell
    recommended: bool
    added: bool
    by_seed: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class ComparisonRow:
    """One setting in the table of differences."""

    setting: str
    difference: str
    interval: str
    p: str
    images: str
    words: str
    apart: bool


def setting_row(summary: Summary, facts: StudyFacts, recommended: bool) -> SettingRow:
    """The row of a setting; medians over the seeds, with their range where there are several."""
    best = [record for record in map(best_epoch, summary.runs) if record is not None]
    last = [run.epochs[-1] for run in summary.runs if run.epochs and run.epochs[-1].finite]
    by_seed = []
    for run, verdict in zip(summary.runs, summary.verdicts):
        if not run.epochs:
            continue
        words = f"stopped at epoch {len(run.epochs)}" if verdict is None else f"{verdict.words} ({verdict.rule})"
        because = verdict.because if verdict is not None else "no verdict: others were better"
        by_seed.append((str(run.seed), words, because))
    none = Cell("never finite" if by_seed else "not run")
    return SettingRow(
        setting=str(summary.setting),
        words=summary.words if by_seed else "not run",
        loss=_of_learned(summary, lambda verdict: verdict.loss, _loss),
        accuracy=accuracy_range([record.test_accuracy for record in best], facts.test_images) or none,
        last_accuracy=accuracy_range([record.test_accuracy for record in last], facts.test_images) or none,
        epochs=_of_learned(summary, lambda verdict: verdict.arrival, lambda epoch: f"{epoch:g}"),
        recommended=recommended,
        added=not summary.asked,
        by_seed=tuple(by_seed),
    )


def comparison_row(comparison: Comparison) -> ComparisonRow:
    """The row of a difference to the recommended setting; what one seed cannot give is said in words."""
    known = bool(with_interval([comparison]))
    words = "cannot be told apart"
    if not known:
        words = "one seed: no interval"
    elif comparison.apart:
        words = "higher loss" if comparison.difference > 0 else "lower loss"
    return ComparisonRow(
        setting=str(comparison.setting),
        difference=_signed(comparison.difference),
        interval=f"{_signed(comparison.low)} to {_signed(comparison.high)}" if known else "needs 2 seeds",
        p=_p_value(comparison.p) if math.isfinite(comparison.p) else "needs 2 seeds",
        images=f"±{comparison.images:.3f}" if math.isfinite(comparison.images) else "not known",
        words=words,
        apart=known and comparison.apart,
    )


def with_interval(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those whose interval is known: two seeds or more."""
    return [c for c in comparisons if all(map(math.isfinite, (c.difference, c.low, c.high)))]


def headline(recommendation: Recommendation, facts: StudyFacts, missing: Sequence[str]) -> str:
    """What is recommended and how sure that is, in one line."""
    setting = recommendation.setting
    if setting is None:
        return "Nothing can be recommended"
    take = f"Take learning rate {setting}"
    if len(facts.seeds) == 1:
        return f"{take}; one seed cannot tell how sure that is"
    level = recommendation.level
    if level:
        which = listing(level) if len(level) <= _NAMED else f"{len(level)} others"
        return f"{take}; {which} cannot be told apart from it"
    others = recommendation.comparisons
    if others and not missing and all(c.apart and c.difference > 0 for c in others):
        return f"{take}; every other one that learned has a higher validation loss"
    return take


def missing_runs(summaries: Sequence[Summary], facts: StudyFacts) -> list[str]:
    """What an interrupted study lacks of what was asked for. A run that ended in NaN is over, and lacks nothing."""
    runs = {(run.setting, run.seed): run for summary in summaries for run in summary.runs}
    lines = []
    for setting in facts.settings:
        none = [seed for seed in facts.seeds if not _epochs(runs.get((setting, seed)))]
        if len(none) == len(facts.seeds):
            lines.append(f"Learning rate {setting} was not run.")
        elif none:
            lines.append(f"Learning rate {setting} was not run with {seeds_text(none)}.")
        for seed in facts.seeds:
            run = runs.get((setting, seed))
            done = _epochs(run)
            if run is not None and 0 < done < facts.epochs and not run.ended_early:
                lines.append(f"Learning rate {setting}, seed {seed}: {done} of {facts.epochs} epochs.")
    return lines


def limits_of(summaries: Sequence[Summary], recommendation: Recommendation, facts: StudyFacts) -> list[str]:
    """What this study cannot conclude, a sentence or two each."""
    lines = []
    seeds = len(facts.seeds)
    if seeds == 1:
        lines.append(
            "One seed: another one may order the settings otherwise. Intervals of differences need two seeds or more, "
            "and three are the least that says much."
        )
    elif seeds < 5:
        lines.append(
            f"{seeds} seeds: an interval reaches {_reach(seeds):.1f} standard deviations of the differences to either "
            "side of their mean, so that only large differences show. More seeds into the same folder narrow it."
        )
    shown = [s for s in summaries if s.setting == recommendation.setting] or list(summaries)
    found = [r.test_accuracy for s in shown for run in s.runs if (r := best_epoch(run)) is not None]
    if found and facts.test_images:
        p = median(found) if recommendation.setting is not None else max(found)
        points = 100 * accuracy_error(p, facts.test_images)
        lines.append(
            f"{facts.test_images} test images: one standard error of an accuracy of "
            f"{_percent(p, facts.test_images)} is {points:.2g} points. All seeds are tested on the same images, so "
            "more of them do not reduce it. The test accuracy takes no part in the choice."
        )
    lines.append(
        f"Verdicts are on {count(facts.epochs, 'epoch')} of this model on these data: with other epochs, batch sizes "
        "or schedules, the order may be another."
    )
    return lines


def band_text(seeds: int, quartiles_from: int) -> str:
    """What the lines and bands of the figures are."""
    if seeds == 1:
        return "Lines are the one seed's run."
    few = seeds < quartiles_from
    extent = "from the lowest to the highest, thin lines single seeds" if few else "the quartiles"
    return (
        f"Lines are medians over {seeds} seeds, bands {extent}. After a run has ended, by NaN (a cross) or stopped (a "
        "bar), the median is over those that go on."
    )


def medians_text(seeds: int) -> str:
    """What the figures of the table of settings are."""
    of = "One seed's figures." if seeds == 1 else f"Medians over {seeds} seeds (of an even number the lower one), with "
    of += "" if seeds == 1 else "their range."
    return (
        f"{of} A level is the median of neighbouring epochs. The best epoch is that of the lowest validation loss; its "
        "weights are kept beside the last ones."
    )


def best_epoch(run: RunHistory) -> EpochRecord | None:
    """The epoch of the lowest validation loss, the first of equals; None where none is finite."""
    return min((r for r in run.epochs if r.finite), key=lambda r: r.validation_loss, default=None)


def accuracy_range(values: Sequence[float], images: int) -> Cell | None:
    """Median and range of accuracies 0..1, in percent with the digits that so many images support; None of none."""
    return _range(values, lambda value: _percent(value, images))


def _range(values: Sequence[float], text: Callable[[float], str]) -> Cell | None:
    if not values:
        return None
    low, middle, high = (text(value) for value in (min(values), median_low(values), max(values)))
    return Cell(middle) if low == high else Cell(middle, f"{low} to {high}")


def _of_learned(summary: Summary, figure: Callable[[Verdict], float | None], text: Callable[[float], str]) -> Cell:
    """A figure of the runs that learned; how many they are, where others did not."""
    given = [verdict for verdict in summary.verdicts if verdict is not None]
    values = [value for value in map(figure, given) if value is not None and math.isfinite(value)]
    cell = _range(values, text)
    if cell is None and given:
        return Cell("too short" if any(v.outcome is Outcome.TOO_SHORT for v in given) else "none learned")
    if cell is None:
        return Cell("no verdict" if any(run.epochs for run in summary.runs) else "not run")
    if len(values) == len(given):
        return cell
    return Cell(cell.main, f"{cell.note}{', ' if cell.note else ''}{len(values)} of {len(given)} seeds")


def _epochs(run: RunHistory | None) -> int:
    return len(run.epochs) if run is not None else 0


def _reach(seeds: int) -> float:
    """What an interval over so many seeds reaches to either side, in standard deviations: t over the root of n."""
    return float(stdtrit(seeds - 1, (1 + LEVEL) / 2)) / math.sqrt(seeds)


def _loss(value: float) -> str:
    return f"{value:.3f}" if value >= 1e-2 else f"{value:.2g}"


def _percent(value: float, images: int) -> str:
    return f"{100 * value:.{1 if images <= 5000 else 2}f}%"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else "not known"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
