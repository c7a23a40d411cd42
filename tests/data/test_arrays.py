"""`Dataset.from_arrays` and `Dataset.from_folder`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convc.data import Dataset, Split, load
from convc.data.hold_out import hold_out
from convc.errors import DataError

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (60, 5, 4), np.uint8), np.arange(60) % 3


def numbers(split: Split) -> list[int]:
    """Which rows of X these are."""
    return [next(i for i, x in enumerate(X) if np.array_equal(x, image[0])) for image in split.images]


def test_without_test_a_share_each_is_held_out_the_same_for_every_seed() -> None:
    first, other = (Dataset.from_arrays(X, Y, seed=seed) for seed in (0, 7))
    assert [len(s) for s in first.parts().values()] == [48, 6, 6]
    assert sorted(row for s in first.parts().values() for row in numbers(s)) == list(range(60))
    assert np.array_equal(first.test.images, other.test.images)
    assert np.array_equal(first.validation.images, other.validation.images)
    assert numbers(first.train) != numbers(other.train)
    assert sorted(numbers(first.train)) == sorted(numbers(other.train))
    assert np.bincount(first.test.labels).tolist() == [2, 2, 2]


def test_the_same_as_a_file_of_these_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y, x_test=X[:9], y_test=Y[:9])
    a, b = load(tmp_path / "d.npz", seed=3), Dataset.from_arrays(X, Y, X[:9], Y[:9], seed=3)
    for p, q in zip(a.parts().values(), b.parts().values()):
        assert np.array_equal(p.images, q.images)
        assert np.array_equal(p.labels, q.labels)


def test_given_parts_stay_what_they_are() -> None:
    data = Dataset.from_arrays(X, Y, X[:9], Y[:9], x_val=X[9:21], y_val=Y[9:21])
    assert numbers(data.test) == list(range(9))
    assert numbers(data.validation) == list(range(9, 21))
    assert len(data.train) == 60


def test_a_share_of_a_fifth() -> None:
    data = Dataset.from_arrays(X, Y, X[:9], Y[:9], validation=0.2)
    assert [len(s) for s in data.parts().values()] == [48, 12, 9]
    assert np.bincount(data.validation.labels).tolist() == [4, 4, 4]


@given(st.integers(2, 300), st.integers(1, 6), st.fractions(Fraction(1, 50), Fraction(49, 100)), st.integers(1, 2))
def test_every_part_holds_its_share_of_every_class(n: int, classes: int, share: Fraction, parts: int) -> None:
    labels = (np.arange(n) * 7 % classes).astype(np.int32)
    split = Split(np.arange(n, dtype=np.float32).reshape(-1, 1, 1, 1), labels)
    if n < 1 / share:
        with pytest.raises(DataError, match="needs at least"):
            hold_out(split, parts, seed=0, place="here", share=share)
        return
    train, *held = hold_out(split, parts, seed=0, place="here", share=share)
    rows = np.concatenate([s.images.ravel() for s in (train, *held)])
    assert sorted(rows) == list(range(n))
    for part in held:
        assert abs(len(part) - n * share) < 1
        for c in range(classes):
            assert abs((part.labels == c).sum() - (labels == c).sum() * share) < 1


def test_labels_that_are_text_are_numbered() -> None:
    names = np.array(["cat", "dog", "ant"])
    data = Dataset.from_arrays(X, names[Y])
    assert data.class_names == ("ant", "cat", "dog")
    assert all(data.class_names[label] == names[Y[i]] for i, label in zip(numbers(data.test), data.test.labels))
    data = Dataset.from_arrays(X, names[Y].astype(object), class_names=("dog", "ant", "cat", "eel"))
    assert (data.classes, data.class_names[2]) == (4, "cat")
    assert all(data.class_names[label] == names[Y[i]] for i, label in zip(numbers(data.train), data.train.labels))


def test_floats_become_float32() -> None:
    data = Dataset.from_arrays(X / 255, Y)
    assert data.train.images.dtype == np.float32


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "integers": (lambda: Dataset.from_arrays(X.astype(int), Y), "x_train must be uint8 .0..255. or floats, not int64"),
    "no array": (lambda: Dataset.from_arrays([[1], [2, 3]], Y), "x_train must be an array"),
    "channels last": (lambda: Dataset.from_arrays(np.zeros((60, 9, 9, 3), np.uint8), Y), "give images.transpose"),
    "counts": (lambda: Dataset.from_arrays(X, Y[:-1]), "images are 60 and labels 59: x_train and y_train"),
    "one of two": (lambda: Dataset.from_arrays(X, Y, X), "x_test and y_test go together, and y_test was not given"),
    "val alone": (lambda: Dataset.from_arrays(X, Y, x_val=X, y_val=Y), "x_val goes with x_test"),
    "share": (lambda: Dataset.from_arrays(X, Y, validation=0.5), "between 0 and 0.5, not 0.5: x_train of arrays"),
    "negative share": (lambda: Dataset.from_arrays(X, Y, validation=-0.1), "between 0 and 0.5, not -0.1"),
    "too few": (lambda: Dataset.from_arrays(X[:9], Y[:9]), "a tenth out of training needs at least 10 images, not 9"),
    "fewer names": (lambda: Dataset.from_arrays(X, Y, class_names=("a", "b")), "0 <= label < 2, but label 2 is 2"),
    "names": (lambda: Dataset.from_arrays(X, Y, class_names="abc"), "class names are a tuple of texts"),
    "names twice": (lambda: Dataset.from_arrays(X, Y, class_names=["a", "b", "a"]), "but 'a' comes twice"),
    "unknown text": (
        lambda: Dataset.from_arrays(X, np.array(list("abc"))[Y], X[:2], np.array(["a", "x"])),
        r"but y_test\[1\] is 'x'",
    ),
    "float labels": (lambda: Dataset.from_arrays(X, Y / 2), r"y_train must be integers \[N\]"),
    "infinite": (lambda: Dataset.from_arrays(np.full((60, 5, 4), 1e300), Y), "image 0 has NaN or infinity"),
    "seed": (lambda: Dataset.from_arrays(X, Y, seed=-1), "a seed is a whole number"),
    "no folder": (lambda: Dataset.from_folder("none"), "there is no folder none"),
    "size": (lambda: Dataset.from_folder(".", 28), "the size of images is whole numbers"),
    "size of two": (lambda: Dataset.from_folder(".", (28, 28)), r"\(C, H, W\), C being 1 or 3, such as .*, not \(28"),
    "arrays for a name": (lambda: load(X), "Dataset.from_arrays"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_one_line(what: str) -> None:
    call, rule = REFUSED[what]
    with pytest.raises(DataError, match=rule) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_folder_is_what_load_reads(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    for size, spec in ((None, str(tmp_path)), ((1, 4, 4), f"{tmp_path}:1x4x4")):
        a, b = Dataset.from_folder(tmp_path, size, seed=2), load(spec, seed=2)
        assert a.class_names == ("cat", "dog")
        assert np.array_equal(a.train.images, b.train.images)
        assert a.image_shape == (size or (3, 6, 8))
