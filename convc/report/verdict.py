"""What became of one run, by rules that `convc.report.rules` states in sentences made of the constants here.

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
from functools import cached_property
from itertools import accumulate, pairwise
from statistics import mean, median

from convc.report.history import RunHistory
from convc.report.intervals import accuracy_error

IMAGES = 500
"""Validation images where the caller does not say: those of mnist5k. Fewer than there are only makes rules cautious."""
# Below, half a run is two or three points, through which any story can be told.
MIN_EPOCHS = 6
# Epochs of a level, where it is not over a third of the run: a median of three is not moved by one odd epoch.
LEVEL_EPOCHS = 3
# An accuracy this many standard errors above chance is no chance: p = 3e-7 at each epoch, and a run has tens of them.
CHANCE_ERRORS = 5
# Two accuracies of one run that lie this far apart differ: p = 6e-5 for each pair, and a run has hundreds of them.
DROP_ERRORS = 4
# Of what accuracy had gained over chance: less than this left is a run that came apart.
KEPT = 0.5
# ... as is a loss of five points that stays; overfitting costs a point or two.
LOST_ACCURACY = 0.05
# Small rates leave chance by tiny steps, nearly all of them downwards; noise goes down in half.
SLOW_START_SHARE = 0.9
# Noise of 500 images moves the validation loss by up to this from epoch to epoch, and more where the rate is too high,
LOSS_SWING = 0.10
# which then moves the training loss too, over thousands of images,
TRAIN_SWING = 0.05
# and keeps it from falling.
TRAIN_RISES = 1 / 3
# With such a swing there is no level to converge to, or to rise from, whatever the training loss does.
WILD_SWING = 0.20
# Of a loss: within this, a curve looks flat; beyond, it has risen or fallen.
NEAR = 0.10
# Training loss as a share of validation loss: below, more epochs only memorise.
LEARNED_BY_HEART = 0.25
# In nats: differences under it move no prediction, and a logarithm needs a floor.
LOSS_FLOOR = 0.01
# The lowest of a run's levels lies about this many swings below their middle, by chance alone.
LOWEST_SWINGS = 2
# Two levels over a third of the run differ where they are this many swings, over the root of the epochs in a third,
# apart: 2.4 standard errors of their difference, as noise of 1 swings by 0.85 and a median errs 1.25 times as a mean.
THIRD_SWINGS = 5


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
    curve = Curve(run, classes, images)
    return next(verdict for rule in _RULES if (verdict := rule(curve)))


def chance_bound(classes: int, images: int = IMAGES) -> float:
    """The validation accuracy (0..1) up to which a run over `classes` classes counts as being at chance."""
    return 1 / classes + CHANCE_ERRORS * accuracy_error(1 / classes, images)


def non_finite(run: RunHistory) -> str:
    """What the last loss of a run that ended early was: "NaN" or "infinite"."""
    last = run.epochs[-1]
    return "NaN" if math.isnan(last.train_loss) or math.isnan(last.validation_loss) else "infinite"


def lowest_level(run: RunHistory) -> float:
    """The lowest level of the run's validation loss, in nats; `run` has as many finite epochs as a level needs."""
    losses = [record.validation_loss for record in run.epochs if record.finite]
    return min(levels(losses, LEVEL_EPOCHS))


