"""One run as the rules of the verdicts see it: levels, swings, and how far its accuracies differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import mean, median

from convc.report.history import RunHistory
from convc.report.intervals import accuracy_error
from convc.report.thresholds import (
    CHANCE_ERRORS,
    DROP_ERRORS,
    IMAGES,
    KEPT,
    LEVEL_EPOCHS,
    LOSS_FLOOR,
    LOWEST_SWINGS,
    NEAR,
    SLOW_START_SHARE,
    THIRD_SWINGS,
)


@dataclass(frozen=True)
class RunCurves:
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
        falls = [share_of_rises(losses[-self.half - 1 :]) <= 1 - SLOW_START_SHARE for losses in self._losses]
        return all(falls) and self.validation[-1] < math.log(self.classes)

    @cached_property
    def at_chance(self) -> bool:
        return levels(self.accuracy, LEVEL_EPOCHS)[-1] <= chance_bound(self.classes, self.images)

    @cached_property
    def swing(self) -> float:
        """Of the validation loss over the last half, relative."""
        return swing(logs(self.validation), self.half)

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


def levels(values: Sequence[float], size: int) -> list[float]:
    """The median of each `size` neighbouring values, from the first window to the last."""
    return [median(values[i : i + size]) for i in range(len(values) - size + 1)]


def lowest_level(run: RunHistory) -> float:
    """The lowest level of the run's validation loss, in nats; `run` has as many finite epochs as a level needs."""
    losses = [record.validation_loss for record in run.epochs if record.finite]
    return min(levels(losses, LEVEL_EPOCHS))


def chance_bound(classes: int, images: int = IMAGES) -> float:
    """The validation accuracy (0..1) up to which a run over `classes` classes counts as being at chance."""
    return 1 / classes + CHANCE_ERRORS * accuracy_error(1 / classes, images)


def share_of_rises(values: Sequence[float]) -> float:
    return mean(after >= before for before, after in pairwise(values))


def logs(losses: Sequence[float]) -> list[float]:
    return [math.log(max(loss, 0.0) + LOSS_FLOOR) for loss in losses]


def swing(values: Sequence[float], window: int) -> float:
    """How far the peaks and troughs of the last `window` triples stand off their neighbours, on average."""
    triples = list(zip(values, values[1:], values[2:]))[-window:]
    return mean(abs(b - (a + c) / 2) if (b - a) * (c - b) < 0 else 0.0 for a, b, c in triples)
