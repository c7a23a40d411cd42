"""What a study tells of itself while it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from convc.report.history import EpochTiming, RunHistory, Setting
from convc.study.plan import StudyPlan


class StudyWatch:
    """Told how a study goes; every method may stay as it is. What one raises ends the study."""

    def grows(self, plan: StudyPlan) -> None:
        """The folder held a study with other rates, momenta, seeds or epochs; `plan` has these too."""

    def compiling(self, model: str) -> None:
        """The programs of `model` are about to be compiled."""

    def compiled(self, seconds: float) -> None:
        """They are ready."""

    def phase(self, epochs: int) -> None:
        """As many epochs are left to train, over all runs."""

    def begin(self, run: RunHistory) -> None:
        """`run` goes on after the epochs that it has."""

    def batch(self, images: int) -> None:
        """One batch of `images` was trained. Only told where runs are trained in this process."""

    def epoch(self, run: RunHistory, timing: EpochTiming) -> None:
        """The last epoch of `run` is over and safely stored."""

    def end(self, run: RunHistory) -> None:
        """The run is over: it has all its epochs, or its loss is no number any more, or it was stopped."""

    def refines(self, settings: Sequence[Setting], epochs_left: int) -> None:
        """These settings are added to those asked for; `epochs_left` of the budget were left for them."""

    def reports(self) -> None:
        """The report is about to be written."""
