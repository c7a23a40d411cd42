"""CIFAR's binary files: what is read, and that nothing but DataError comes out of broken bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc import data
from convc.data.cifar import KINDS, parse_records
from convc.errors import DataError

CIFAR10, CIFAR100 = KINDS
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def records(n, kind=CIFAR10, *, first=0):
    """n records; image i is filled with 10 c + i in channel c, its label is i mod the number of classes."""
    rows = np.arange(first, first + n)
    pixels = np.repeat((rows[:, None] + [0, 10, 20]) % 256, 1024, axis=1)
    marks = [rows[:, None] % classes for classes in kind.labels]
    return np.concatenate([*marks, pixels], axis=1).astype(np.uint8).tobytes()


def write_folder(folder, kind=CIFAR10, each=20):
    folder.mkdir(exist_ok=True, parents=True)
    for i, name in enumerate(kind.train):
        (folder / name).write_bytes(records(each, kind, first=each * i))
    (folder / kind.test).write_bytes(records(7, kind))
    return folder


VALID = records(2, CIFAR100)


def test_reads_cifar10(tmp_path):
    folder = write_folder(tmp_path / "small")
    dataset = data.load(str(folder))
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("small", 10, (3, 32, 32))
    assert dataset.class_names == ()
    assert [len(split) for split in dataset.parts().values()] == [90, 10, 7]
    assert np.array_equal(dataset.test.images[:, 0, 0, 0], np.arange(7))
    for split in dataset.parts().values():
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert np.array_equal(split.images[:, 2, 31, 31].astype(int), split.images[:, 0, 0, 0].astype(int) + 20)
        assert np.array_equal(split.images[:, 0, 5, 6] % 10, split.labels)
    together = np.concatenate([dataset.train.images, dataset.validation.images])[:, 0, 0, 0]
    assert np.array_equal(np.sort(together), np.arange(100))


def test_pixels_are_rows_of_one_channel_after_another(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    images, labels = parse_records(b"\x07" + pixels.tobytes(), CIFAR10, "here")
    assert np.array_equal(images, pixels[None])
    assert labels.tolist() == [7]


def test_the_fine_label_of_cifar100_is_learnt(tmp_path):
    dataset = data.load(str(write_folder(tmp_path, CIFAR100, 120)))
    assert (dataset.classes, len(dataset.train), len(dataset.validation)) == (100, 108, 12)
    assert np.array_equal(dataset.train.images[:, 0, 0, 0] % 100, dataset.train.labels)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_published_folder_is_found_from_above(tmp_path, kind):
    write_folder(tmp_path / kind.folder, kind)
    assert data.load(str(tmp_path)).name == kind.folder


def test_names_of_classes(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    dataset = data.load(str(folder))
    assert dataset.class_names == dataset.normalized().class_names == tuple(NAMES)


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"cat\ndog\n", "CIFAR-10 has 10 classes, a line each, and this names 2: .*batches.meta.txt"),
        (b"caf\xe9\n" * 10, "UTF-8, and byte 3 is not: .*batches.meta.txt"),
    ],
)
def test_bad_names_of_classes(tmp_path, raw, rule):
    (write_folder(tmp_path) / "batches.meta.txt").write_bytes(raw)
    with pytest.raises(DataError, match=rule):
        data.load(str(tmp_path))


@pytest.mark.parametrize("name", ["data_batch_1.bin", "data_batch_4.bin", "test_batch.bin"])
def test_missing_file(tmp_path, name):
    (write_folder(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=rf"CIFAR-10 needs data_batch_1.bin, .*; there is no /.*/{name}"):
        data.load(str(tmp_path))


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-py"])
def test_the_pickled_version_is_refused(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "data_batch_1").write_bytes(b"\x80\x02}q\x01")
    with pytest.raises(DataError, match=r"binary version .*, and this is the pickled one: .*; fetch the binary one"):
        data.load(str(tmp_path))


WRONG = {
    "empty": ("data_batch_2.bin", b"", "records of 3073 bytes, at least one, and 0 bytes are 0 records"),
    "truncated": ("data_batch_2.bin", records(3)[:-1], "9218 bytes are 2 records and 3072 bytes"),
    "too long": ("test_batch.bin", records(3) + b"\0", "9220 bytes are 3 records and 1 bytes"),
    "mislabelled": ("data_batch_5.bin", records(3) + b"\x0a" + bytes(3072), "label < 10, but label 3 is 10"),
    "of the other kind": ("test_batch.bin", records(4, CIFAR100), "12296 bytes are 4 records and 4 bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_damaged_file(tmp_path, case):
    name, raw, rule = WRONG[case]
    (write_folder(tmp_path) / name).write_bytes(raw)
    with pytest.raises(DataError, match=rule) as caught:
        data.load(str(tmp_path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_coarse_label_is_checked_too():
    with pytest.raises(DataError, match="label < 20, but label 1 is 20: here"):
        parse_records(VALID[:3074] + b"\x14" + VALID[3075:], CIFAR100, "here")


def test_unreadable_file(tmp_path, monkeypatch):
    write_folder(tmp_path)

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*data_batch_1.bin: Permission denied"):
        data.load(str(tmp_path))


def test_the_seed_orders_train_and_moves_nobody(tmp_path):
    folder = str(write_folder(tmp_path))
    first, again, other = (data.load(folder, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train.images, again.train.images)
    assert not np.array_equal(first.train.images, other.train.images)
    assert np.array_equal(first.validation.images, other.validation.images)


def parse_or_refuse(raw):
    """The labels, or None where `raw` is refused with one line; any other exception escapes."""
    try:
        return parse_records(raw, CIFAR100, "here")[1]
    except DataError as error:
        line = str(error)
    assert "\n" not in line
    return None


@given(st.data())
def test_damage_never_raises_anything_else(data):
    raw = bytearray(VALID)
    marks = st.sampled_from([0, 1, 3074, 3075])
    for place in data.draw(st.lists(marks | st.integers(0, len(raw) - 1), max_size=3)):
        raw[place] ^= data.draw(st.integers(1, 255))
    stop = data.draw(st.sampled_from([len(raw), 3074]) | st.integers(0, len(raw)))
    labels = parse_or_refuse(bytes(raw[:stop]))
    sound = stop in (3074, 6148) and all(raw[i] < 20 and raw[i + 1] < 100 for i in range(0, stop, 3074))
    assert (labels is not None) == sound


def test_every_truncation_is_refused_but_that_between_records():
    assert [stop for stop in range(len(VALID)) if parse_or_refuse(VALID[:stop]) is not None] == [3074]
