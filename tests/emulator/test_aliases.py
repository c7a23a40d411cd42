"""Buffers that share an arena: races through aliases, what lies beside a buffer, bytes that were written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convc.emulator import Buffer, Module

Ptx = Callable[..., str]
ALIAS = """extern "C" __global__ void shift(const float* __restrict__ x, float* __restrict__ y, int by) {
  y[threadIdx.x] = x[(int)threadIdx.x + by] + 1;
}"""


def test_races_through_aliases_are_found(ptx: Ptx) -> None:
    """Two buffers in one arena: in place is right, shifted by one it is a race, whatever the arguments are called."""
    arena = np.zeros(1024, np.uint8)
    shift = Module(ptx(ALIAS))["shift"]
    x, y = Buffer("x", arena[64:768], writable=False), Buffer("y", arena[64:320])
    assert not shift.launch((1, 1, 1), (64, 1, 1), [x, y, 0]).reports
    (report,) = shift.launch((1, 1, 1), (64, 1, 1), [x, y, 1]).reports
    assert report.kind in ("race-read-write", "race-write-read")
    assert not shift.launch((1, 1, 1), (64, 1, 1), [x, y, 64]).reports
    beside = Buffer("y", arena[65 * 4 + 64 : 130 * 4 + 64])
    assert not shift.launch((1, 1, 1), (64, 1, 1), [x, beside, 0]).reports
    (report,) = shift.launch((1, 1, 1), (64, 1, 1), [x, beside, 2]).reports
    assert report.buffer in ("x", "y")


def test_a_buffer_hides_nothing_of_its_arena(ptx: Ptx) -> None:
    arena = np.zeros(1024, np.uint8)
    shift = Module(ptx(ALIAS))["shift"]
    inner = Buffer("x", arena[256:512], writable=False)
    for by, offset in ((1, 256), (-1, -4)):
        (report,) = shift.launch((1, 1, 1), (64, 1, 1), [inner, Buffer("y", arena[512:768]), by]).reports
        assert (report.kind, report.buffer, report.offset, report.count) == ("out-of-bounds", "x", offset, 1)
    nan = arena[512:516].view(np.uint32)[0]
    assert nan == 0x7FFFFFFF or nan == 0xFFFFFFFF  # what was read out of bounds shows in the result


def test_written_bytes_become_initialised(ptx: Ptx) -> None:
    arena, written = np.zeros(512, np.uint8), np.zeros(512, np.uint8)
    written[:256] = 1
    shift = Module(ptx(ALIAS))["shift"]

    def part(name: str, start: int) -> Buffer:
        return Buffer(name, arena[start : start + 256], True, written[start : start + 256])

    (report,) = shift.launch((1, 1, 1), (64, 1, 1), [part("x", 256), part("y", 0), 0]).reports
    assert (report.kind, report.buffer, report.count) == ("uninitialised-global", "x", 64)
    assert not shift.launch((1, 1, 1), (64, 1, 1), [part("x", 0), part("y", 256), 0]).reports
    assert written.all()
    assert not shift.launch((1, 1, 1), (64, 1, 1), [part("x", 256), part("y", 0), 0]).reports