@dataclass(frozen=True)
class Curve:
    """One run as the rules see it. Epochs count from 0 here, and from 1 in what is printed."""

    run: RunHistory
    classes: int
    images: int

    @cached_property
    def train(self) -> list[float]:
        return [record.train_loss for record in self.run.epochs]

    @cached_property
    def validation(self) -> list[float]:
        return [record.validation_loss for record in self.run.epochs]

    @cached_property
    def accuracy(self) -> list[float]:
        return [record.validation_accuracy for record in self.run.epochs]

    @property
    def count(self) -> int:
        return len(self.run.epochs)

    @property
    def half(self) -> int:
        return self.count // 2

    @property
    def third(self) -> int:
        return self.count // 3

    @property
    def chance(self) -> float:
        return 1 / self.classes

    @cached_property
    def steady(self) -> bool:
        """Whether both losses fell in nearly all of the last half's epochs, to less than a constant guess has."""
        falls = [_share_of_rises(losses[-self.half - 1 :]) <= 1 - SLOW_START_SHARE for losses in self._losses]
        return all(falls) and self.validation[-1] < math.log(self.classes)

    @cached_property
    def at_chance(self) -> bool:
        return levels(self.accuracy, LEVEL_EPOCHS)[-1] <= chance_bound(self.classes, self.images)

    @cached_property
    def swing(self) -> float:
        """Of the validation loss over the last half, relative."""
        return _swing(_logs(self.validation), self.half)

    @cached_property
    def lowest(self) -> float:
        return lowest_level(self.run)

    @cached_property
    def near(self) -> float:
        """The validation loss up to which a level is near the lowest."""
        fall = self.validation[0] - self.lowest
        noise = LOWEST_SWINGS * self.swing * (self.lowest + LOSS_FLOOR)
        return self.lowest + max(NEAR * min(self.lowest, fall), noise, LOSS_FLOOR)

    @cached_property
    def arrival(self) -> int:
        """The first epoch near the lowest level whose window is so too."""
        start = next(i for i, level in enumerate(levels(self.validation, LEVEL_EPOCHS)) if level <= self.near)
        return next(i for i in range(start, start + LEVEL_EPOCHS) if self.validation[i] <= self.near)

    @cached_property
    def thirds(self) -> list[float]:
        """The levels of the validation loss over a third of the epochs."""
        return levels(self.validation, self.third)

    def noise(self, level: float) -> float:
        """By how much of the validation loss a level over a third has to differ from `level`."""
        return THIRD_SWINGS * self.swing / math.sqrt(self.third) * (level + LOSS_FLOOR)

    @property
    def _losses(self) -> tuple[list[float], list[float]]:
        return self.train, self.validation

    def dropped(self, high: float, low: float) -> bool:
        """Whether accuracy came apart from `high` to `low`: by more than sampling error, most of the gain gone."""
        real = high - low > DROP_ERRORS * self.error(high, low)
        return real and low - self.chance < KEPT * (high - self.chance)

    def error(self, first: float, second: float) -> float:
        """The standard error of the difference of two accuracies, each on images of its own."""
        return math.hypot(accuracy_error(first, self.images), accuracy_error(second, self.images))

    def verdict(self, outcome: Outcome, rule: str, because: str, epoch: int | None = None) -> Verdict:
        """`epoch` counts from 0, as everywhere here."""
        printed = None if epoch is None else epoch + 1
        if not outcome.learned:
            return Verdict(outcome, because, printed, rule)
        return Verdict(outcome, because, printed, rule, self.lowest, self.arrival + 1)


def levels(values: Sequence[float], size: int) -> list[float]:
    """The median of each `size` neighbouring values, from the first window to the last."""
    return [median(values[i : i + size]) for i in range(len(values) - size + 1)]


def _slow_start(c: Curve) -> Verdict | None:
    guess = math.log(c.classes)
    hardly_left = c.at_chance or c.validation[-1] > (1 - NEAR) * guess
    if not (hardly_left and c.steady):
        return None
    because = (
        f"validation loss is still near the {guess:.3f} of a constant guess, but fell from "
        f"{c.validation[-c.half - 1]:.4f} to {c.validation[-1]:.4f} over the last {c.half} epochs, steadily"
    )
    return c.verdict(Outcome.IMPROVING, "slow start", because)


def _ended_low(c: Curve) -> Verdict | None:
    best = max(c.accuracy)
    if best <= chance_bound(c.classes, c.images) or not c.dropped(best, c.accuracy[-1]):
        return None
    because = (
        f"validation accuracy reached {best:.1%} at epoch {c.accuracy.index(best) + 1} and ended at "
        f"{c.accuracy[-1]:.1%}, where chance is {c.chance:.1%}"
    )
    return c.verdict(Outcome.COLLAPSED, "ended low", because)


def _lost(c: Curve) -> Verdict | None:
    best, last = _best_and_last(c.accuracy, c.third)
    if best - last <= max(LOST_ACCURACY, DROP_ERRORS * c.error(best, last)):
        return None
    because = f"validation accuracy over the last {c.third} epochs, {last:.1%}, is below the best {c.third}, {best:.1%}"
    return c.verdict(Outcome.COLLAPSED, "lost", because)


def _at_chance(c: Curve) -> Verdict | None:
    if not c.at_chance:
        return None
    level = median(c.accuracy[-LEVEL_EPOCHS:])
    because = f"validation accuracy over the last {LEVEL_EPOCHS} epochs is {level:.1%}, where chance is {c.chance:.1%}"
    return c.verdict(Outcome.DIVERGED, "at chance", because)


def _dip(c: Curve) -> Verdict | None:
    high_enough = c.chance + KEPT * (max(c.accuracy) - c.chance)
    for epoch, (best, now) in enumerate(zip(accumulate(c.accuracy, max), c.accuracy)):
        if best >= high_enough and c.dropped(best, now):
            because = (
                f"validation accuracy reached {best:.1%}, was {now:.1%} at epoch {epoch + 1} and ended at "
                f"{c.accuracy[-1]:.1%}"
            )
            return c.verdict(Outcome.FLUCTUATES, "dip", because)
    return None


