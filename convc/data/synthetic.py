"""Images of any size that a model can learn: a pattern for each class, and noise."""

from __future__ import annotations

import math
import re

import numpy as np

from convc.data.dataset import Dataset, Split, empty_images
from convc.data.hold_out import hold_out
from convc.data.order import Stream, generator
from convc.errors import DataError

NAME = "synthetic"
FORM = f"{NAME}:CxHxW:classes:count"
_DEFAULT = f"{NAME}:1x28x28:10:5000"
_PARTS = re.compile(rf"{NAME}:([0-9]{{1,9}})x([0-9]{{1,9}})x([0-9]{{1,9}}):([0-9]{{1,9}}):([0-9]{{1,9}})")
_CELLS = 7  # of a pattern, a side: coarse enough to outlast pooling


def load(spec: str, *, seed: int) -> Dataset:
    """`count` images, uint8 [C, H, W], as many of each class as of any other, or one more.

    `spec` is "synthetic", which stands for synthetic:1x28x28:10:5000, or "synthetic:CxHxW:classes:count". A
    tenth each becomes validation and test. An image is the mean of its class's pattern, at most 7x7 cells a
    channel, and of noise; both are bytes of `np.random.Philox` under a fixed key, so that the pixels are the
    same on every machine. `seed` orders the train split and moves no pixel: weights that were trained under
    one seed can be measured under another. Raises DataError for a spec of another form, a number that is 0,
    fewer than 2 classes, fewer than 10 images of a class, and more than fits memory.
    """
    channels, height, width, classes, count = _parse(_DEFAULT if spec == NAME else spec)
    images = empty_images(count, (channels, height, width), spec)
    labels = (np.arange(count) % classes).astype(np.int32)
    words = generator(seed=0, epoch=0, stream=Stream.SYNTHETIC)
    cells = _bytes(words, (classes, channels, _CELLS, _CELLS)).astype(np.uint16)
    rows, columns = (np.arange(size) * _CELLS // size for size in (height, width))
    for image, label in zip(images, labels):
        image[:] = (cells[label][:, rows[:, None], columns] + _bytes(words, image.shape)) // 2
    train, validation, test = hold_out(Split(images, labels), 2, seed=seed, place=spec)
    return Dataset(spec, train, validation, test, classes)


def _parse(spec: str) -> list[int]:
    found = _PARTS.fullmatch(spec)
    numbers = [int(part) for part in found.groups()] if found else []
    if not numbers or 0 in numbers:
        raise DataError(
            f"a synthetic data set is {FORM}, whole numbers of at least 1 and at most 9 digits "
            f"such as {NAME}:3x32x32:10:5000, not {spec!r}"
        )
    classes, count = numbers[3:]
    if classes < 2:
        raise DataError(f"a synthetic data set has at least 2 classes, not {classes}: {spec}")
    if count < 10 * classes:  # so that every class is in every split
        raise DataError(
            f"a synthetic data set has at least 10 images of a class, and {classes} classes have "
            f"{count}: {spec}; ask for {10 * classes}"
        )
    return numbers


def _bytes(words: np.random.Philox, shape: tuple[int, ...]) -> np.ndarray:
    """The next bytes of the generator, from a whole word on, its low byte first: uint8 of this shape."""
    size = math.prod(shape)
    return words.random_raw(-(-size // 8)).astype("<u8").view(np.uint8)[:size].reshape(shape)
