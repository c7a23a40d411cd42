"""Small files that unpack to large ones are refused before they do."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from convc.build import memory
from convc.data import load
from convc.data.idx import parse_idx, read_idx
from convc.data.image_file import read_image
from convc.errors import DataError

MIB = 1 << 20


@contextmanager
def little_memory(most: int = 4 * MIB) -> Iterator[None]:
    """Nothing within takes more than `most` bytes at any moment, as Python and NumPy count them."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


def idx_header(*shape: int) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", 0x0800 | len(shape), *shape)


def test_gzip_that_unpacks_to_more_than_its_header_says(tmp_path: Path) -> None:
    bomb = gzip.compress(idx_header(10, 28, 28) + bytes(256 * MIB), 6)
    assert len(bomb) < MIB
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(bomb)
    with little_memory(), pytest.raises(DataError, match=r"shape \[10, 28, 28\] has 7856 bytes, this has more: "):
        read_idx(path, 3)


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (60000, 1000, 1000), (2000, 28, 28)])
def test_gzip_whose_header_says_more_than_it_can_hold(shape: tuple[int, ...]) -> None:
    bomb = gzip.compress(idx_header(*shape) + bytes(1000))
    with little_memory(), pytest.raises(DataError, match=r"which no gzip file of \d+ bytes unpacks to"):
        parse_idx(bomb, 3, "a place")


def test_gzip_of_more_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: MIB)
    bomb = gzip.compress(idx_header(2, 1024, 1024) + bytes(2 * MIB))
    with (
        little_memory(MIB),
        pytest.raises(DataError, match=r"data must fit memory, but \d+ bytes of images or labels take 2 MiB, and"),
    ):
        parse_idx(bomb, 3, "a place")


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"shape": shape, "fortran_order": False, "descr": dtype})
    return text.getvalue()


def npz(path: Path, x_train: bytes, labels: int = 20) -> Path:
    """A data set of which x_train is the bytes given."""
    y = np.arange(labels) % 2
    np.savez(path, y_train=y, x_test=np.zeros((2, 4, 4), np.uint8), y_test=np.array([0, 1]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", x_train)
    return path


def test_zip_whose_header_says_less_than_the_archive(tmp_path: Path) -> None:
    bomb = npz(tmp_path / "a.npz", npy_header((20, 4, 4), "|u1") + bytes(256 * MIB))
    assert bomb.stat().st_size < MIB
    with (
        little_memory(),
        pytest.raises(DataError, match=r"x_train is uint8 \[20, 4, 4\] of 320 bytes .* and 268435456"),
    ):
        load(str(bomb))


def test_zip_of_more_images_than_labels(tmp_path: Path) -> None:
    bomb = npz(tmp_path / "a.npz", npy_header((MIB, 16, 16), "|u1") + bytes(256 * MIB))
    with little_memory(), pytest.raises(DataError, match="images are 1048576 and labels 20"):
        load(str(bomb))


def test_zip_whose_directory_lies(tmp_path: Path) -> None:
    """The directory and the array's header speak of 256 MiB; a few hundred bytes are there."""
    path = npz(tmp_path / "a.npz", npy_header((20, 4096, 3277), "|u1") + bytes(100))
    size = 20 * 4096 * 3277 + len(npy_header((20, 4096, 3277), "|u1"))
    data = bytearray(path.read_bytes())
    entry = data.index(b"x_train.npy", data.index(b"PK\1\2")) - 46
    data[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(data)
    with little_memory(), pytest.raises(DataError, match=r"x_train has \d+ bytes, which no \d+ packed ones unpack to"):
        load(str(path))


def test_zip_of_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path / "a.npz", npy_header((20, 256, 512), "|u1") + bytes(20 * 256 * 512))
    monkeypatch.setattr(memory, "available", lambda: MIB)
    with little_memory(), pytest.raises(DataError, match=r"the arrays, unpacked, take .*: \S+a\.npz"):
        load(str(path))


def test_a_long_header_is_not_read_to_its_end(tmp_path: Path) -> None:
    long = b"\x93NUMPY\2\0" + (200 * MIB).to_bytes(4, "little") + b" " * (200 * MIB)
    with little_memory(), pytest.raises(DataError, match="x_train is damaged or not plain"):
        load(str(npz(tmp_path / "a.npz", long)))


def test_an_image_of_many_pixels(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(64 * MIB))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    for shape in (None, (1, 8, 8)):
        with little_memory(), pytest.raises(DataError, match=r"bomb.png .*900000000 pixels"):
            read_image(path, shape)
