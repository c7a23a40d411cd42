"""Folders of IDX files, as MNIST and Fashion-MNIST are published.

An IDX file is two zero bytes, the element type (8: uint8), the number of dimensions, each dimension as a
big-endian uint32, then the elements in row-major order (LeCun, Cortes, Burges, "The MNIST database", file
formats).
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from convc.build.files import check_memory, read_whole
from convc.data.dataset import Dataset, Split, make_split
from convc.data.deflate import MOST_PACKED
from convc.data.hold_out import hold_out
from convc.errors import DataError

CLASSES = 10  # the format does not say, and both data sets have ten
EXAMPLE = "train-images-idx3-ubyte"
_GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08


def load(folder: Path, *, seed: int) -> Dataset:
    """Read the four files of `folder`; a stratified tenth of train becomes validation, t10k is test.

    Names: {train,t10k}-{images-idx3,labels-idx1}-ubyte, a dot allowed for the dash before `idx`, with or
    without `.gz`. `seed` orders the train split. Raises DataError for anything missing, damaged or
    inconsistent.
    """
    train, validation = hold_out(_read_pair(folder, "train"), 1, seed=seed, place=str(folder))
    return Dataset(folder.resolve().name, train, validation, _read_pair(folder, "t10k"), CLASSES)


def is_one(folder: Path) -> bool:
    """Whether `folder` holds a file that is called as IDX files are; one that is missing is `load`'s to report."""
    return any(os.path.isfile(folder / name) for part in ("train", "t10k") for names in _names(part) for name in names)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of `dimensions` dimensions in an IDX file, gzipped or not. Raises DataError."""
    return parse_idx(read_whole(path), dimensions, str(path))


def parse_idx(raw: bytes, dimensions: int, place: str) -> np.ndarray:
    """The uint8 array of `dimensions` dimensions in the bytes of an IDX file, read from `place`.

    Gzip is told by its first two bytes, since downloads are often unpacked under the packed name; no more of it is
    unpacked than the header speaks of. Raises DataError for a damaged gzip stream, another element type or rank, a
    length that is not what the header says, and one that no memory holds.
    """
    packed = raw.startswith(_GZIP_MAGIC)
    stream = gzip.GzipFile(fileobj=io.BytesIO(raw)) if packed else io.BytesIO(raw)
    size = 4 + 4 * dimensions
    header = _take(stream, size, place)
    if len(header) < size:
        raise DataError(
            f"an IDX file of {dimensions} dimensions begins with {size} bytes of header, "
            f"this has {len(header)} bytes in all: {place}; fetch it again"
        )
    magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
    expected = _UINT8 << 8 | dimensions
    if magic != expected:
        raise DataError(
            f"an IDX file of uint8 in {dimensions} dimensions begins with 0x{expected:08x}, "
            f"this begins with 0x{magic:08x}: {place}"
        )
    if 0 in shape:
        raise DataError(f"an IDX file must have no dimension 0, this is of shape {shape}: {place}")
    elements = math.prod(shape)
    rule = f"an IDX file of shape {shape} has {size + elements} bytes"
    if packed and elements > MOST_PACKED * len(raw):
        raise DataError(f"{rule}, which no gzip file of {len(raw)} bytes unpacks to: {place}; fetch it again")
    check_memory(elements, f"{elements} bytes of images or labels", place)
    body = _take(stream, elements + 1, place)  # one more, which must not be there
    if len(body) != elements:
        length = "more" if packed and len(body) > elements else size + len(body)
        raise DataError(f"{rule}, this has {length if packed else len(raw)}: {place}; fetch it again")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape).copy()


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of a uint8 array. Raises DataError for another dtype."""
    if array.dtype != np.uint8:
        raise DataError(f"an IDX file of images or labels holds uint8, not {array.dtype}; give data of bytes")
    header = struct.pack(f">{1 + array.ndim}I", _UINT8 << 8 | array.ndim, *array.shape)
    return header + np.ascontiguousarray(array).tobytes()


def _take(stream: io.BufferedIOBase, most: int, place: str) -> bytes:
    """The next bytes, at most so many; fewer at the end, where gzip compares its checksum."""
    try:
        return stream.read(most)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"damaged gzip file ({error}): {place}; fetch it again") from error


def _names(part: str) -> list[list[str]]:
    """What the file of images, and that of labels, may be called."""
    kinds = (("images", "idx3-ubyte"), ("labels", "idx1-ubyte"))
    return [[f"{part}-{what}{dash}{kind}{packed}" for dash in "-." for packed in ("", ".gz")] for what, kind in kinds]


def _read_pair(folder: Path, part: str) -> Split:
    images_path, labels_path = (_find(folder, names) for names in _names(part))
    place = f"{images_path} and {labels_path.name}"
    return make_split(read_idx(images_path, 3), read_idx(labels_path, 1), CLASSES, place)


def _find(folder: Path, names: list[str]) -> Path:
    for name in names:
        if os.path.isfile(folder / name):
            return folder / name
    raise DataError(f"a folder of IDX files must hold one of {', '.join(names)}; there is none: {folder}")
