"""Labelled images: one split, and a data set of three. What gets in here has been checked."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from convc.build.files import check_memory
from convc.checks import instance, seed_of, shape_of, shown, whole
from convc.data.normalisation import Normalisation
from convc.data.thumbnails import strip
from convc.errors import DataError
from convc.show import paragraph, wrapped
from convc.table import Table, first

MOST_SHOWN = 20
"""Classes that a notebook shows."""
_IMAGE_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32))
_LEAST_SIDE = 8  # of square images with their channels last: such a number of channels beside a width of 1 or 3 is none


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

    def __repr__(self) -> str:
        return f"Split: {len(self)} images, {self.images.dtype} {_kind(self.images.shape[1:])}"

    def _repr_html_(self) -> str:
        return strip(self.images) + paragraph(repr(self))

    def take(self, rows: np.ndarray) -> Split:
        """The rows with these indices (integers [M]), in this order, as a copy."""
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits over the same `classes` classes and of one image shape and dtype; DataError otherwise.

    `class_names` has the name of each label where the source gives names, and is empty where it does not.
    `normalisation`: the numbers that all images were moved by, where `normalized` made this data set.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    class_names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None

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

    @classmethod
    def from_arrays(
        cls,
        x_train: Any,
        y_train: Any,
        x_test: Any = None,
        y_test: Any = None,
        *,
        x_val: Any = None,
        y_val: Any = None,
        validation: float = 0.1,
        class_names: Sequence[str] = (),
        name: str = "arrays",
        seed: int = 0,
    ) -> Dataset:
        """A data set of arrays in memory.

        x: uint8 or floats (which become float32), [N, C, H, W] or [N, H, W]. y: integers [N], or texts, which are
        numbered by `class_names`, or, without these, by the sorted texts of y_train. Where validation or test is not
        given, the share `validation` (0 < share < 0.5) of the training images becomes each of them that is missing:
        stratified, the same images for every `seed`, which only orders what is left to train on. Raises DataError for
        what is inconsistent, missing or of another kind.
        """
        from convc.data.arrays import from_arrays  # which makes what is defined here

        return from_arrays(
            x_train, y_train, x_test, y_test, x_val=x_val, y_val=y_val, validation=validation,
            class_names=class_names, name=name, seed=seed,
        )  # fmt: skip

    @classmethod
    def from_folder(cls, path: str | PathLike[str], size: Sequence[int] | None = None, *, seed: int = 0) -> Dataset:
        """A data set of a folder: images in a folder for each class, IDX files as MNIST's, or CIFAR's .bin files.

        `size`: the (C, H, W) that images by class are brought to, C being 1 or 3; None: they are of one size. See
        convc.data.image_folder for how the folder is divided. Raises DataError for anything missing, damaged or
        inconsistent.
        """
        from convc.data.folder import load_folder, load_resized  # which make what is defined here

        seed, folder = seed_of(seed, error=DataError), Path(path).expanduser()
        if not os.path.isdir(folder):
            raise DataError(f"there is no folder {folder}; give the one that holds a folder for each class")
        if size is None:
            return load_folder(folder, seed=seed)
        shape = shape_of(size, "the size of images", remedy="give (C, H, W)", error=DataError)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise DataError(f"the size of images is (C, H, W), C being 1 or 3, such as (3, 64, 64), not {shown(size)}")
        return load_resized(folder, (shape[0], shape[1], shape[2]), seed=seed, leave_out="leave out size")

    def table(self) -> Table:
        """How many images of each class the splits hold."""
        names = self.class_names or tuple(map(str, range(self.classes)))
        counts = [np.bincount(s.labels, minlength=self.classes) for s in self.parts().values()]
        rows = ((name, *(str(part[c]) for part in counts)) for c, name in enumerate(names))
        shown = first(rows, MOST_SHOWN, self.classes)
        return Table(repr(self), ("class", *self.parts()), shown, tuple(self.parts()))

    def __repr__(self) -> str:
        images = ", ".join(f"{len(split)} {part}" for part, split in self.parts().items())
        kind = f"{self.train.images.dtype} {_kind(self.image_shape)}"
        normal = [f"normalised: {self.normalisation}"] if self.normalisation else []
        return wrapped(f"Dataset {self.name}: {images} images, {kind}, {self.classes} classes", *normal)

    def _repr_html_(self) -> str:
        return strip(self.train.images) + self.table().html()

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
        nothing is learnt from them; the result keeps these as its `normalisation`. A channel that is constant over
        train is only centred. A data set that was normalised before comes back as it is.
        """
        if self.normalisation is not None:
            return self
        count = sum(map(len, self.parts().values()))
        check_memory(4 * count * math.prod(self.image_shape), f"{count} images as float32", self.name)
        numbers = Normalisation.of(self.train.images)

        def moved(split: Split) -> Split:
            return Split(numbers.apply(split.images), split.labels)

        parts = moved(self.train), moved(self.validation), moved(self.test)
        return replace(self, train=parts[0], validation=parts[1], test=parts[2], normalisation=numbers)


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


def _kind(shape: Sequence[int]) -> str:
    """`1x28x28`."""
    return "x".join(map(str, shape))
