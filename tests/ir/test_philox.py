"""Philox4x32-10 against the known answers of its authors' distribution, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.philox import fold_seed, philox4x32, uniform

KNOWN = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)
"""Counter, key, result: the file kat_vectors of Random123 (Salmon et al., 2011)."""


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(counter: str, key: str, result: str) -> None:
    assert [int(w) for w in philox4x32(words(counter), words(key))] == words(result)


def test_arrays_are_one_by_one() -> None:
    columns = [np.array(c) for c in zip(*(words(c) for c, _, _ in KNOWN))]
    keys = [np.array(k) for k in zip(*(words(k) for _, k, _ in KNOWN))]
    found = philox4x32(columns, keys)
    assert [[int(w[i]) for w in found] for i in range(3)] == [words(r) for _, _, r in KNOWN]


def test_a_uniform_number_is_the_first_words_top_24_bits() -> None:
    counter, key, _ = KNOWN[2]
    low, high, step, _ = words(counter)
    seed, stream = words(key)
    (first, *_) = philox4x32((low, high, step, 0), (seed, stream))
    signed = np.array(high << 32 | low, np.uint64).astype(np.int64)  # an index of 64 bits, words beyond 2^31
    found = uniform(signed, seed=seed - 2**32, stream=stream, step=np.float64(step))
    assert float(found) == (int(first) >> 8) / 2**24
    assert float(uniform(np.asarray(0), seed=0, stream=0, step=0)) == (words(KNOWN[0][2])[0] >> 8) / 2**24


def test_numbers_are_uniform_and_streams_unrelated() -> None:
    """2^20 numbers in 256 bins: the chi-square statistic has mean 255 and deviation sqrt(510), taken five times.
    The correlation of two independent sequences of n has deviation 1 / sqrt(n)."""
    n = 2**20
    index = np.arange(n)
    base = uniform(index, seed=7, stream=0, step=1)
    assert 0 <= base.min() < base.max() < 1
    counts = np.bincount((base * 256).astype(int), minlength=256)
    assert abs(((counts - n / 256) ** 2 / (n / 256)).sum() - 255) < 5 * np.sqrt(510)
    others = (
        uniform(index, seed=8, stream=0, step=1),
        uniform(index, seed=7, stream=1, step=1),
        uniform(index, seed=7, stream=0, step=2),
        uniform(index + 1, seed=7, stream=0, step=1),
    )
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / np.sqrt(n)


def test_a_64_bit_seed_is_folded() -> None:
    assert fold_seed(5) == 5
    assert fold_seed(2**31) == -(2**31)
    assert fold_seed(3 << 32 | 1) == -626627286
    for seed in (0, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 2):
        assert fold_seed(seed) != fold_seed(seed + 1)
    assert fold_seed(0xDEADBEEF) == 0xDEADBEEF - 2**32