def _fell_back(c: Curve) -> Verdict | None:
    best, last = _best_and_last(c.accuracy, LEVEL_EPOCHS)
    if best - last <= max(LOST_ACCURACY, DROP_ERRORS * c.error(best, last)):
        return None
    because = (
        f"validation accuracy over the last {LEVEL_EPOCHS} epochs, {last:.1%}, is below the best {LEVEL_EPOCHS}, "
        f"{best:.1%}"
    )
    return c.verdict(Outcome.FLUCTUATES, "fell back", because)


def _swings(c: Curve) -> Verdict | None:
    train = _swing(_logs(c.train), c.half)
    rises = _share_of_rises(c.train[-c.half - 1 :])
    if not (c.swing > LOSS_SWING and train > TRAIN_SWING and rises >= TRAIN_RISES):
        return None
    because = (
        f"over the last {c.half} epochs validation loss swings by {c.swing:.0%} and training loss by {train:.0%}, "
        f"which rose in {round(rises * c.half)} of them"
    )
    return c.verdict(Outcome.FLUCTUATES, "swings", because)


def _unsettled(c: Curve) -> Verdict | None:
    before, last = levels(c.train, c.third)[-1 - c.third], median(c.train[-c.third :])
    left = last > LEARNED_BY_HEART * median(c.validation[-c.third :])
    if not (c.swing > LOSS_SWING and left and last < (1 - NEAR) * before):
        return None
    because = (
        f"validation loss still swings by {c.swing:.0%} over the last {c.half} epochs, and training loss fell by "
        f"{1 - last / before:.0%} from one third to the last, to {last:.3f}"
    )
    return c.verdict(Outcome.IMPROVING, "unsettled", because)


def _wild(c: Curve) -> Verdict | None:
    if c.swing <= WILD_SWING:
        return None
    because = f"over the last {c.half} epochs validation loss swings by {c.swing:.0%}"
    return c.verdict(Outcome.FLUCTUATES, "wild", because)


def _overfits(c: Curve) -> Verdict | None:
    low, last = min(c.thirds[: -c.third]), c.thirds[-1]
    start = c.thirds.index(low)
    train = levels(c.train, c.third)
    if last - low <= max(NEAR * low, c.noise(low), LOSS_FLOOR) or train[-1] >= train[start]:
        return None
    because = (
        f"validation loss over the last {c.third} epochs, {last:.3f}, is above the lowest {c.third} before, "
        f"{low:.3f}, while training loss fell"
    )
    return c.verdict(Outcome.OVERFITS, "overfits", because, start + c.third // 2)


def _late(c: Curve) -> Verdict | None:
    before, last = c.thirds[-1 - c.third], c.thirds[-1]
    left = median(c.validation[-LEVEL_EPOCHS:]) > LOSS_FLOOR
    if not left or c.arrival < c.count - c.third or before - last <= c.noise(last):
        return None
    because = (
        f"validation loss came near its lowest level, {c.lowest:.3f}, only at epoch {c.arrival + 1} of {c.count}, and "
        f"fell from {before:.3f} to {last:.3f} from one third to the last"
    )
    return c.verdict(Outcome.IMPROVING, "late", because)


def _converged(c: Curve) -> Verdict:
    because = f"validation loss came near its lowest level, {c.lowest:.3f}, at epoch {c.arrival + 1} of {c.count}"
    return c.verdict(Outcome.CONVERGED, "near the lowest", because, c.arrival)


_RULES: tuple[Callable[[Curve], Verdict | None], ...] = (
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


def _best_and_last(values: Sequence[float], size: int) -> tuple[float, float]:
    """The highest level over `size` values, and the last one."""
    found = levels(values, size)
    return max(found), found[-1]


def _share_of_rises(values: Sequence[float]) -> float:
    return mean(after >= before for before, after in pairwise(values))


def _logs(losses: Sequence[float]) -> list[float]:
    return [math.log(max(loss, 0.0) + LOSS_FLOOR) for loss in losses]


def _swing(values: Sequence[float], window: int) -> float:
    """How far the peaks and troughs of the last `window` triples stand off their neighbours, on average."""
    triples = list(zip(values, values[1:], values[2:]))[-window:]
    return mean(abs(b - (a + c) / 2) if (b - a) * (c - b) < 0 else 0.0 for a, b, c in triples)
