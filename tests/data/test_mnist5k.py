"""The data set that comes with the package."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from convc import data
from convc.errors import DataError


@pytest.fixture(scope="module")
def mnist5k():
    return data.load("mnist5k")


def test_form(mnist5k):
    assert (mnist5k.name, mnist5k.classes, mnist5k.image_shape) == ("mnist5k", 10, (1, 28, 28))
    for split, each in ((mnist5k.train, 400), (mnist5k.validation, 50), (mnist5k.test, 50)):
        assert split.images.shape == (10 * each, 1, 28, 28)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert np.bincount(split.labels).tolist() == [each] * 10


def test_the_splits_make_up_the_file(mnist5k):
    with np.load(resources.files("convc.data") / "mnist5k.npz") as arrays:
        whole = {(image.tobytes(), label) for image, label in zip(arrays["images"], arrays["labels"].tolist())}
    parts = [
        (image.tobytes(), label)
        for split in mnist5k.parts().values()
        for image, label in zip(split.images, split.labels.tolist())
    ]
    assert len(whole) == len(parts) == 5000
    assert set(parts) == whole


def test_the_digits_are_the_ones_that_the_note_names():
    note = (resources.files("convc.data") / "mnist5k.md").read_text(encoding="utf-8")
    with np.load(resources.files("convc.data") / "mnist5k.npz") as arrays:
        for name in ("images", "labels"):
            assert hashlib.sha256(arrays[name].tobytes()).hexdigest() in note


def test_train_is_shuffled_and_the_seed_says_how(mnist5k):
    changes = np.count_nonzero(np.diff(mnist5k.train.labels))
    assert changes > 3400  # 3600 expected of 3999 at random; 9 where sorted
    assert np.array_equal(mnist5k.train.images, data.load("mnist5k", seed=0).train.images)
    other = data.load("mnist5k", seed=1)
    assert not np.array_equal(mnist5k.train.labels, other.train.labels)
    assert np.array_equal(mnist5k.test.images, other.test.images)
    assert np.array_equal(mnist5k.validation.images, other.validation.images)


def test_who_is_tested_on_is_pinned(mnist5k):
    # A figure in the documentation is only comparable while these stay what they are.
    digest = hashlib.sha256(mnist5k.test.images.tobytes()).hexdigest()
    assert digest.startswith("bac7175603fe8e2f")


def test_normalized(mnist5k):
    train = mnist5k.normalized().train.images
    assert train.dtype == np.float32
    # float32 mean and std: relative errors of 2**-24 each, scaled by mean / std < 1.
    assert abs(train.mean(dtype=np.float64)) < 2**-22
    assert abs(train.std(dtype=np.float64) - 1) < 2**-22


@pytest.mark.parametrize("spec", ["", "mnist", "mnist5k.csv", "no/such/folder", "a\0b", "x" * 5000, "1\n2"])
def test_unknown_spec(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"mnist5k, .*folder of IDX files") as caught:
        data.load(spec)
    assert "\n" not in str(caught.value)


def test_bad_seed():
    with pytest.raises(DataError, match=r"from 0 to 2\^64 - 1, not -1"):
        data.load("mnist5k", seed=-1)
