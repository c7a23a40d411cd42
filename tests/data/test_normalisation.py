"""The numbers of a normalisation: kept by the data set, exact through JSON, and applied alike everywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc.data import Dataset, Normalisation, Split
from convc.errors import DataError

SINGLE = st.floats(-1e3, 1e3, width=32)
POSITIVE = st.floats(2.0**-20, 1e3, width=32)


def dataset(dtype: type) -> Dataset:
    rng = np.random.default_rng(3)

    def split(n: int) -> Split:
        return Split(rng.integers(0, 256, (n, 2, 5, 4)).astype(dtype), (np.arange(n) % 3).astype(np.int32))

    return Dataset("d", split(30), split(6), split(5), 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_data_set_keeps_the_numbers_that_moved_it(dtype: type) -> None:
    data = dataset(dtype)
    moved = data.normalized()
    assert data.normalisation is None
    assert moved.normalisation == Normalisation.of(data.train.images)
    assert moved.normalisation.scaled == (dtype is np.uint8)
    for part, split in moved.parts().items():
        assert np.array_equal(split.images, moved.normalisation.apply(data.parts()[part].images))
    assert moved.normalized() is moved


@given(st.lists(st.tuples(SINGLE, POSITIVE), min_size=1, max_size=4), st.booleans())
def test_through_json_not_a_bit_changes(numbers: list[tuple[float, float]], scaled: bool) -> None:
    mean, std = zip(*numbers)
    made = Normalisation(mean, std, scaled)
    assert Normalisation.from_json(json.loads(json.dumps(made.as_json()))) == made
    images = np.arange(len(mean) * 6, dtype=np.float32).reshape(1, -1, 2, 3)
    read = (images - np.float32(mean).reshape(1, -1, 1, 1)) / np.float32(std).reshape(1, -1, 1, 1)
    assert np.array_equal(made.apply(images), read)


@pytest.mark.parametrize(
    ("mean", "std", "rule"),
    [
        ((), (), "for each channel, not 0 and 0"),
        ((1.0,), (1.0, 2.0), "not 1 and 2"),
        ((float("nan"),), (1.0,), "a mean of a normalisation is a finite number, not nan"),
        ((0.0,), (0.0,), "a deviation of a normalisation is a positive number, not 0.0"),
        ((0.0,), (1e-60,), "a positive deviation"),
        (("a",), (1.0,), "not 'a'"),
    ],
)
def test_numbers_that_are_none_are_refused(mean: tuple[float, ...], std: tuple[float, ...], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        Normalisation(mean, std, True)
