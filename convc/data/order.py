"""Which example comes when: permutations that depend on numbers alone, and batches cut from them.

A permutation of n is the stable argsort of the first n words of Philox4x64-10 under the key (seed, epoch),
with the top word of the counter naming what the permutation is for. Nothing else enters: a run that resumes
at epoch 7 sees the order that an unbroken run saw there. The raw words of the generator are used rather than
`Generator.permutation`, because NumPy promises to keep only the former the same from release to release.

Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import numpy as np

from convc.build.files import check_memory
from convc.checks import instance, seed_of, whole
from convc.data.dataset import Split
from convc.errors import DataError

_WORD = 2**64


class Stream(IntEnum):
    """What a permutation, or any other draw, is for; streams of one seed have no word of a counter in common."""

    EPOCH = 0
    MEMBERSHIP = 1
    TRAIN_ORDER = 2
    SYNTHETIC = 3
    AUGMENT = 4


def permutation(n: int, *, seed: int, epoch: int, stream: Stream) -> np.ndarray:
    """The permutation of 0..n-1 that (n, seed, epoch, stream) name: int64 [n].

    Raises DataError unless n >= 1 and seed and epoch fit 64 bits unsigned.
    """
    n = whole(n, "the number of examples in an order", 1, error=DataError)
    check_memory(24 * n, "the words and indices of so many examples", "an order")
    seed = seed_of(seed, error=DataError)
    epoch = whole(epoch, "an epoch", 0, _WORD - 1, error=DataError)
    words = generator(seed, epoch, stream).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64)


def generator(seed: int, epoch: int, stream: Stream) -> np.random.Philox:
    """The source of the words, uint64, that (seed, epoch, stream) name; each fits 64 bits unsigned."""
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, stream], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter)


def epoch_order(n: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order in which epoch `epoch` of a run with `seed` visits n examples: a permutation, int64 [n].

    The scheme: take the first n 64-bit words of `np.random.Philox(key=[seed, epoch], counter=0)`, a
    counter-based generator; the order is their stable argsort. It depends on (seed, epoch, n) only, so that
    a resumed run visits what an unbroken one would have, and no generator state is saved. Raises DataError
    unless n >= 1, seed >= 0 and epoch >= 0.
    """
    return permutation(n, seed=seed, epoch=epoch, stream=Stream.EPOCH)


def batches(split: Split, batch: int, *, order: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut `split` into consecutive batches, in `order` (integer indices [M]; None: as it stands, no copy).

    Yields (images [B, C, H, W], labels int32 [B]) with B = `batch`, save for the last, which holds what is
    left. Raises DataError, at the call, for batch < 1 and for an order that is not a list of indices into
    the split.
    """
    batch = whole(batch, "the number of examples in a batch", 1, error=DataError)
    if order is not None:
        _check_order(order, len(split))
    return _cut(split, batch, order)


def _cut(split: Split, batch: int, order: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    total = len(split) if order is None else len(order)
    for start in range(0, total, batch):
        stop = min(start + batch, total)
        rows = slice(start, stop) if order is None else order[start:stop]
        yield split.images[rows], split.labels[rows]


def _check_order(order: np.ndarray, n: int) -> None:
    instance(order, np.ndarray, "an order is integer indices [M] in a NumPy array", error=DataError)
    if order.ndim != 1 or order.dtype.kind not in "iu":
        raise DataError(f"an order must be integer indices [M], not {order.dtype} {list(order.shape)}")
    # Negative indices would wrap round in NumPy and visit an example twice.
    outside = np.flatnonzero((order < 0) | (order >= n))
    if outside.size:
        place = int(outside[0])
        raise DataError(f"an order must hold indices with 0 <= index < {n}, but index {place} is {order[place]}")
