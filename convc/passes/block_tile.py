"""The tile of C that a block of threads computes: a model of the cycles that each choice takes.

A multiprocessor issues 128 multiply-adds a cycle. To them a step of the sum adds what a block reads from shared
memory for its fragments, what it gathers from the tensors, and the wait for what it gathered, which other
blocks on the same multiprocessor hide.
"""

from __future__ import annotations

from collections.abc import Sequence

from convc.ir.gemm_view import GemmView
from convc.ir.kernels import BlockTile
from convc.passes.target import Target

TILES = (
    BlockTile(128, 128, 8, 8, 8),
    BlockTile(128, 64, 8, 8, 4),
    BlockTile(64, 128, 8, 4, 8),
    BlockTile(64, 64, 8, 4, 4),
    BlockTile(32, 128, 8, 4, 4),
    BlockTile(32, 64, 8, 4, 4),
    BlockTile(64, 32, 8, 4, 4),
    BlockTile(16, 128, 8, 4, 4),
    BlockTile(32, 32, 16, 2, 4),
    BlockTile(16, 64, 16, 2, 4),
    BlockTile(64, 16, 16, 4, 2),
    BlockTile(8, 128, 8, 2, 4),
    BlockTile(16, 32, 16, 2, 2),
    BlockTile(8, 32, 16, 1, 2),
)
"""The tiles that are shipped: each is compiled for every architecture in the tests, and none spills."""

LANES, GATHER, LATENCY, FRAGMENT = 128, 10.0, 600.0, 2.0
"""Per multiprocessor and cycle; instructions a gathered element; cycles until it is there; cycles a fragment's load."""
THREADS = 2048
"""Threads that a multiprocessor holds at once."""


def block_tile_for(phases: Sequence[GemmView], target: Target) -> BlockTile:
    """The cheapest tile for all phases together: they share the block's memory, so they share the tile."""
    return min(TILES, key=lambda t: sum(_cycles(view, t, target) for view in phases))


def _cycles(view: GemmView, t: BlockTile, target: Target) -> float:
    groups, m, n, k = view.extents
    blocks = groups * -(-m // t.block_m) * -(-n // t.block_n)
    waves = -(-blocks // target.multiprocessors)
    resident = min(waves, max(1, THREADS // (2 * t.threads)))  # half of them: registers are the limit
    multiply = t.block_m * t.block_n * t.block_k / LANES
    fragments = FRAGMENT * t.block_k * (t.threads // 32) * (-(-t.thread_m // 4) + -(-t.thread_n // 4)) / 4
    gather = GATHER * (t.block_m + t.block_n) * t.block_k / LANES
    steps = -(-max(k, 1) // t.block_k)
    return waves * steps * (multiply + fragments + gather + LATENCY / resident)
