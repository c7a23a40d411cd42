"""A folder of data, whichever of the forms it has."""

from __future__ import annotations

from pathlib import Path

from convc.data import cifar, idx, image_folder
from convc.data.dataset import Dataset
from convc.errors import DataError


def load_folder(folder: Path, *, seed: int) -> Dataset:
    """IDX files, CIFAR's .bin files or images by class, as they are stored. Raises DataError."""
    if idx.is_one(folder):
        return idx.load(folder, seed=seed)
    if found := cifar.find(folder):
        return cifar.load(*found, seed=seed)
    if image_folder.is_one(folder):
        return image_folder.load(folder, seed=seed)
    raise DataError(
        f"a folder of data holds IDX files ({idx.EXAMPLE} and so on), CIFAR's .bin files (data_batch_1.bin and so on) "
        f"or a folder of images for each class; this holds none: {folder}"
    )


def load_resized(folder: Path, shape: tuple[int, int, int], *, seed: int, leave_out: str) -> Dataset:
    """Images by class, brought to `shape` (C, H, W). Raises DataError; `leave_out` says what to do for other data."""
    if idx.is_one(folder) or cifar.find(folder):
        raise DataError(f"only images by class are brought to a size, and this holds others: {folder}; {leave_out}")
    return image_folder.load(folder, seed=seed, shape=shape)
