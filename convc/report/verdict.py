"""What became of each learning rate, in one of five phrases.

Every number that a rule uses is a constant here, and `convc.report.rules` writes the rules out from the same
constants, so that the report cannot state one rule and follow another. The constants were set on LeNet-5 runs
over 5000 digits, several seeds and initialisations each; the reason for each stands above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from statistics import mean, median

from convc.report.history import RunHistory

# Below, half a run is two or three points, through which any story can be told.
MIN_EPOCHS = 6
# Of the way from chance to 100 %: over six standard errors on 500 test images of ten classes.
CHANCE_MARGIN = 0.10
# Small rates leave the plateau by tiny steps, nearly all of them downwards; noise goes down in half.
SLOW_START_SHARE = 0.9
# A curve that is steady but falls by less than this has arrived.
SLOW_START_FALL = 0.01
# Settled runs swing by up to this on 500 validation images: that is the sampling noise of the split.
LOSS_SWING = 0.08
# A rate that is too high shakes the training loss too (by 0.13 and more); sampling noise does not.
TRAIN_SWING = 0.11
# ... or it swings the accuracy itself, as batch norm can do with a calm training loss.
ACCURACY_SWING = 0.02
# Overfitting costs a point or two; five points lost are a run that came apart.
LOST_ACCURACY = 0.05
# Within this of the lowest validation loss, a curve looks flat.
ARRIVED = 0.10
# Training loss as a share of validation loss: below, more epochs only memorise.
LEARNED_BY_HEART = 0.25
# In nats: differences under it move no prediction, and a logarithm needs a floor.
LOSS_FLOOR = 0.01


class Outcome(Enum):
    """The five ways a run can end; those that learned first, in the order in which a tie prefers them."""

    CONVERGED = "converged, then flat"
    IMPROVING = "still improving at the end"
    FLUCTUATES = "fluctuates without settling"
    DIVERGED = "diverged or at chance"
    TOO_SHORT = "too short to tell"

    @property
    def learned(self) -> bool:
        """Whether such a run can be recommended at all."""
        return self in (Outcome.CONVERGED, Outcome.IMPROVING, Outcome.FLUCTUATES)


@dataclass(frozen=True)
class Verdict:
    """What became of one rate: `because` names the numbers that decided, `epoch` is set where it converged.

    `loss` (validation, nats) and `accuracy` (test, 0..1) are medians over the last third of the run.
    `best_loss` is the lowest validation loss, as a median of three neighbouring epochs. All three are nan
    where nothing was judged.
    """

    lr: float
    outcome: Outcome
    because: str
    epoch: int | None = None
    loss: float = math.nan
    accuracy: float = math.nan
    best_loss: float = math.nan

    @property
    def words(self) -> str:
        """The verdict as the report prints it."""
        if self.epoch is not None:
            return f"converged at about epoch {self.epoch}, then flat"
        return self.outcome.value


def judge(run: RunHistory, classes: int) -> Verdict:
    """The verdict on one run of a model over `classes` classes, by the rules that `rules.rules` states."""
    count = len(run.epochs)
    if run.ended_early:
        return Verdict(run.lr, Outcome.DIVERGED, f"the loss became {non_finite(run)} at epoch {count}")
    if count < MIN_EPOCHS:
        because = f"{count} of the {MIN_EPOCHS} epochs that a verdict needs"
        return Verdict(run.lr, Outcome.TOO_SHORT, because)

    validation = [record.validation_loss for record in run.epochs]
    train = [record.train_loss for record in run.epochs]
    accuracy = [record.test_accuracy for record in run.epochs]
    third, half = count // 3, count // 2
    smooth = _median3(validation)
    lowest = min(smooth)
    settled_loss, settled_accuracy = median(validation[-third:]), median(accuracy[-third:])

    def verdict(outcome: Outcome, because: str, epoch: int | None = None) -> Verdict:
        return Verdict(run.lr, outcome, because, epoch, settled_loss, settled_accuracy, lowest)

    fall, steady = _fall(validation[-half - 1 :])
    if settled_accuracy <= chance_bound(classes) and not steady:
        return verdict(Outcome.DIVERGED, f"accuracy {settled_accuracy:.1%} where chance is {1 / classes:.1%}")

    lost = max(_median3(accuracy)) - median(accuracy[-3:])
    if lost > LOST_ACCURACY:
        return verdict(Outcome.FLUCTUATES, f"accuracy ended {100 * lost:.1f} points below its best")
    loss_swing, train_swing = _swing(_logs(validation), half), _swing(_logs(train), half)
    accuracy_swing = _swing(accuracy, half)
    if loss_swing > LOSS_SWING and (train_swing > TRAIN_SWING or accuracy_swing > ACCURACY_SWING):
        because = (
            f"validation loss swings by {loss_swing:.0%}, training loss by {train_swing:.0%}, "
            f"accuracy by {100 * accuracy_swing:.1f} points"
        )
        return verdict(Outcome.FLUCTUATES, because)

    near = lowest + max(lowest * ARRIVED, LOSS_FLOOR)
    arrival = 1 + next(i for i, loss in enumerate(smooth) if loss <= near)
    left_to_learn = median(train[-third:]) > LEARNED_BY_HEART * settled_loss
    if left_to_learn and (steady or arrival > count - third):
        because = f"validation loss fell by {fall:.0%} over the last {half} epochs"
        return verdict(Outcome.IMPROVING, because)
    because = f"validation loss came near its lowest, {lowest:.3f}, at epoch {arrival}"
    return verdict(Outcome.CONVERGED, because, arrival)


def chance_bound(classes: int) -> float:
    """The test accuracy (0..1) up to which a run over `classes` classes counts as being at chance."""
    return 1 / classes + CHANCE_MARGIN * (1 - 1 / classes)


def non_finite(run: RunHistory) -> str:
    """What the last loss of a run that ended early was: "NaN" or "infinite"."""
    last = run.epochs[-1]
    return "NaN" if math.isnan(last.train_loss) or math.isnan(last.validation_loss) else "infinite"


def rate_text(lr: float) -> str:
    """A learning rate as tables, labels and file names write it: the shortest text that reads back equal."""
    return repr(float(lr))


def _fall(losses: Sequence[float]) -> tuple[float, bool]:
    """The relative fall from the first loss to the last, and whether it is as steady as a slow start's."""
    fall = (losses[0] - losses[-1]) / max(losses[0], LOSS_FLOOR)
    share = mean(after < before for before, after in pairwise(losses))
    return fall, share >= SLOW_START_SHARE and fall >= SLOW_START_FALL


def _median3(values: Sequence[float]) -> list[float]:
    """Medians of each value and its neighbours (of two values at either end)."""
    return [median(values[max(0, i - 1) : i + 2]) for i in range(len(values))]


def _logs(losses: Sequence[float]) -> list[float]:
    return [math.log(max(loss, 0.0) + LOSS_FLOOR) for loss in losses]


def _swing(values: Sequence[float], window: int) -> float:
    """How far the peaks and troughs of the last `window` triples stand off their neighbours, on average."""
    triples = list(zip(values, values[1:], values[2:]))[-window:]
    return mean(abs(b - (a + c) / 2) if (b - a) * (c - b) < 0 else 0.0 for a, b, c in triples)
