"""What became of one run, by rules that `convc.report.rules` states in sentences made of the constants they run on.

A verdict rests on the training loss, the validation loss and the validation accuracy; the test accuracy takes no part.
A *level* is the median over a window of neighbouring epochs, and only levels over windows of equal length are compared:
the best of many short windows lies above any long one even where nothing changes. Accuracies are compared in units of
their sampling error, which follows from the number of validation images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from statistics import median

from convc.report.history import RunHistory
from convc.report.run_curves import RunCurves, chance_bound, levels, logs, share_of_rises, swing
from convc.report.thresholds import (
    DROP_ERRORS,
    IMAGES,
    KEPT,
    LEARNED_BY_HEART,
    LEVEL_EPOCHS,
    LOSS_FLOOR,
    LOSS_SWING,
    LOST_ACCURACY,
    MIN_EPOCHS,
    NEAR,
    TRAIN_RISES,
    TRAIN_SWING,
    WILD_SWING,
)


class Outcome(Enum):
    """How a run can end, as reports print it: `epoch k` stands for the epoch that a verdict carries."""

    CONVERGED = "converged at about epoch k"
    OVERFITS = "overfits from epoch k"
    IMPROVING = "still improving"
    FLUCTUATES = "fluctuates"
    COLLAPSED = "collapsed (reached, then lost)"
    DIVERGED = "diverged or at chance"
    TOO_SHORT = "too short to tell"

    @property
    def learned(self) -> bool:
        """Whether such a run holds what it has learned; only such a run can be recommended."""
        return self in (Outcome.CONVERGED, Outcome.OVERFITS, Outcome.IMPROVING, Outcome.FLUCTUATES)


@dataclass(frozen=True)
class Verdict:
    """What became of one run: `rule` is the one that decided (as `rules` names it), `because` its numbers.

    `epoch` is set where the words name one. `loss` is the lowest level of the validation loss in nats, by which runs
    are compared, and `arrival` the first epoch near it: nan and None where the run learned nothing that lasted.
    """

    outcome: Outcome
    because: str
    epoch: int | None = None
    rule: str = ""
    loss: float = math.nan
    arrival: int | None = None

    @property
    def words(self) -> str:
        """The verdict as the report prints it: "converged at about epoch 14"."""
        return self.outcome.value.replace("epoch k", f"epoch {self.epoch}")


def judge(run: RunHistory, classes: int, images: int = IMAGES) -> Verdict:
    """The verdict on one run of a model over `classes` classes, validated on `images` images."""
    count = len(run.epochs)
    if run.ended_early:
        because = f"the loss became {non_finite(run)} at epoch {count}"
        return Verdict(Outcome.DIVERGED, because, rule="not finite")
    if count < MIN_EPOCHS:
        because = f"{count} of the {MIN_EPOCHS} epochs that a verdict needs"
        return Verdict(Outcome.TOO_SHORT, because, rule="too short")
    curve = RunCurves(run, classes, images)
    return next(verdict for rule in _RULES if (verdict := rule(curve)))


def non_finite(run: RunHistory) -> str:
    """What the last loss of a run that ended early was: "NaN" or "infinite"."""
    last = run.epochs[-1]
    return "NaN" if math.isnan(last.train_loss) or math.isnan(last.validation_loss) else "infinite"


def _slow_start(c: RunCurves) -> Verdict | None:
    guess = math.log(c.classes)
    hardly_left = c.at_chance or c.validation[-1] > (1 - NEAR) * guess
    if not (hardly_left and c.steady):
        return None
    because = (
        f"validation loss is still near the {guess:.3f} of a constant guess, but fell from "
        f"{c.validation[-c.half - 1]:.4f} to {c.validation[-1]:.4f} over the last {c.half} epochs, steadily"
    )
    return _verdict(c, Outcome.IMPROVING, "slow start", because)


def _ended_low(c: RunCurves) -> Verdict | None:
    best = max(c.accuracy)
    if best <= chance_bound(c.classes, c.images) or not c.dropped(best, c.accuracy[-1]):
        return None
    because = (
        f"validation accuracy reached {best:.1%} at epoch {c.accuracy.index(best) + 1} and ended at "
        f"{c.accuracy[-1]:.1%}, where chance is {c.chance:.1%}"
    )
    return _verdict(c, Outcome.COLLAPSED, "ended low", because)


def _lost(c: RunCurves) -> Verdict | None:
    best, last = _best_and_last(c.accuracy, c.third)
    if best - last <= max(LOST_ACCURACY, DROP_ERRORS * c.error(best, last)):
        return None
    because = f"validation accuracy over the last {c.third} epochs, {last:.1%}, is below the best {c.third}, {best:.1%}"
    return _verdict(c, Outcome.COLLAPSED, "lost", because)


def _at_chance(c: RunCurves) -> Verdict | None:
    if not c.at_chance:
        return None
    level = median(c.accuracy[-LEVEL_EPOCHS:])
    because = f"validation accuracy over the last {LEVEL_EPOCHS} epochs is {level:.1%}, where chance is {c.chance:.1%}"
    return _verdict(c, Outcome.DIVERGED, "at chance", because)


def _dip(c: RunCurves) -> Verdict | None:
    high_enough = c.chance + KEPT * (max(c.accuracy) - c.chance)
    for epoch, (best, now) in enumerate(zip(accumulate(c.accuracy, max), c.accuracy)):
        if best >= high_enough and c.dropped(best, now):
            because = (
                f"validation accuracy reached {best:.1%}, was {now:.1%} at epoch {epoch + 1} and ended at "
                f"{c.accuracy[-1]:.1%}"
            )
            return _verdict(c, Outcome.FLUCTUATES, "dip", because)
    return None


def _fell_back(c: RunCurves) -> Verdict | None:
    best, last = _best_and_last(c.accuracy, LEVEL_EPOCHS)
    if best - last <= max(LOST_ACCURACY, DROP_ERRORS * c.error(best, last)):
        return None
    because = (
        f"validation accuracy over the last {LEVEL_EPOCHS} epochs, {last:.1%}, is below the best {LEVEL_EPOCHS}, "
        f"{best:.1%}"
    )
    return _verdict(c, Outcome.FLUCTUATES, "fell back", because)


def _swings(c: RunCurves) -> Verdict | None:
    train = swing(logs(c.train), c.half)
    rises = share_of_rises(c.train[-c.half - 1 :])
    if not (c.swing > LOSS_SWING and train > TRAIN_SWING and rises >= TRAIN_RISES):
        return None
    because = (
        f"over the last {c.half} epochs validation loss swings by {c.swing:.0%} and training loss by {train:.0%}, "
        f"which rose in {round(rises * c.half)} of them"
    )
    return _verdict(c, Outcome.FLUCTUATES, "swings", because)


def _unsettled(c: RunCurves) -> Verdict | None:
    before, last = levels(c.train, c.third)[-1 - c.third], median(c.train[-c.third :])
    left = last > LEARNED_BY_HEART * median(c.validation[-c.third :])
    if not (c.swing > LOSS_SWING and left and last < (1 - NEAR) * before):
        return None
    because = (
        f"validation loss still swings by {c.swing:.0%} over the last {c.half} epochs, and training loss fell by "
        f"{1 - last / before:.0%} from one third to the last, to {last:.3f}"
    )
    return _verdict(c, Outcome.IMPROVING, "unsettled", because)


def _wild(c: RunCurves) -> Verdict | None:
    if c.swing <= WILD_SWING:
        return None
    because = f"over the last {c.half} epochs validation loss swings by {c.swing:.0%}"
    return _verdict(c, Outcome.FLUCTUATES, "wild", because)


def _overfits(c: RunCurves) -> Verdict | None:
    low, last = min(c.thirds[: -c.third]), c.thirds[-1]
    start = c.thirds.index(low)
    train = levels(c.train, c.third)
    if last - low <= max(NEAR * low, c.noise(low), LOSS_FLOOR) or train[-1] >= train[start]:
        return None
    because = (
        f"validation loss over the last {c.third} epochs, {last:.3f}, is above the lowest {c.third} before, "
        f"{low:.3f}, while training loss fell"
    )
    return _verdict(c, Outcome.OVERFITS, "overfits", because, start + c.third // 2)


def _late(c: RunCurves) -> Verdict | None:
    before, last = c.thirds[-1 - c.third], c.thirds[-1]
    left = median(c.validation[-LEVEL_EPOCHS:]) > LOSS_FLOOR
    if not left or c.arrival < c.count - c.third or before - last <= c.noise(last):
        return None
    because = (
        f"validation loss came near its lowest level, {c.lowest:.3f}, only at epoch {c.arrival + 1} of {c.count}, and "
        f"fell from {before:.3f} to {last:.3f} from one third to the last"
    )
    return _verdict(c, Outcome.IMPROVING, "late", because)


def _converged(c: RunCurves) -> Verdict:
    because = f"validation loss came near its lowest level, {c.lowest:.3f}, at epoch {c.arrival + 1} of {c.count}"
    return _verdict(c, Outcome.CONVERGED, "near the lowest", because, c.arrival)


_RULES: tuple[Callable[[RunCurves], Verdict | None], ...] = (
    _slow_start,
    _ended_low,
    _lost,
    _at_chance,
    _dip,
    _fell_back,
    _swings,
    _unsettled,
    _wild,
    _overfits,
    _late,
    _converged,
)


def _verdict(c: RunCurves, outcome: Outcome, rule: str, because: str, epoch: int | None = None) -> Verdict:
    """`epoch` counts from 0, as everywhere here."""
    printed = None if epoch is None else epoch + 1
    if not outcome.learned:
        return Verdict(outcome, because, printed, rule)
    return Verdict(outcome, because, printed, rule, c.lowest, c.arrival + 1)


def _best_and_last(values: Sequence[float], size: int) -> tuple[float, float]:
    """The highest level over `size` values, and the last one."""
    found = levels(values, size)
    return max(found), found[-1]
