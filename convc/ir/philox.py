"""Philox4x32-10, the counter-based random numbers of kernels: a number is a function of where it is used.

Source: Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011, section 3.3 (the
constants are those of table 2's 4x32 generator, Random123). No generator has a state: the same counter and key
give the same bits on every target, for any number of threads, and in a run that is resumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convc.ir.core import Array

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
UNIT_BITS = 24
"""A random number is the top 24 bits of a word, times 2^-24: exact in f32, and uniform in [0, 1)."""


def philox4x32(counter: Sequence[Array | int], key: Sequence[Array | int]) -> tuple[Array, ...]:
    """The four 32-bit words (as uint64) for a counter of four words and a key of two, each [...] broadcast."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) & _LOW for c in counter)
    k0, k1 = (np.asarray(k, np.uint64) & _LOW for k in key)
    m0, m1 = (np.uint64(m) for m in MULTIPLIERS)
    for _ in range(ROUNDS):
        p0, p1 = m0 * c0, m1 * c2  # 32 x 32 bits: never more than 64
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + np.uint64(WEYL[0])) & _LOW, (k1 + np.uint64(WEYL[1])) & _LOW
    return c0, c1, c2, c3


def uniform(index: Array, *, seed: Array | int, stream: int, step: Array | int) -> Array:
    """float64 [...] in [0, 1), multiples of 2^-24: word 0 of Philox4x32-10 for each `index`.

    The counter is (index's low and high 32 bits, step, 0), the key (seed, stream); of seed and step the low
    32 bits count. Index: int64 [...]; seed and step: integers in any dtype that holds them.
    """
    position = np.asarray(index, np.int64).astype(np.uint64)
    words = [np.asarray(w).astype(np.int64).astype(np.uint64) for w in (seed, step)]
    first, *_ = philox4x32((position, position >> _HALF, words[1], 0), (words[0], stream))
    return np.asarray((first >> np.uint64(32 - UNIT_BITS)).astype(np.float64) * 2.0**-UNIT_BITS)


def fold_seed(seed: int) -> int:
    """A 64-bit seed as the i32 that a program takes: seeds below 2^32 as they are, as a signed number.

    The upper half is multiplied, modulo 2^32, before the two are exclusive-ored: neighbours such as 2^63 - 1 and
    2^63 then differ.
    """
    word = (seed ^ ((seed >> 32) * WEYL[0])) & 0xFFFFFFFF
    return word - 2**32 if word >= 2**31 else word
