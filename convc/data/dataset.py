"""Labelled images: one split, and a data set of three. What gets in here has been checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from convc.build.files import check_memory
from convc.checks import instance, whole
from convc.errors import DataError

_IMAGE_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32))
_LEAST_SIDE = 8  # of square images with their channels last: such a number of channels beside a width of 1 or 3 is none
_ROWS_AT_A_TIME = 1024  # bounds the float64 temporaries of the statistics


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, row by row; DataError unless both have the form given here and N >= 1."""

    images: np.ndarray  # uint8 or float32 [N, C, H, W]
    labels: np.ndarray  # int32 [N]

    def __post_init__(self) -> None:
        check_images(self.images, "split")
        instance(self.labels, np.ndarray, "labels of a split are a NumPy array, int32 [N]", error=DataError)
        if self.labels.dtype != np.int32:
            raise DataError(f"labels of a split must be int32 [N], not {self.labels.dtype}")
        check_pairing(self.images, self.labels, "split")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Split:
        """The rows with these indices (integers [M]), in this order, as a copy."""
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits over the same `classes` classes and of one image shape and dtype; DataError otherwise.

    `class_names` has the name of each label where the source gives names, and is empty where it does not.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, split in self.parts().items():
            instance(split, Split, f"the part {part} of a data set is a convc.data.Split", error=DataError)
        object.__setattr__(self, "classes", whole(self.classes, "the number of classes", 1, error=DataError))
        names = len(self.class_names)
        if names not in (0, self.classes):
            raise DataError(f"every class needs a name or none, but {names} of {self.classes} have one: {self.name}")
        for part, split in self.parts().items():
            check_labels(split.labels, self.classes, f"{self.name}, {part}")
            shape, dtype = split.images.shape[1:], split.images.dtype
            if (shape, dtype) != (self.image_shape, self.train.images.dtype):
                raise DataError(
                    f"every split must hold images of the same kind, but train has {self.train.images.dtype} "
                    f"{list(self.image_shape)} and {part} has {dtype} {list(shape)}: {self.name}"
                )

    def parts(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def normalized(self) -> Dataset:
        """The same data as float32 with mean 0 and standard deviation 1 per channel over the train split.

        uint8 images are scaled to [0, 1] first. Validation and test are moved by train's numbers, so that
        nothing is learnt from them. A channel that is constant over train is only centred.
        """
        count = sum(map(len, self.parts().values()))
        check_memory(4 * count * math.prod(self.image_shape), f"{count} images as float32", self.name)
        mean, std = channel_statistics(self.train.images)

        def moved(split: Split) -> Split:
            return Split(_standardise(split.images, mean, std), split.labels)

        return replace(self, train=moved(self.train), validation=moved(self.validation), test=moved(self.test))


def empty_images(n: int, shape: tuple[int, int, int], place: str) -> np.ndarray:
    """Room for n images of `shape` (C, H, W): uint8 [N, C, H, W]. Raises DataError for more than all memory."""
    check_memory(n * math.prod(shape), f"{n} images of {'x'.join(map(str, shape))}", place)
    return np.empty((n, *shape), np.uint8)


def make_split(images: np.ndarray, labels: np.ndarray, classes: int, place: str) -> Split:
    """Check arrays as read from `place` and bring them into a split's form.

    `images`: uint8 or float32, [N, C, H, W] or [N, H, W], the latter taken as C = 1. `labels`: any integer
    dtype, [N]. Raises DataError for another dtype or rank, for NaN or infinity, for unequal counts and for a
    label outside 0 <= label < classes, naming the first.
    """
    if images.ndim == 3:
        images = images[:, None]
    check_images(images, place)
    check_pairing(images, labels, place)
    check_labels(labels, classes, place)
    return Split(np.ascontiguousarray(images), labels.astype(np.int32))


def check_images(images: np.ndarray, place: str) -> None:
    """Raise DataError unless `images` is a finite, non-empty uint8 or float32 [N, C, H, W]."""
    instance(images, np.ndarray, f"images are a NumPy array, uint8 or float32 [N, C, H, W]: {place}", error=DataError)
    if images.dtype not in _IMAGE_DTYPES:
        raise DataError(f"images must be uint8 or float32, not {images.dtype}: {place}")
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(f"images must be [N, C, H, W] or [N, H, W], no dimension 0, not {list(images.shape)}: {place}")
    _, channels, height, width = images.shape
    if width in (1, 3) and channels == height >= _LEAST_SIDE:
        raise DataError(
            f"images must be [N, C, H, W], and {list(images.shape)} looks like [N, H, W, C]; give "
            f"images.transpose(0, 3, 1, 2): {place}"
        )
    if images.dtype == np.float32 and not np.isfinite(images).all():
        first = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[0])
        raise DataError(f"images must be finite, but image {first} has NaN or infinity: {place}")


def check_pairing(images: np.ndarray, labels: np.ndarray, place: str) -> None:
    """Raise DataError unless `labels` is integers [N], one for each of the N images."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"labels must be integers [N], not {labels.dtype} {list(labels.shape)}: {place}")
    check_counts(len(images), len(labels), place)


def check_counts(images: int, labels: int, place: str) -> None:
    """Raise DataError unless there are as many labels as images."""
    if labels != images:
        raise DataError(f"every image needs one label, but images are {images} and labels {labels}: {place}")


def check_labels(labels: np.ndarray, classes: int, place: str) -> None:
    """Raise DataError, naming the first offender, unless 0 <= label < classes throughout `labels` [N]."""
    bound = min(classes, np.iinfo(np.int32).max)  # a split keeps labels as int32
    offenders = np.flatnonzero((labels < 0) | (labels >= bound))
    if offenders.size:
        first = int(offenders[0])
        raise DataError(f"labels must be integers, 0 <= label < {bound}, but label {first} is {labels[first]}: {place}")


def _as_float(images: np.ndarray) -> np.ndarray:
    """A float32 copy, uint8 scaled to [0, 1]."""
    scaled = images.astype(np.float32)
    if images.dtype == np.uint8:
        scaled /= 255
    return scaled


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of `_as_float(images)` per channel: float32 [1, C, 1, 1] each."""
    blocks = [images[row : row + _ROWS_AT_A_TIME] for row in range(0, len(images), _ROWS_AT_A_TIME)]
    axes, count = (0, 2, 3), images.size // images.shape[1]
    shape = (1, -1, 1, 1)
    total = sum(_as_float(block).sum(axis=axes, dtype=np.float64) for block in blocks)
    mean = np.reshape(total / count, shape)
    squares = sum(np.square(_as_float(block) - mean).sum(axis=axes) for block in blocks)
    # Asked of the data: the sum of squares of a constant channel may miss 0 by a rounding.
    constant = images.min(axis=axes) == images.max(axis=axes)
    std = np.where(constant, 1.0, np.sqrt(squares / count)).reshape(shape)
    return mean.astype(np.float32), std.astype(np.float32)


def _standardise(images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    moved = _as_float(images)
    moved -= mean
    moved /= std
    return moved
