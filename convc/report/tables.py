"""What the report says in words and numbers: texts, ready to print, the same in Markdown and in HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from scipy.special import stdtrit

from convc.report.facts import StudyFacts
from convc.report.history import EpochRecord, RunHistory, Setting, rate_text
from convc.report.interval_figure import with_interval
from convc.report.summary import Comparison, Recommendation, Summary


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
    begun = [(run, verdict) for run, verdict in zip(summary.runs, summary.verdicts) if run.epochs]
    by_seed = []
    for run, verdict in begun:
        words = verdict.words if verdict is not None else f"stopped at epoch {len(run.epochs)}"
        because = verdict.because if verdict is not None else "no verdict: others were better"
        by_seed.append((str(run.seed), words, because))
    return SettingRow(
        setting=str(summary.setting),
        words=summary.words if begun else "not run",
        loss=_range([record.validation_loss for record in best], _loss) or Cell("never finite"),
        accuracy=accuracy_range([record.test_accuracy for record in best], facts.test_images) or Cell("never finite"),
        last_accuracy=accuracy_range([record.test_accuracy for record in last], facts.test_images)
        or Cell("loss not finite"),
        epochs=_arrival(summary),
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


def headline(recommendation: Recommendation, facts: StudyFacts, missing: Sequence[str]) -> str:
    """What is recommended and how sure that is, in one line."""
    setting = recommendation.setting
    if setting is None:
        return "Nothing can be recommended"
    take = f"Take learning rate {setting}"
    if recommendation.level:
        return f"{take}; {listing(recommendation.level)} cannot be told apart from it"
    if len(facts.seeds) == 1:
        return f"{take}; one seed cannot tell how sure that is"
    others = recommendation.comparisons
    if others and not missing and all(c.apart and c.difference > 0 for c in others):
        return f"{take}; every other one ended with a higher validation loss"
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
            count = _epochs(run)
            if run is not None and 0 < count < facts.epochs and not run.ended_early:
                lines.append(f"Learning rate {setting}, seed {seed}: {count} of {facts.epochs} epochs.")
    return lines


def limits_of(summaries: Sequence[Summary], recommendation: Recommendation, facts: StudyFacts) -> list[str]:
    """What this study cannot conclude, a sentence or two each."""
    lines = []
    count = len(facts.seeds)
    if count == 1:
        lines.append(
            "One seed: another one may order the settings otherwise. Intervals of differences need two seeds or more, "
            "and three are the least that says much."
        )
    elif count < 5:
        lines.append(
            f"{count} seeds: an interval reaches {_reach(count):.1f} standard deviations of the differences to either "
            "side of their mean, so that only large differences show. More seeds into the same folder narrow it."
        )
    shown = [s for s in summaries if s.setting == recommendation.setting] or list(summaries)
    found = [r.test_accuracy for s in shown for run in s.runs if (r := best_epoch(run)) is not None]
    if found and facts.test_images:
        p = median(found) if recommendation.setting is not None else max(found)
        points = 100 * math.sqrt(p * (1 - p) / facts.test_images)
        lines.append(
            f"{facts.test_images} test images: one standard error of an accuracy of "
            f"{_percent(p, facts.test_images)} is {points:.2g} points. All seeds are tested on the same images, so "
            "more of them do not reduce it. The test accuracy takes no part in the choice."
        )
    lines.append(
        f"Verdicts are on {_count(facts.epochs, 'epoch')} of this model on these data: with other epochs, batch sizes "
        "or schedules, the order may be another."
    )
    return lines


def band_text(seeds: int, quartiles_from: int) -> str:
    """What the lines and bands of the figures are."""
    if seeds == 1:
        return "Lines are the one seed's run."
    extent = "the quartiles" if seeds >= quartiles_from else "lowest and highest"
    return (
        f"Lines are medians over {seeds} seeds, bands their {extent}; thin lines are single seeds. After a run has "
        "ended, with NaN (a cross) or stopped (a bar), the median is over those that go on."
    )


def medians_text(seeds: int) -> str:
    """What the figures of the table of settings are."""
    of = "One seed's figures." if seeds == 1 else f"Medians over {seeds} seeds, with their range."
    return f"{of} “There” is the epoch of the lowest validation loss, whose weights are kept beside the last ones."


def facts_lines(facts: StudyFacts) -> list[tuple[str, str]]:
    """What was run, as (name, text)."""
    lines = [
        ("Model", f"{facts.model}, {facts.parameters:,} parameters, mode {facts.mode}"),
        (
            "Data",
            f"{facts.dataset}, {facts.classes} classes; {facts.train_images} images to train on, "
            f"{facts.validation_images} for validation, {facts.test_images} for the test",
        ),
        (
            "Training",
            f"{facts.optimizer}; {facts.schedule}; batch {facts.batch}, {_count(facts.epochs, 'epoch')}",
        ),
        ("Runs", f"{_count(len(facts.settings), 'setting')}, each with {seeds_text(facts.seeds)}"),
    ]
    if facts.refined:
        lines.append(("Added by the study", listing(facts.refined)))
    if facts.budget:
        lines.append(("Budget", facts.budget))
    lines.append(("Target", f"{facts.target} on {facts.machine}; {facts.workers}"))
    times = [(facts.compile_seconds, "to compile, once for all runs"), (facts.wall_seconds, "for the whole study")]
    known = [f"{seconds:.1f} s {what}" for seconds, what in times if seconds is not None]
    if known:
        lines.append(("Time", ", ".join(known)))
    return lines


def subtitle(facts: StudyFacts, incomplete: bool) -> str:
    """The study in a line."""
    return (
        f"{facts.model} on {facts.dataset}: {_count(facts.epochs, 'epoch')} of {facts.optimizer}, batch {facts.batch}, "
        f"{seeds_text(facts.seeds)}{'; incomplete' if incomplete else ''}"
    )


def best_epoch(run: RunHistory) -> EpochRecord | None:
    """The epoch of the lowest validation loss, the first of equals; None where none is finite."""
    return min((r for r in run.epochs if r.finite), key=lambda r: r.validation_loss, default=None)


def seeds_text(seeds: Sequence[int]) -> str:
    """`seed 3`, `seeds 0 to 2`, or `seeds 0, 5 and 7`."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"


