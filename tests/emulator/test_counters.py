"""Sectors of global memory and passes over the banks of shared memory."""

from __future__ import annotations

import numpy as np
import pytest

from convc.emulator import Buffer
from tests.emulator.ptx_kernel import kernel


@pytest.mark.parametrize(
    ("stride", "size", "sectors"),
    [(4, 4, 4), (8, 4, 8), (32, 4, 32), (0, 4, 1), (16, 16, 16), (64, 4, 32), (8, 8, 8)],
)
def test_sectors_of_global_loads(stride: int, size: int, sectors: int) -> None:
    vector = {4: "u32 %r1", 8: "u64 %d3", 16: "v2.u64 {%d3, %d4}"}[size]
    body = (
        f"ld.param.u64 %d1, [x]; mov.u32 %r0, %tid.x; mad.wide.u32 %d1, %r0, {stride}, %d1; ld.global.{vector}, [%d1];"
    )
    module = kernel(".param .u64 x", body)
    (counter,) = module["k"].launch((2, 1, 1), (64, 1, 1), [Buffer("x", np.zeros(4096, np.uint8))]).counters
    assert (counter.space, counter.requests, counter.lanes, counter.moved) == ("global", 4, 128, 4 * sectors)
    assert counter.ideal == 4 * min(sectors, size)


@pytest.mark.parametrize(
    ("stride", "size", "passes", "ideal"),
    [(4, 4, 1, 1), (8, 4, 2, 1), (128, 4, 32, 1), (0, 4, 1, 1), (132, 4, 1, 1), (8, 8, 2, 2),
     (16, 16, 4, 4), (32, 16, 8, 4),
     (16, 8, 4, 2), (2, 2, 1, 1)],
)  # fmt: skip
def test_bank_conflicts_of_shared_loads(stride: int, size: int, passes: int, ideal: int) -> None:
    vector = {2: "u16 %h1", 4: "u32 %r1", 8: "u64 %d3", 16: "v4.u32 {%r1, %r2, %r3, %r4}"}[size]
    body = f"""
    .shared .align 16 .b8 s[5120]; mov.u32 %r0, %tid.x; mov.u32 %r1, s; mad.lo.u32 %r1, %r0, {stride}, %r1;
    ld.shared.{vector}, [%r1];
    """
    (counter,) = kernel("", body)["k"].launch((1, 1, 1), (32, 1, 1), []).counters
    assert (counter.space, counter.requests, counter.moved, counter.ideal) == ("shared", 1, passes, ideal)
