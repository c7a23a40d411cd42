"""Data sets of arrays that are in memory already: `Dataset.from_arrays`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from convc.checks import instance, real, seed_of, shown
from convc.data.dataset import Dataset, Split, make_split
from convc.data.hold_out import divide
from convc.errors import DataError

_DECIMALS = 10**6  # of the share that is held out: 0.1 is a tenth, and not the float next to it


def from_arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    x_val: Any = None,
    y_val: Any = None,
    validation: float = 0.1,
    class_names: Sequence[str] = (),
    name: str = "arrays",
    seed: int = 0,
) -> Dataset:
    """See `Dataset.from_arrays`."""
    given = {"train": (x_train, y_train), "test": (x_test, y_test), "val": (x_val, y_val)}
    instance(name, str, "the name of a data set is text", error=DataError)
    seed = seed_of(seed, error=DataError)
    share = Fraction(real(validation, "validation", error=DataError)).limit_denominator(_DECIMALS)
    for part, pair in given.items():
        missing = [f"{axis}_{part}" for axis, array in zip("xy", pair) if array is None]
        if len(missing) == 1:
            raise DataError(f"x_{part} and y_{part} go together, and {missing[0]} was not given; give both")
    if x_val is not None and x_test is None:
        raise DataError("x_val goes with x_test, which was not given; give it, or leave x_val out")
    arrays = {part: (_images(x, f"x_{part}"), np.asarray(y)) for part, (x, y) in given.items() if x is not None}
    names = _class_names(class_names, arrays["train"][1])
    classes = len(names) or classes_of(arrays["train"][1], name)

    def split(part: str) -> Split | None:
        if part not in arrays:
            return None
        images, labels = arrays[part]
        return make_split(images, _numbered(labels, names, f"y_{part}"), classes, f"x_{part} and y_{part}")

    train = split("train")
    assert train is not None
    parts = divide(train, split("val"), split("test"), seed=seed, place=f"x_train of {name}", share=share)
    return Dataset(name, *parts, classes, names)


def classes_of(labels: np.ndarray, place: str) -> int:
    """1 + the greatest label. Raises DataError where they are no integers [N], N >= 1."""
    if labels.dtype.kind not in "iu" or labels.size == 0:
        raise DataError(f"y_train must be integers [N] with N >= 1, not {labels.dtype} {list(labels.shape)}: {place}")
    return max(int(labels.max()), 0) + 1


def _images(given: Any, what: str) -> np.ndarray:
    """A uint8 or float32 array; float64 and float16 become float32. Raises DataError for anything else."""
    try:
        array = np.asarray(given)
    except Exception as error:  # whatever an array of another library, or nested lists that are no array, raise
        raise DataError(f"{what} must be an array, and {shown(given)} is none; give a NumPy array") from error
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what becomes infinite is refused as such
            return array.astype(np.float32, copy=False)
    if array.dtype != np.uint8:
        raise DataError(
            f"{what} must be uint8 (0..255) or floats, not {array.dtype} {list(array.shape)}; give "
            f"{what}.astype('uint8') where its numbers are pixels"
        )
    return array


def _class_names(given: Sequence[str], labels: np.ndarray) -> tuple[str, ...]:
    """The names that were given, or, where labels are text, those in train, sorted."""
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise DataError(f"class names are a tuple of texts, such as ('cat', 'dog'), not {shown(given)}; give one")
    names = tuple(given)
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DataError(f"class names must differ, but {twice!r} comes twice; rename one")
    if not names and _is_text(labels):
        return tuple(sorted(set(map(str, labels))))
    return names


def _numbered(labels: np.ndarray, names: tuple[str, ...], what: str) -> np.ndarray:
    """Texts by their number among the names; numbers stay. Raises DataError, naming the first unknown."""
    if not _is_text(labels):
        return labels
    number = {name: i for i, name in enumerate(names)}
    unknown = next((i for i, label in enumerate(labels) if str(label) not in number), None)
    if unknown is not None:
        raise DataError(
            f"labels must be those of y_train, or of class_names, but {what}[{unknown}] is {str(labels[unknown])!r}"
        )
    return np.array([number[str(label)] for label in labels], np.int32)


def _is_text(labels: np.ndarray) -> bool:
    return labels.ndim == 1 and (
        labels.dtype.kind == "U" or (labels.dtype.kind == "O" and all(isinstance(x, str) for x in labels))
    )
