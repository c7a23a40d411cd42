"""Split, Dataset, normalisation and holding out."""

import numpy as np
import pytest

from convc.data import Dataset, Split
from convc.data.dataset import make_split
from convc.data.hold_out import hold_out, shuffle
from convc.errors import DataError


def random_split(n, *, channels=2, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, channels, 3, 4)).astype(dtype)
    return Split(images, (np.arange(n) % 3).astype(np.int32))


def numbered(labels):
    """A split whose images tell their row: image i is the number i."""
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    return Split(images, np.array(labels, dtype=np.int32))


def rows(split):
    return split.images.ravel().astype(int).tolist()


def test_image_shape():
    data = Dataset("d", random_split(6), random_split(3), random_split(4), 3)
    assert data.image_shape == (2, 3, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalized_is_zero_mean_unit_deviation_over_train(dtype):
    data = Dataset(
        "d",
        random_split(1500, dtype=dtype),  # more rows than the statistics take at a time
        random_split(30, dtype=dtype, seed=1),
        random_split(9, dtype=dtype, seed=2),
        3,
    )
    moved = data.normalized()
    scale = 255.0 if dtype == np.uint8 else 1.0
    train = data.train.images / np.float64(scale)
    mean = train.mean(axis=(0, 2, 3), keepdims=True)
    std = train.std(axis=(0, 2, 3), keepdims=True)
    for part, split in moved.parts().items():
        assert split.images.dtype == np.float32
        expected = (data.parts()[part].images / np.float64(scale) - mean) / std
        # Values up to 2 through three float32 roundings, of which the mean's is magnified by mean / std < 2.
        np.testing.assert_allclose(split.images, expected, atol=10 * np.finfo(np.float32).eps)
        assert np.array_equal(split.labels, data.parts()[part].labels)


def test_normalized_leaves_the_original_alone():
    data = Dataset("d", random_split(6), random_split(3), random_split(4), 3)
    before = data.train.images.copy()
    data.normalized()
    assert data.train.images.dtype == np.uint8
    assert np.array_equal(data.train.images, before)


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 77), (np.float32, 0.1)])
def test_a_constant_channel_is_only_centred(dtype, value):
    images = random_split(30).images.astype(dtype)
    images[:, 1] = value
    train = Split(images, np.zeros(30, dtype=np.int32))
    other = images.copy()
    other[:, 1] = 0
    data = Dataset("d", train, Split(other, train.labels), train, 1).normalized()
    assert np.all(data.train.images[:, 1] == 0)
    expected = -np.float32(value) / np.float32(255 if dtype == np.uint8 else 1)
    assert np.all(data.validation.images[:, 1] == expected)
    assert abs(data.train.images[:, 0].std(dtype=np.float64) - 1) < 1e-5


def test_make_split_gives_grey_images_a_channel_and_labels_int32():
    split = make_split(np.zeros((2, 5, 6), np.uint8), np.array([1, 0], np.uint64), 2, "here")
    assert split.images.shape == (2, 1, 5, 6)
    assert split.labels.dtype == np.int32
    assert split.labels.tolist() == [1, 0]


