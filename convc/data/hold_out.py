"""Holding parts of a data set out of training, class by class."""

from __future__ import annotations

import numpy as np

from convc.data.dataset import Split
from convc.data.order import Stream, permutation
from convc.errors import DataError


def hold_out(split: Split, parts: int, *, seed: int, place: str) -> tuple[Split, ...]:
    """Hold `parts` tenths out: (what is left to train on, held-out part 1, ..., held-out part `parts`).

    Every part is stratified: a class of m examples gives each part floor(m / 10) or ceil(m / 10) of them,
    and each part is floor(N / 10) in all. Who lands where depends on the labels alone and never on `seed`,
    so that a model trained under one seed is not tested on its own training images under another; `seed`
    only orders the train part. Held-out parts keep the order of the file. Raises DataError where N < 10.
    """
    n = len(split)
    if n < 10:
        raise DataError(f"holding a tenth out of training needs at least 10 images, not {n}: {place}")
    shuffled = permutation(n, seed=0, epoch=0, stream=Stream.MEMBERSHIP)
    by_class = shuffled[np.argsort(split.labels[shuffled], kind="stable")]
    # Every tenth example of the list sorted by class: strata without counting them.
    slot = np.arange(n) % 10
    train = split.take(np.sort(by_class[slot < 10 - parts]))
    held = (split.take(np.sort(by_class[slot == 10 - parts + part])) for part in range(parts))
    return shuffle(train, seed=seed), *held


def shuffle(train: Split, *, seed: int) -> Split:
    """`train` in an order drawn from `seed`: files are often sorted by label."""
    return train.take(permutation(len(train), seed=seed, epoch=0, stream=Stream.TRAIN_ORDER))
