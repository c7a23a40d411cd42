"""What became of a setting over all its seeds, and which setting to take: the forms that a report is made of."""

from __future__ import annotations

from dataclasses import dataclass

from convc.report.history import RunHistory, Setting
from convc.report.verdict import Outcome, Verdict


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


@dataclass(frozen=True)
class Comparison:
    """Another setting's validation loss less the recommended one's, paired by seed, in nats.

    `low` to `high` is the 95 % interval of the mean difference by Student's t with n-1 degrees of freedom, `p` the
    two-sided p-value after Holm's correction over all comparisons of the study; `apart` is p < 0.05. `images` is the
    standard error that comes from the finite number of validation images. All are nan where one seed is too few.
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

    `level` are the settings that cannot be told apart from it, `look` the learning rates that are worth trying next.
    """

    setting: Setting | None
    why: str
    level: tuple[Setting, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    look: tuple[float, ...] = ()