def listing(settings: Sequence[Setting | float]) -> str:
    """`0.01, 0.005 and 0.001`; semicolons where the settings themselves have commas."""
    names = [rate_text(item) if isinstance(item, float) else str(item) for item in settings]
    comma = "; " if any("," in name for name in names) else ", "
    return names[0] if len(names) == 1 else f"{comma.join(names[:-1])} and {names[-1]}"


def accuracy_range(values: Sequence[float], images: int) -> Cell | None:
    """Median and range of accuracies 0..1, in percent with the digits that so many images support; None of none."""
    return _range(values, lambda value: _percent(value, images))


def _range(values: Sequence[float], text: Callable[[float], str]) -> Cell | None:
    if not values:
        return None
    low, middle, high = (text(value) for value in (min(values), median(values), max(values)))
    return Cell(middle) if low == high else Cell(middle, f"{low} to {high}")


def _arrival(summary: Summary) -> Cell:
    given = [verdict for verdict in summary.verdicts if verdict is not None]
    epochs = [float(verdict.epoch) for verdict in given if verdict.epoch is not None]
    cell = _range(epochs, lambda epoch: f"{epoch:g}")
    if cell is None:
        return Cell("did not" if given else "no verdict")
    if len(epochs) == len(given):
        return cell
    return Cell(cell.main, f"{cell.note}{', ' if cell.note else ''}{len(epochs)} of {len(given)} seeds")


def _epochs(run: RunHistory | None) -> int:
    return len(run.epochs) if run is not None else 0


def _reach(count: int) -> float:
    """Student's t at 97.5 % with count - 1 degrees of freedom, over the root of count."""
    return float(stdtrit(count - 1, 0.975)) / math.sqrt(count)


def _loss(value: float) -> str:
    return f"{value:.3f}" if value >= 1e-2 else f"{value:.2g}"


def _percent(value: float, images: int) -> str:
    return f"{100 * value:.{1 if images <= 5000 else 2}f}%"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else "not known"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
