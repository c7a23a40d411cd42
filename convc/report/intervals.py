"""Intervals and errors that reports state: Student's t for paired differences, Holm's correction, sampling errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from scipy.special import stdtr, stdtrit

LEVEL = 0.95
"""Of every interval; what lies outside is told apart."""
SHARED = 0.5
"""How much of the variance that comes from the images two settings have in common: they misread the same ones."""


def accuracy_error(accuracy: float, images: int) -> float:
    """The standard error of an accuracy (0..1) on `images` images drawn at random: binomial."""
    return math.sqrt(accuracy * (1 - accuracy) / images)


def loss_error(loss: float, accuracy: float, images: int) -> float:
    """About the standard error in nats of a mean cross-entropy on `images` images drawn at random.

    A history has no losses of single images. Most of the loss is that of the images that were misread, a share q =
    1 - `accuracy` of all. Taken as exponential among these and 0 elsewhere, one image's loss has the mean `loss` and
    the variance (2 / q - 1) loss^2. At least one image counts as misread. Images that were read right have some of the
    loss too, so that this is too large, by a half as measured.
    """
    misread = max(1 - accuracy, 1 / images)
    return loss * math.sqrt((2 / misread - 1) / images)


def difference_error(first: float, second: float) -> float:
    """About the standard error that comes from the images of a difference of two losses with these errors, in nats.

    Both are measured on the same images. Measured image by image, what they share is more (docs/study-statistics.md):
    this errs on the side of caution.
    """
    return math.hypot(first, second) * math.sqrt(1 - SHARED)


def paired(differences: Sequence[float]) -> tuple[float, float, float, float]:
    """(mean, low, high, p) of paired differences: the 95 % interval of their mean and the two-sided p-value against 0.

    By Student's t with n-1 degrees of freedom. One difference has a mean alone; the others are then nan.
    """
    count, middle = len(differences), mean(differences)
    if count < 2:
        return middle, math.nan, math.nan, math.nan
    error = stdev(differences) / math.sqrt(count)
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * error
    if error == 0:
        return middle, middle, middle, float(middle == 0)
    return middle, middle - reach, middle + reach, 2 * float(stdtr(count - 1, -abs(middle) / error))


def holm(p: Sequence[float]) -> list[float]:
    """The p-values after the correction of Holm (1979) for as many tests, in the order given; nan stays nan."""
    order = sorted((i for i in range(len(p)) if not math.isnan(p[i])), key=lambda i: p[i])
    corrected, largest = list(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        corrected[i] = largest
    return corrected
