"""IDX folders: what is read, and that nothing but DataError comes out of broken bytes."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc import data
from convc.data.idx import parse_idx
from convc.errors import DataError

TRAIN, TEST = 40, 7


def idx_bytes(array):
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


IMAGES = np.arange(2 * 3 * 4).reshape(2, 3, 4)
VALID = idx_bytes(IMAGES)


def write_folder(folder, *, joint="-", packed=False):
    """A folder of four IDX files; image i of a part is filled with i, its label is i mod 10."""
    folder.mkdir(exist_ok=True)
    for part, n in (("train", TRAIN), ("t10k", TEST)):
        images = np.arange(n)[:, None, None] * np.ones((1, 5, 6), int)
        for kind, array in (("images", images), ("labels", np.arange(n) % 10)):
            raw = idx_bytes(array)
            name = f"{part}-{kind}{joint}idx{array.ndim}-ubyte" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
    return folder


@pytest.mark.parametrize("joint", ["-", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_reads_a_folder(tmp_path, joint, packed):
    folder = write_folder(tmp_path / "digits", joint=joint, packed=packed)
    dataset = data.load(str(folder))
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("digits", 10, (1, 5, 6))
    assert [len(split) for split in dataset.parts().values()] == [36, 4, TEST]
    assert np.array_equal(dataset.test.images[:, 0, 0, 0], np.arange(TEST))
    for split in dataset.parts().values():
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert np.array_equal(split.images[:, 0, 4, 5] % 10, split.labels)
    together = np.concatenate([dataset.train.images, dataset.validation.images])[:, 0, 0, 0]
    assert np.array_equal(np.sort(together), np.arange(TRAIN))


def test_a_file_unpacked_under_its_packed_name_is_read(tmp_path):
    folder = write_folder(tmp_path, packed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert len(data.load(str(folder)).train) == 36


@pytest.mark.parametrize(
    "name",
    [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ],
)
def test_missing_file(tmp_path, name):
    write_folder(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"must hold one of {name}, {name}\.gz, .*; there is none: /"):
        data.load(str(tmp_path))


def test_unreadable_file(tmp_path, monkeypatch):
    write_folder(tmp_path)

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*train-images-idx3-ubyte: Permission denied"):
        data.load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "raw", "rule"),
    [
        ("train-images-idx3-ubyte", b"", "begins with 16 bytes of header, this has 0 bytes in all"),
        ("train-labels-idx1-ubyte", VALID[:7], "begins with 8 bytes of header, this has 7 bytes"),
        ("train-images-idx3-ubyte", VALID[:-1], r"of shape \[2, 3, 4\] has 40 bytes, this has 39"),
        ("train-images-idx3-ubyte", VALID + b"\0", r"has 40 bytes, this has 41"),
        ("train-images-idx3-ubyte", idx_bytes(np.zeros((0, 5, 6))), r"no dimension 0, .* shape \[0, 5, 6\]"),
        ("train-images-idx3-ubyte", idx_bytes(np.zeros(40)), "with 0x00000803, this begins with 0x00000801"),
        ("t10k-labels-idx1-ubyte", VALID, "begins with 0x00000801, this begins with 0x00000803"),
        ("t10k-labels-idx1-ubyte", b"\0\0\x0d\x01" + bytes(8), "this begins with 0x00000d01"),
        ("train-images-idx3-ubyte", gzip.compress(VALID, mtime=0)[:-9], "damaged gzip file"),
        ("train-images-idx3-ubyte", b"\x1f\x8b", "damaged gzip file"),
        (
            "train-labels-idx1-ubyte",
            idx_bytes(np.zeros(39)),
            "are 40 and labels 39: .*train-images.* and train-labels",
        ),
        ("train-labels-idx1-ubyte", idx_bytes(np.arange(40)), "0 <= label < 10, but label 10 is 10"),
    ],
)
def test_damaged_file(tmp_path, name, raw, rule):
    write_folder(tmp_path)
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=rule) as caught:
        data.load(str(tmp_path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_train_and_test_of_different_sizes(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((TEST, 5, 5))))
    with pytest.raises(DataError, match=r"train has uint8 \[1, 5, 6\] and test has uint8 \[1, 5, 5\]"):
        data.load(str(tmp_path))


def test_too_few_to_hold_out(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(VALID)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(2)))
    with pytest.raises(DataError, match="at least 10 images, not 2"):
        data.load(str(tmp_path))


def parse_or_refuse(raw, dimensions):
    """The array, or None where `raw` is refused with one line; any other exception escapes."""
    try:
        return parse_idx(raw, dimensions, "here")
    except DataError as error:
        line = str(error)
    assert "\n" not in line
    return None


def test_valid_bytes_give_the_array_back():
    for raw in (VALID, gzip.compress(VALID, mtime=0)):
        array = parse_idx(raw, 3, "here")
        assert array.dtype == np.uint8
        assert array.flags.writeable
        assert np.array_equal(array, IMAGES)


@given(st.binary(max_size=200), st.sampled_from([1, 3]))
def test_random_bytes_are_refused(raw, dimensions):
    array = parse_or_refuse(raw, dimensions)
    assert array is None or idx_bytes(array) == raw


@given(st.tuples(*[st.sampled_from([0, 1, 2, 2**16, 2**31, 2**32 - 1])] * 3), st.binary(max_size=9))
def test_any_header_with_the_right_magic(shape, body):
    array = parse_or_refuse(struct.pack(">4I", 0x0803, *shape) + body, 3)
    assert (array is None) == (0 in shape or np.prod(shape, dtype=object) != len(body))


@pytest.mark.parametrize("raw", [VALID, gzip.compress(VALID, mtime=0)])
def test_every_truncation_is_refused(raw):
    assert [stop for stop in range(len(raw)) if parse_or_refuse(raw[:stop], 3) is not None] == []


@given(st.booleans(), st.data())
def test_flipped_bytes_never_raise_anything_else(packed, data):
    raw = bytearray(gzip.compress(VALID, mtime=0) if packed else VALID)
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=3)):
        raw[place] ^= data.draw(st.integers(1, 255))
    array = parse_or_refuse(bytes(raw), 3)
    assert array is None or array.size == IMAGES.size
