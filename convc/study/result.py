"""What a study found, and how it shows itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convc.report.facts import StudyFacts
from convc.report.history import RunHistory
from convc.report.summary import Recommendation, Summary
from convc.report.tables import headline, setting_row
from convc.show import paragraph, wrapped
from convc.table import Table

HEADINGS = ("rate", "validation loss", "test accuracy", "verdict")
CAPTION = (
    "Medians over the seeds: the lowest level of the validation loss, and the test accuracy of the weights with the "
    "lowest one."
)


@dataclass(frozen=True)
class StudyResult:
    """What a study found: a summary for each setting, rates falling, and which setting to take."""

    summaries: tuple[Summary, ...]
    recommendation: Recommendation
    facts: StudyFacts
    report: Path

    @property
    def runs(self) -> tuple[RunHistory, ...]:
        """In the order of history.csv."""
        return tuple(run for summary in self.summaries for run in summary.runs)

    def table(self) -> Table:
        """A row for each setting: medians over its seeds, and its verdict; a star at the one to take."""
        rows = []
        for summary in self.summaries:
            row = setting_row(summary, self.facts, summary.setting == self.recommendation.setting)
            name = f"{row.setting}{' *' if row.recommended else ''}{'' if summary.asked else ' (added)'}"
            rows.append((name, row.loss.main, row.accuracy.main, row.words))
        return Table("", HEADINGS, rows, HEADINGS[1:3])

    @property
    def headline(self) -> str:
        """What is recommended, in a line."""
        return headline(self.recommendation, self.facts, ())

    def __repr__(self) -> str:
        """The headline and the table; the report has the rest."""
        return "\n".join([wrapped(self.headline), str(self.table()), wrapped(CAPTION, f"report: {self.report}")])

    def _repr_html_(self) -> str:
        return paragraph(self.headline) + self.table().html() + paragraph(f"{CAPTION} Report: {self.report}")
