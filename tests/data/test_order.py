"""Orders and batches: reproducible from numbers alone, nothing lost, nothing twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc.data import Split, batches, epoch_order
from convc.data.order import Stream, permutation
from convc.errors import DataError


@pytest.fixture(scope="module")
def split():
    labels = np.arange(10, dtype=np.int32)
    return Split(labels.astype(np.uint8).reshape(10, 1, 1, 1), labels)


def test_the_scheme_is_pinned():
    # A resumed run needs these numbers to stay what they are, from one NumPy to the next.
    assert epoch_order(10, seed=0, epoch=0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert epoch_order(10, seed=0, epoch=1).tolist() == [5, 3, 7, 8, 2, 4, 1, 0, 6, 9]
    assert epoch_order(5, seed=2**64 - 1, epoch=3).tolist() == [3, 2, 0, 1, 4]


@given(st.integers(1, 300), st.integers(0, 2**64 - 1), st.integers(0, 10**6))
def test_epoch_order_is_a_permutation_that_its_numbers_name(n, seed, epoch):
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(order, epoch_order(n, seed=seed, epoch=epoch))


def test_seed_epoch_and_stream_each_change_the_order():
    orders = {
        tuple(permutation(50, seed=seed, epoch=epoch, stream=stream))
        for seed in range(3)
        for epoch in range(3)
        for stream in Stream
    }
    assert len(orders) == 3 * 3 * len(Stream)


def test_every_place_is_equally_likely():
    visits = np.zeros((6, 6), dtype=int)
    for epoch in range(1200):
        visits[np.arange(6), epoch_order(6, seed=3, epoch=epoch)] += 1
    # 36 counts of mean 200 and standard deviation below 13: five of them.
    assert np.abs(visits - 200).max() < 65


@pytest.mark.parametrize(
    ("numbers", "rule"),
    [
        ({"n": 0, "seed": 0, "epoch": 0}, "in an order is a whole number of at least 1, not 0"),
        ({"n": 3, "seed": -1, "epoch": 0}, r"a seed is a whole number from 0 to 2\^64 - 1, not -1"),
        ({"n": 3, "seed": 2**64, "epoch": 0}, r"from 0 to 2\^64 - 1, not 18446744073709551616"),
        ({"n": 3, "seed": 0, "epoch": -2}, r"an epoch is a whole number from 0 to 2\^64 - 1, not -2"),
        ({"n": 3, "seed": 1.5, "epoch": 0}, r"from 0 to 2\^64 - 1, not 1.5"),
        ({"n": 3, "seed": True, "epoch": 0}, r"from 0 to 2\^64 - 1, not True"),
        ({"n": 3, "seed": 0, "epoch": 1.0}, r"an epoch is a whole number .*, not 1.0"),
    ],
)
def test_numbers_out_of_range(numbers, rule):
    with pytest.raises(DataError, match=rule):
        epoch_order(**numbers)


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 10), (4, [4, 4, 2]), (5, [5, 5]), (64, [10])])
@pytest.mark.parametrize("ordered", [False, True])
def test_batches_are_consecutive_and_the_last_may_be_partial(split, batch, sizes, ordered):
    order = epoch_order(10, seed=1, epoch=0) if ordered else None
    seen = list(batches(split, batch, order=order))
    assert [len(labels) for _, labels in seen] == sizes
    assert [images.shape for images, _ in seen] == [(size, 1, 1, 1) for size in sizes]
    labels = np.concatenate([labels for _, labels in seen])
    assert np.array_equal(labels, np.arange(10) if order is None else order)
    assert np.array_equal(np.concatenate([images for images, _ in seen]).ravel(), labels)


def test_batches_without_an_order_share_memory(split):
    images, _ = next(batches(split, 4, order=None))
    assert np.shares_memory(images, split.images)


def test_batches_visit_the_rows_of_a_partial_order(split):
    seen = [labels.tolist() for _, labels in batches(split, 2, order=np.array([7, 7, 0]))]
    assert seen == [[7, 7], [0]]


@pytest.mark.parametrize(
    ("batch", "order", "rule"),
    [
        (0, None, "in a batch is a whole number of at least 1, not 0"),
        (2, np.array([0.0, 1.0]), r"integer indices \[M\], not float64 \[2\]"),
        (2, np.array([[0, 1]]), r"not int64 \[1, 2\]"),
        (2, np.array([0, 10]), "0 <= index < 10, but index 1 is 10"),
        (2, np.array([3, 2, -1]), "index 2 is -1"),
    ],
)
def test_bad_batches_are_refused_at_the_call(split, batch, order, rule):
    with pytest.raises(DataError, match=rule):
        batches(split, batch, order=order)
