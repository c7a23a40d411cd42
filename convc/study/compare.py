"""Studies side by side, read from their folders."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from convc.build.files import write_atomically
from convc.errors import DataError
from convc.report.intervals import paired
from convc.report.recommend import recommend
from convc.report.summary import Summary, summarise
from convc.report.tables import best_epoch
from convc.study.folder import Stored, read_study

COLUMNS = ("study", "rate", "verdict", "validation loss", "test accuracy", "difference")
NOT_COMPARED = ("format", "refined", "stopped")
"""Of study.json: what says nothing of how its runs were trained."""


@dataclass(frozen=True)
class StudyComparison:
    """A row for each setting of each study, and what there is to say about them; texts, ready to print."""

    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    columns: tuple[str, ...] = COLUMNS

    def write(self, out: Path | str) -> Path:
        """Write comparison.md into the folder; returns its path. Raises DataError where it cannot be written."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
        notes = "\n".join(f"- {note}" for note in self.notes)
        return write_atomically(Path(out) / "comparison.md", f"# Studies compared\n\n{table}\n\n{notes}\n")


def compare_studies(folders: Sequence[Path | str]) -> StudyComparison:
    """Compare finished studies by what their folders hold.

    Validation losses are medians, over the seeds whose run learned, of its lowest level; test accuracies are medians of
    what each run's weights of the lowest validation loss have. A difference is the mean, over the seeds that both have,
    of the validation loss less that of the setting which the first study recommends, with its 95 % interval; there is
    one where the studies have the same data. Raises DataError for fewer than two studies, a folder that holds none, and
    one that is not finished.
    """
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        given = " ".join(map(str, paths))
        raise DataError(f"two studies or more are compared, in folders that differ, not {given}; give others")
    studies = {str(path): _finished(path) for path in paths}
    summaries = {name: _summaries(stored) for name, stored in studies.items()}
    settings = {name: stored.settings for name, stored in studies.items()}
    first = str(paths[0])
    reference = _reference(summaries[first], settings[first])
    same_data = [name for name in studies if settings[name]["data contents"] == settings[first]["data contents"]]
    rows = []
    for name, own in summaries.items():
        for summary in own:
            difference = "the reference" if summary is reference else ""
            if reference and not difference:
                difference = _difference(summary, reference) if name in same_data else "other data"
            rows.append((name, str(summary.setting), summary.words, *_figures(summary), difference))
    return StudyComparison(tuple(rows), (*_notes(reference, first), *_what_differs(settings)))


def _finished(path: Path) -> Stored:
    stored = read_study(path)
    s = stored.settings
    expected = (len(s["rates"]) * max(len(s["momenta"]), 1) + len(s["refined"])) * len(s["seeds"])
    over = [run for run in stored.runs if run.ended_early or run.stopped or len(run.epochs) >= s["epochs"]]
    if len(over) < expected:
        raise DataError(
            f"only finished studies are compared, and {path} has {len(over)} of {expected} runs; run its command again"
        )
    return stored


def _summaries(stored: Stored) -> list[Summary]:
    own = stored.settings
    found = dict.fromkeys(run.setting for run in stored.runs)
    return [
        summarise(
            setting,
            [run for run in stored.runs if run.setting == setting],
            own["classes"],
            asked=setting not in stored.refined,
            images=own["validation images"],
        )
        for setting in found
    ]


def _reference(summaries: Sequence[Summary], settings: Mapping[str, Any]) -> Summary | None:
    chosen = recommend(summaries, validation_images=settings["validation images"]).setting
    return next((summary for summary in summaries if summary.setting == chosen), None)


def _figures(summary: Summary) -> tuple[str, str]:
    losses = [v.loss for v in summary.judged.values() if math.isfinite(v.loss)]
    best = [record for record in map(best_epoch, summary.runs) if record is not None]
    return (
        f"{median(losses):.3f}" if losses else "none learned" if summary.judged else "no verdict",
        f"{median(record.test_accuracy for record in best):.1%}" if best else "never finite",
    )


def _difference(summary: Summary, reference: Summary) -> str:
    ours, theirs = ({seed: v.loss for seed, v in s.judged.items()} for s in (summary, reference))
    pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    pairs = [difference for difference in pairs if math.isfinite(difference)]
    if not pairs:
        return "no seed pairs"
    middle, low, high, _ = paired(pairs)
    count = f"{len(pairs)} seed{'s' if len(pairs) > 1 else ''}"
    return f"{middle:+.4f} ({count})" if len(pairs) < 2 else f"{middle:+.4f}, {low:+.4f} to {high:+.4f} ({count})"


def _notes(reference: Summary | None, first: str) -> list[str]:
    if reference is None:
        return [f"There are no differences: {first} recommends no setting."]
    return [
        f"Differences are validation losses in nats less those of {reference.setting} in {first}, paired by seed, with "
        "95 % intervals by Student's t, each by itself."
    ]


def _what_differs(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for own in settings.values() for name in own if name not in NOT_COMPARED)
    notes = []
    for name in names:
        values = {folder: own.get(name) for folder, own in settings.items()}
        if len({json.dumps(value) for value in values.values()}) > 1:
            texts = ", ".join(f"{_text(value)} in {folder}" for folder, value in values.items())
            notes.append(f"Different {name}: {texts}.")
    return notes or ["Their settings are the same."]


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
