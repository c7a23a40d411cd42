"""Holding parts of a data set out of training, class by class."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np

from convc.data.dataset import Split
from convc.data.order import Stream, permutation
from convc.errors import DataError

TENTH = Fraction(1, 10)


def hold_out(split: Split, parts: int, *, seed: int, place: str, share: Fraction = TENTH) -> tuple[Split, ...]:
    """Hold `parts` shares out: (what is left to train on, held-out part 1, ..., held-out part `parts`), at most two.

    Every part is stratified: a class of m examples gives each part floor(m share) or ceil(m share) of them,
    and so do all N. Who lands where depends on the labels alone and never on `seed`, so that a model trained
    under one seed is not tested on its own training images under another; `seed` only orders the train part.
    Held-out parts keep the order of the file. Raises DataError unless 0 < share < 1/2 and every part has an example.
    """
    assert parts in (1, 2)
    n = len(split)
    if not 0 < share < Fraction(1, 2):
        raise DataError(f"the share that is held out of training lies between 0 and 0.5, not {float(share):g}: {place}")
    least = ceil(1 / share)
    if n < least:
        what = "a tenth" if share == TENTH else f"{float(share):g} of the images"
        raise DataError(f"holding {what} out of training needs at least {least} images, not {n}: {place}")
    shuffled = permutation(n, seed=0, epoch=0, stream=Stream.MEMBERSHIP)
    by_class = shuffled[np.argsort(split.labels[shuffled], kind="stable")]
    # Example i of the list sorted by class is held out where the whole part of i * share grows at i + 1, as at every
    # tenth: strata without counting them. Those of the part before are one earlier, and none is in both: growing
    # places lie at least two apart, the share being below a half.
    a, b = share.as_integer_ratio()
    ends = (np.arange(n + parts, dtype=np.int64) * a) // b
    grows = np.append(np.diff(ends) > 0, False)
    held = [grows[parts - 1 - part :][:n] for part in range(parts)]
    train = split.take(np.sort(by_class[~np.logical_or.reduce(held)]))
    return shuffle(train, seed=seed), *(split.take(np.sort(by_class[mask])) for mask in held)


def divide(
    train: Split, validation: Split | None, test: Split | None, *, seed: int, place: str, share: Fraction = TENTH
) -> tuple[Split, Split, Split]:
    """(train, validation, test) of what there is: without a test split both are held out, else validation is.

    Train comes in the order that `seed` draws. `validation` goes with `test`. Raises DataError as `hold_out` does.
    """
    if test is None:
        train, validation, test = hold_out(train, 2, seed=seed, place=place, share=share)
        return train, validation, test
    if validation is None:
        train, validation = hold_out(train, 1, seed=seed, place=place, share=share)
        return train, validation, test
    return shuffle(train, seed=seed), validation, test


def shuffle(train: Split, *, seed: int) -> Split:
    """`train` in an order drawn from `seed`: files are often sorted by label."""
    return train.take(permutation(len(train), seed=seed, epoch=0, stream=Stream.TRAIN_ORDER))
