"""The settings that a study can recommend: all of their runs learned, each over the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, median

from convc.report.history import RunHistory, Setting
from convc.report.intervals import loss_error
from convc.report.summary import Summary
from convc.report.thresholds import LOSS_FLOOR, NEAR
from convc.report.verdict import Outcome


@dataclass(frozen=True)
class Candidate:
    """A setting and `losses`, by seed, ascending: the lowest level of each run's validation loss, in nats."""

    summary: Summary
    losses: tuple[float, ...]

    @property
    def setting(self) -> Setting:
        return self.summary.setting

    @cached_property
    def loss(self) -> float:
        """The mean over the seeds."""
        return mean(self.losses)

    @cached_property
    def cost(self) -> float:
        """How many epochs a run takes to come near its lowest level: the median over the seeds."""
        return median(v.arrival for v in self.summary.judged.values() if v.arrival is not None)

    @property
    def settles(self) -> bool:
        return self.summary.outcome is not Outcome.FLUCTUATES

    def error(self, images: int) -> float:
        """About the standard error of `loss` that comes from having `images` validation images, in nats.

        All seeds are validated on the same images, so it does not shrink with their number.
        """
        accuracy = mean(_accuracy_at_lowest(run) for run in self.summary.runs if not run.stopped)
        return loss_error(self.loss, accuracy, images)


def candidates_of(summaries: Sequence[Summary]) -> list[Candidate]:
    """Those of `summaries` in which no run failed and which lack no seed that others have, in their order.

    A rate that the study added, and stopped for one seed, lacks that.
    """
    seeds = sorted({seed for summary in summaries for seed in summary.judged})
    return [
        Candidate(summary, tuple(summary.judged[seed].loss for seed in seeds))
        for summary in summaries
        if list(summary.judged) == seeds and all(v.outcome.learned for v in summary.judged.values())
    ]


def near_best(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those whose loss is within 10 % (at least 0.01 nats) of the lowest, by which the first is the best."""
    lowest = min(c.loss for c in candidates)
    return sorted((c for c in candidates if c.loss <= lowest + max(NEAR * lowest, LOSS_FLOOR)), key=lambda c: c.loss)


def _accuracy_at_lowest(run: RunHistory) -> float:
    return min((r for r in run.epochs if r.finite), key=lambda r: r.validation_loss).validation_accuracy