GOOD_IMAGES, GOOD_LABELS = np.zeros((3, 1, 2, 2), np.uint8), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("images", "labels", "rule"),
    [
        (GOOD_IMAGES.astype(np.float64), GOOD_LABELS, "images must be uint8 or float32, not float64: here"),
        (GOOD_IMAGES.astype(">f4"), GOOD_LABELS, "not >f4: here"),
        (
            GOOD_IMAGES[:, 0, 0],
            GOOD_LABELS,
            r"\[N, C, H, W\] or \[N, H, W\], no dimension 0, not \[3, 2\]: here",
        ),
        (GOOD_IMAGES[:0], GOOD_LABELS[:0], r"not \[0, 1, 2, 2\]: here"),
        (GOOD_IMAGES[:, :, :, :0], GOOD_LABELS, r"not \[3, 1, 2, 0\]: here"),
        (GOOD_IMAGES, GOOD_LABELS.astype(float), r"labels must be integers \[N\], not float64 \[3\]: here"),
        (GOOD_IMAGES, GOOD_LABELS.astype(bool), r"not bool \[3\]: here"),
        (GOOD_IMAGES, GOOD_LABELS[:, None], r"not int64 \[3, 1\]: here"),
        (GOOD_IMAGES, GOOD_LABELS[:2], "images are 3 and labels 2: here"),
        (GOOD_IMAGES, np.array([0, 9, 10]), "0 <= label < 10, but label 2 is 10: here"),
        (GOOD_IMAGES, np.array([0, -1, 10]), "label 1 is -1: here"),
        (GOOD_IMAGES, np.array([0, 2**64 - 1, 0], np.uint64), "label 1 is 18446744073709551615: here"),
    ],
)
def test_make_split_refuses(images, labels, rule):
    with pytest.raises(DataError, match=rule) as caught:
        make_split(images, labels, 10, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_images_must_be_finite(poison):
    images = GOOD_IMAGES.astype(np.float32)
    images[1, 0, 1, 1] = poison
    with pytest.raises(DataError, match="image 1 has NaN or infinity: here"):
        make_split(images, GOOD_LABELS, 10, "here")


def test_a_label_that_int32_cannot_hold_is_refused_whatever_the_classes():
    with pytest.raises(DataError, match="0 <= label < 2147483647, but label 0 is 4294967296"):
        make_split(GOOD_IMAGES, np.array([2**32, 0, 0]), 2**40, "here")


def test_split_and_dataset_built_by_hand_are_checked_too():
    with pytest.raises(DataError, match="must be int32"):
        Split(GOOD_IMAGES, GOOD_LABELS)
    grey = Split(GOOD_IMAGES, np.array([0, 1, 2], np.int32))
    with pytest.raises(DataError, match="0 <= label < 2, but label 2 is 2: d, validation"):
        Dataset("d", grey.take(np.array([0, 1])), grey, grey, 2)
    with pytest.raises(DataError, match=r"train has uint8 \[1, 2, 2\] and test has uint8 \[2, 3, 4\]: d"):
        Dataset("d", grey, grey, random_split(3), 3)
    floats = Split(GOOD_IMAGES.astype(np.float32), grey.labels)
    with pytest.raises(DataError, match=r"train has uint8 .* and test has float32"):
        Dataset("d", grey, grey, floats, 3)


@pytest.mark.parametrize("parts", [1, 2])
def test_hold_out_is_stratified_and_disjoint(parts):
    labels = np.repeat([0, 1, 2, 3], [57, 10, 33, 103])
    tenths = np.bincount(labels) // 10
    train, *held = hold_out(numbered(labels), parts, seed=0, place="here")
    assert sorted(row for part in (train, *held) for row in rows(part)) == list(range(203))
    for part in held:
        assert len(part) == 203 // 10
        counts = np.bincount(part.labels, minlength=4)
        assert np.all((counts == tenths) | (counts == tenths + 1))
        assert rows(part) == sorted(rows(part))
    for part in (train, *held):
        assert np.array_equal(labels[rows(part)], part.labels)


def test_the_seed_orders_train_and_moves_nobody():
    source = numbered(np.arange(60) % 3)
    first, held = hold_out(source, 1, seed=0, place="here")
    other, held_again = hold_out(source, 1, seed=1, place="here")
    assert rows(held) == rows(held_again)
    assert sorted(rows(first)) == sorted(rows(other))
    assert rows(first) != rows(other)
    assert rows(first) != sorted(rows(first))
    assert rows(shuffle(source, seed=4)) == rows(shuffle(source, seed=4)) != rows(shuffle(source, seed=5))


def test_hold_out_needs_ten():
    assert len(hold_out(numbered([0] * 10), 1, seed=0, place="here")[1]) == 1
    with pytest.raises(DataError, match="at least 10 images, not 9: here"):
        hold_out(numbered([0] * 9), 1, seed=0, place="here")


def test_names_of_classes_are_none_or_one_each():
    split = random_split(6)
    assert Dataset("d", split, split, split, 3).class_names == ()
    assert Dataset("d", split, split, split, 3, ("a", "b", "c")).normalized().class_names == ("a", "b", "c")
    with pytest.raises(DataError, match="every class needs a name or none, but 2 of 3 have one: d"):
        Dataset("d", split, split, split, 3, ("a", "b"))
