"""Folders of CIFAR-10 and CIFAR-100 in their binary version.

A file is records without a header: a label byte (CIFAR-100: the coarse label, then the fine one), then 3072
pixels, 32x32 in red, in green and in blue (Krizhevsky, "Learning multiple layers of features from tiny
images", 2009).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convc.build.files import read_whole
from convc.data.dataset import Dataset, Split, check_labels, make_split
from convc.data.hold_out import hold_out
from convc.errors import DataError

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Kind:
    """One of the two: how its files are called, and the classes that each label byte of a record counts."""

    name: str
    folder: str  # in the archive as published
    train: tuple[str, ...]
    test: str
    labels: tuple[int, ...]  # the last is the one to learn
    names: str


KINDS = (
    Kind(
        "CIFAR-10",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        (10,),
        "batches.meta.txt",
    ),
    Kind("CIFAR-100", "cifar-100-binary", ("train.bin",), "test.bin", (20, 100), "fine_label_names.txt"),
)


def find(folder: Path) -> tuple[Path, Kind] | None:
    """Where the files are, `folder` or the published folder in it, and of which kind; None if nowhere.

    One file is enough, so that a missing one is reported as missing. Raises DataError where the pickled
    version is there instead.
    """
    for kind in KINDS:
        for place in (folder, folder / kind.folder):
            if any(os.path.isfile(place / name) for name in (*kind.train, kind.test)):
                return place, kind
    for place in (folder, folder / "cifar-10-batches-py"):
        if os.path.isfile(place / "data_batch_1"):
            raise DataError(
                f"CIFAR is read in its binary version (data_batch_1.bin and so on), "
                f"and this is the pickled one: {place}; fetch the binary one"
            )
    return None


def load(folder: Path, kind: Kind, *, seed: int) -> Dataset:
    """Read the files of `folder`; a stratified tenth of train becomes validation.

    Images are uint8 [3, 32, 32]; a file may hold any number of records, 10000 or 50000 as published. Names of
    the classes are taken from batches.meta.txt or fine_label_names.txt where it is there. `seed` orders the
    train split. Raises DataError for anything missing, damaged or inconsistent.
    """
    parts = [read_records(folder / name, kind) for name in kind.train]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts))
    whole = make_split(images, labels, kind.labels[-1], str(folder))
    del parts, images  # the copies that follow are what a run keeps
    train, validation = hold_out(whole, 1, seed=seed, place=str(folder))
    test = Split(*read_records(folder / kind.test, kind))
    return Dataset(folder.resolve().name, train, validation, test, kind.labels[-1], _class_names(folder, kind))


def read_records(path: Path, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """The images, uint8 [N, 3, 32, 32], and labels, int32 [N], of one file. Raises DataError."""
    raw = _read(path, f"{kind.name} needs {', '.join((*kind.train, kind.test))}")
    return parse_records(raw, kind, str(path))


def parse_records(raw: bytes, kind: Kind, place: str) -> tuple[np.ndarray, np.ndarray]:
    """The same, of the bytes of a file, read from `place`.

    Raises DataError for no record, for a length that is not a whole number of records, and for a label out
    of range.
    """
    marks = len(kind.labels)
    size = marks + _PIXELS
    if not raw or len(raw) % size:
        raise DataError(
            f"a file of {kind.name} is records of {size} bytes, at least one, and {len(raw)} bytes are "
            f"{len(raw) // size} records and {len(raw) % size} bytes: {place}; fetch it again"
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    for column, classes in enumerate(kind.labels):
        check_labels(records[:, column], classes, place)
    images = np.ascontiguousarray(records[:, marks:]).reshape(-1, *_SHAPE)
    return images, records[:, marks - 1].astype(np.int32)


def _class_names(folder: Path, kind: Kind) -> tuple[str, ...]:
    path = folder / kind.names
    if not os.path.isfile(path):
        return ()
    try:
        text = _read(path, kind.names).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"names of classes are UTF-8, and byte {error.start} is not: {path}") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != kind.labels[-1]:
        raise DataError(f"{kind.name} has {kind.labels[-1]} classes, a line each, and this names {len(names)}: {path}")
    return names


def _read(path: Path, rule: str) -> bytes:
    if not os.path.isfile(path):
        raise DataError(f"{rule}; there is no {path}")
    return read_whole(path)
