"""Folders of images, in a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from convc.data.dataset import Dataset, Split, empty_images
from convc.data.hold_out import divide
from convc.data.image_file import SUFFIXES, read_image
from convc.errors import DataError

_PARTS = ("train", "val", "test")
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Form:
    """The (C, H, W) of all images: asked for, or that of `first`, the first one."""

    shape: Shape
    first: Path | None = None

    def read(self, path: Path) -> np.ndarray:
        """uint8 [C, H, W] of this shape; raises DataError for an image of another one."""
        pixels = read_image(path, None if self.first else self.shape)
        if pixels.shape != self.shape:
            raise DataError(
                f"images must be of one size and kind, but {path} is {_text(pixels.shape)} and {self.first} is "
                f"{_text(self.shape)}; FOLDER:CxHxW brings all to one"
            )
        return pixels


def load(folder: Path, *, seed: int, shape: Shape | None = None) -> Dataset:
    """Read FOLDER/train/CLASS/* with FOLDER/test/CLASS/*, FOLDER/val/CLASS/* or both; or FOLDER/CLASS/*.

    Labels number the sorted names of train's classes. Where there is no val, a stratified tenth of train becomes
    validation; where there is val and no test, val is the test split, and that tenth is validation again. Without a
    folder `train` of folders, a stratified tenth each becomes validation and test, the same images for every seed.

    Every file in a class's folder must be an image that `image_file.read_image` reads, as stored all of one size
    and kind, or brought to `shape` (C, H, W), C being 1 or 3. Files and folders that are hidden or links are
    passed over, as are files beside the class folders that are no images. Equal images are kept. `seed` orders
    the train split. Raises DataError, naming the file, for anything missing, damaged or inconsistent.
    """
    name = folder.resolve().name
    train_folder, others = _parts(folder)
    files = _class_files(train_folder)
    names = tuple(files)
    if len(names) < 2:
        raise DataError(
            f"a folder of images holds a folder for each of two or more classes, and this holds one, {names[0]!r}: "
            f"{train_folder}; give the folder that holds the classes, or add a class"
        )
    other_files = {part: _class_files(path) for part, path in others.items()}
    for part, held in other_files.items():
        unknown = [other for other in held if other not in files]
        if unknown:
            raise DataError(f"classes are those of {train_folder}, and {unknown[0]!r} is none of them: {others[part]}")
    first = files[names[0]][0]
    form = Form(shape) if shape else Form(_shape_of(read_image(first, None)), first)
    whole = _read(files, names, form, train_folder)
    read = {part: _read(held, names, form, others[part]) for part, held in other_files.items()}
    validation, test = read.get("val"), read.get("test")
    if test is None:
        validation, test = None, validation
    place = f"{train_folder}; give val and test" if read else str(folder)
    return Dataset(name, *divide(whole, validation, test, seed=seed, place=place), len(names), names)


def is_one(folder: Path) -> bool:
    """Whether `folder` holds a folder that is neither hidden nor a link."""
    return bool(_entries(folder)[0])


def _parts(folder: Path) -> tuple[Path, dict[str, Path]]:
    """The folder of classes to train on, and those of val and test where the data is divided already."""
    folders, _ = _entries(folder)
    train = folder / "train"
    # A folder `train` of images is a class of that name.
    if train not in folders or not is_one(train):
        return folder, {}
    unknown = [path.name for path in folders if path.name not in _PARTS]
    if unknown:
        raise DataError(f"beside train there may be val and test, and {unknown[0]!r} is none of them: {folder}")
    others = {path.name: path for path in folders if path != train}
    if not others:
        raise DataError(f"beside train there must be val, test or both, and there is none: {folder}; or give {train}")
    return train, others


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, both sorted by name."""
    folders, files = _entries(folder)
    stray = [path for path in files if _is_image(path)]
    if stray:
        raise DataError(f"images lie in the folder of their class, and this is beside them: {stray[0]}")
    if not folders:
        raise DataError(f"a folder of images holds a folder for each class, and this holds none: {folder}")
    return {path.name: _images(path) for path in folders}


def _images(folder: Path) -> list[Path]:
    folders, files = _entries(folder)
    if folders:
        raise DataError(f"the folder of a class holds images only, and this is a folder: {folders[0]}")
    if not files:
        raise DataError(f"the folder of a class holds at least one image, and this holds none: {folder}")
    for path in files:
        if not _is_image(path):
            raise DataError(
                f"the folder of a class holds images only ({', '.join(SUFFIXES)}), and this is none: {path}; "
                f"move or convert it"
            )
    return files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files in `folder` that are neither hidden nor links, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            seen = [e for e in entries if not e.name.startswith(".") and not e.is_symlink()]
        folders, files = ([e.name for e in seen if kind(e)] for kind in (os.DirEntry.is_dir, os.DirEntry.is_file))
        return [folder / name for name in sorted(folders)], [folder / name for name in sorted(files)]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error


def _read(files: Mapping[str, list[Path]], names: tuple[str, ...], form: Form, place: Path) -> Split:
    counts = [len(paths) for paths in files.values()]
    labels = np.repeat(np.array([names.index(name) for name in files], np.int32), counts)
    images = empty_images(len(labels), form.shape, str(place))
    for row, path in enumerate(chain.from_iterable(files.values())):
        images[row] = form.read(path)
    return Split(images, labels)


def _shape_of(pixels: np.ndarray) -> Shape:
    channels, height, width = pixels.shape
    return channels, height, width


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
