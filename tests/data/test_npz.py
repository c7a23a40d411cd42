"""Data sets from .npz files."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc import data
from convc.data import npz
from convc.errors import DataError


def arrays(n=30, *, shape=(2, 3, 4), dtype=np.uint8, **changes):
    """The four arrays; image i is filled with i, labels count 0, 1, 2."""
    ones = np.ones((1, *shape))
    rows = np.arange(n).reshape(-1, *[1] * len(shape))
    content = {
        "x_train": (rows * ones).astype(dtype),
        "y_train": np.arange(n) % 3,
        "x_test": (rows[:5] * ones).astype(dtype),
        "y_test": np.arange(5) % 3,
    }
    content.update(changes)
    return {key: value for key, value in content.items() if value is not None}


def save(folder, content, **options):
    path = folder / "mine.npz"
    np.savez(path, **content, **options)
    return str(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("shape", "expected"), [((2, 3, 4), (2, 3, 4)), ((3, 4), (1, 3, 4))])
def test_without_validation_a_tenth_of_train_is_held_out(tmp_path, dtype, shape, expected):
    dataset = data.load(save(tmp_path, arrays(shape=shape, dtype=dtype)))
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("mine", 3, expected)
    assert [len(split) for split in dataset.parts().values()] == [27, 3, 5]
    assert dataset.validation.labels.tolist().count(0) == 1
    for split in dataset.parts().values():
        assert (split.images.dtype, split.labels.dtype) == (dtype, np.int32)
        assert np.array_equal(split.images[:, 0, 0, 0] % 3, split.labels)


def test_given_validation_is_used_as_it_is(tmp_path):
    extra = {"x_val": np.full((4, 2, 3, 4), 9, np.uint8), "y_val": np.array([2, 1, 0, 2], np.int8)}
    path = save(tmp_path, arrays(**extra))
    dataset = data.load(path)
    assert [len(split) for split in dataset.parts().values()] == [30, 4, 5]
    assert dataset.validation.labels.tolist() == [2, 1, 0, 2]
    order = dataset.train.images[:, 0, 0, 0].tolist()
    assert sorted(order) == list(range(30)) != order
    assert order != data.load(path, seed=1).train.images[:, 0, 0, 0].tolist()


def test_other_keys_are_left_alone(tmp_path):
    assert data.load(save(tmp_path, arrays(names=np.array(["cat", "dog", "eel"])))).classes == 3


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"x_train": None}, "needs x_train, y_train, x_test, y_test; x_train missing"),
        ({"y_test": None, "x_test": None}, "x_test, y_test missing"),
        ({"y_val": np.zeros(3, int)}, "needs .*, x_val, y_val; x_val missing"),
        ({"x_valid": np.zeros(3)}, "'x_valid' is none of them"),
        ({"x_train": np.zeros((30, 2, 3, 4))}, "uint8 or float32, not float64: .*x_train and y_train"),
        ({"x_test": np.zeros((5, 4), np.uint8)}, r"not \[5, 4\]: .*x_test and y_test"),
        ({"y_train": np.zeros(30)}, r"y_train must be integers \[N\] with N >= 1, not float64 \[30\]"),
        ({"y_train": np.zeros(0, int)}, r"N >= 1, not int64 \[0\]"),
        ({"y_train": np.zeros((30, 1), int)}, r"labels must be integers \[N\], not int64 \[30, 1\]"),
        ({"y_train": np.array(["cat"] * 30)}, r"y_train must be integers \[N\] with N >= 1, not <U3"),
        ({"y_train": np.full(30, -1)}, "0 <= label < 1, but label 0 is -1"),
        ({"y_train": np.arange(29) % 3}, "images are 30 and labels 29"),
        ({"y_test": np.array([0, 1, 3, 0, 9])}, "0 <= label < 3, but label 2 is 3: .*y_test"),
        (
            {"x_test": np.zeros((5, 2, 4, 4), np.uint8)},
            r"train has uint8 \[2, 3, 4\] and test has .* \[2, 4, 4\]",
        ),
        ({"x_test": np.zeros((5, 2, 3, 4), np.float32)}, "train has uint8 .* and test has float32"),
        (
            {"y_train": np.array([{}] * 30, dtype=object)},
            "only plain arrays of numbers are read, and y_train",
        ),
        (arrays(n=9), "at least 10 images, not 9: .*; give x_val and y_val"),
    ],
)
def test_bad_content(tmp_path, changes, rule):
    path = save(tmp_path, arrays(**changes))
    with pytest.raises(DataError, match=rule) as caught:
        data.load(path)
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('unpickled')",))

    path = save(tmp_path, arrays(x_test=np.array([Bomb()] * 5, dtype=object)))
    with pytest.raises(DataError, match="only plain arrays of numbers are read, and x_test"):
        data.load(path)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match=r"no such file: .*gone\.npz"):
        data.load(str(tmp_path / "gone.npz"))


def test_not_a_zip(tmp_path):
    path = tmp_path / "array.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"a zip of arrays, as numpy\.savez writes it; this is not"):
        data.load(str(path))


def test_a_member_that_is_no_array(tmp_path):
    path = tmp_path / "text.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key in arrays():
            archive.writestr(f"{key}.npy", b"not an array")
    with pytest.raises(DataError, match=r"x_train must be an array in \.npy form, and is not"):
        data.load(str(path))


def packed_bytes():
    file = io.BytesIO()
    np.savez_compressed(file, **arrays())
    return file.getvalue()


VALID = packed_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("npz") / "fuzzed.npz"


@given(st.data())
def test_damage_never_raises_anything_else(scratch, data):
    raw = bytearray(VALID)
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[place] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(raw[: data.draw(st.integers(0, len(raw)) | st.just(len(raw)))])
    try:
        npz.load(scratch, seed=0)
        line = "read"
    except DataError as error:
        line = str(error)
    assert "\n" not in line


@given(st.binary(max_size=100))
def test_random_bytes_are_refused(scratch, raw):
    scratch.write_bytes(raw)
    with pytest.raises(DataError):
        npz.load(scratch, seed=0)
