"""Data sets of one's own, as a NumPy .npz file."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from convc.build.files import check_memory
from convc.data.arrays import classes_of
from convc.data.dataset import Dataset, Split, check_counts, make_split
from convc.data.deflate import MOST_PACKED
from convc.data.hold_out import divide
from convc.errors import DataError

_REQUIRED = ("x_train", "y_train", "x_test", "y_test")
_OPTIONAL = ("x_val", "y_val")
_MOST_HEADER = 1 << 16


def load(path: Path, *, seed: int) -> Dataset:
    """Read x_train, y_train, x_test, y_test and, both or neither, x_val, y_val.

    x: uint8 or float32, [N, C, H, W] or [N, H, W]; a trailing channel axis is not guessed. y: integers [N].
    There are 1 + max(y_train) classes. Without x_val, a stratified tenth of train becomes validation. `seed`
    orders the train split. Raises DataError for anything missing, damaged or inconsistent, and for pickled
    objects. Nothing is unpacked before the sizes that the file's headers speak of are checked.
    """
    arrays = _read(path)
    classes = classes_of(arrays["y_train"], str(path))

    def split(part: str) -> Split:
        place = f"{path}, x_{part} and y_{part}"
        return make_split(arrays[f"x_{part}"], arrays[f"y_{part}"], classes, place)

    train, test = split("train"), split("test")
    validation = split("val") if "x_val" in arrays else None
    parts = divide(train, validation, test, seed=seed, place=f"{path}, x_train; give x_val and y_val")
    return Dataset(path.stem, *parts, classes)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not os.path.isfile(path):
        raise DataError(f"no such file: {path}")
    try:
        # Opened here for its own error line: `is_zipfile` calls a file that it may not read "not a zip".
        with path.open("rb") as file:
            zipped = zipfile.is_zipfile(file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if not zipped:
        raise DataError(f"a .npz file is a zip of arrays, as numpy.savez writes it; this is not: {path}")
    try:
        archive = np.load(path, allow_pickle=False)
    except Exception as error:
        raise _unreadable(path, "the archive", error) from error
    with archive:
        _check_keys(archive.files, path)
        keys = [key for key in _REQUIRED + _OPTIONAL if key in archive.files]
        _check_sizes({key: _declared(archive, key, path) for key in keys}, path)
        return {key: _array(archive, key, path) for key in keys}


def _check_keys(keys: list[str], path: Path) -> None:
    wanted = _REQUIRED + (_OPTIONAL if set(_OPTIONAL) & set(keys) else ())
    missing = [key for key in wanted if key not in keys]
    if missing:
        raise DataError(f"a data set needs {', '.join(wanted)}; {', '.join(missing)} missing: {path}")
    # A misspelt x_val would otherwise be dropped and train be cut instead.
    unknown = [key for key in keys if key.startswith(("x_", "y_")) and key not in wanted]
    if unknown:
        known = ", ".join(_REQUIRED + _OPTIONAL)
        raise DataError(f"a data set may hold {known}; {unknown[0]!r} is none of them: {path}")


@dataclass(frozen=True)
class _Declared:
    """What an array's own header says, before anything else of it is unpacked."""

    shape: tuple[int, ...]
    nbytes: int


def _declared(archive: NpzFile, key: str, path: Path) -> _Declared:
    """Raises DataError where the header is none, and where it and the archive do not speak of the same size."""
    packed = archive.zip
    assert packed is not None  # as long as the archive is open
    info = packed.getinfo(f"{key}.npy" if f"{key}.npy" in packed.namelist() else key)
    try:
        with packed.open(info) as file:
            start = io.BytesIO(file.read(_MOST_HEADER))
        if not start.getvalue().startswith(np.lib.format.MAGIC_PREFIX):
            return _Declared((), 0)  # no array, and refused as such
        version = np.lib.format.read_magic(start)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(start)
    except Exception as error:
        raise _unreadable(path, key, error) from error
    size = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and start.tell() + size != info.file_size:
        raise DataError(
            f"{key} is {dtype} {list(shape)} of {size} bytes by its own header, and {info.file_size - start.tell()} "
            f"by the archive's: {path}; write it again"
        )
    if info.compress_type == zipfile.ZIP_DEFLATED and info.file_size > MOST_PACKED * (info.compress_size + 1):
        raise DataError(
            f"{key} has {info.file_size} bytes, which no {info.compress_size} packed ones unpack to: {path}; "
            "write it again"
        )
    return _Declared(shape, size)


def _check_sizes(declared: Mapping[str, _Declared], path: Path) -> None:
    """Raises DataError where images and labels do not pair, or all together are more than memory holds."""
    for part in ("train", "test", "val"):
        images, labels = (declared[f"{a}_{part}"].shape if f"{a}_{part}" in declared else () for a in "xy")
        if len(labels) == 1 and labels[0] and images:
            check_counts(images[0], labels[0], f"{path}, x_{part} and y_{part}")
    check_memory(sum(array.nbytes for array in declared.values()), "the arrays, unpacked,", str(path))


def _array(archive: NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        array = archive[key]
    except MemoryError:
        raise DataError(f"{key} does not fit the memory that is free: {path}; take less") from None
    except Exception as error:
        raise _unreadable(path, key, error) from error
    if not isinstance(array, np.ndarray):  # NumPy hands out the bytes of a member that is no array
        raise DataError(f"{key} must be an array in .npy form, and is not: {path}")
    return array


def _unreadable(path: Path, what: str, error: Exception) -> DataError:
    """Broken bytes surface from zipfile, zlib and NumPy as nearly any exception, all meaning the same."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"only plain arrays of numbers are read, and {what} is damaged or not plain ({reason}): {path}")
