"""The kernel that takes a batch out of a data set, in the emulator: the rows asked for, converted, no other byte."""

from __future__ import annotations

import numpy as np
import pytest

from convc.build.cuda import build_ptx
from convc.build.nvrtc_library import find_library_file
from convc.codegen.cuda.batch import NAME, THREADS, gather_source, slices
from convc.emulator import Buffer, Module
from convc.ir.types import DTYPES

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
HELD = {"u8": np.uint8, **DTYPES}


@pytest.mark.parametrize(
    ("inputs", "rows"),
    [([("u8", "f32", 300), ("i32", "i32", 1)], 5), ([("f32", "f32", 2100), ("f32", "f32", 7)], 3)],
)
def test_gather(inputs: list[tuple[str, str, int]], rows: int) -> None:
    draw, count, cells = np.random.default_rng(0), 11, 4
    order = draw.permutation(count)[:rows].astype(np.int32)
    numbers, taken = np.arange(cells, dtype=np.int32), np.zeros(cells, np.int32)
    arguments = [_buffer("order", order, False), _buffer("numbers", numbers, False), _buffer("cells", taken, True)]
    pairs = []
    for held, wanted, size in inputs:
        data = draw.integers(0, 200, (count, size)).astype(HELD[held])
        batch = np.full((rows, size), 77, HELD[wanted])
        pairs.append((data, batch))
        arguments += [_buffer("from", data, False), _buffer("to", batch, True)]
    kernel = Module(build_ptx(gather_source(inputs, cells), NAME, "sm_80"))[NAME]
    result = kernel.launch((rows, slices(inputs), 1), (THREADS, 1, 1), arguments)
    assert not result.reports
    assert (taken == numbers).all()
    for data, batch in pairs:
        assert (batch == data[order].astype(batch.dtype)).all()


def _buffer(name: str, array: np.ndarray, writable: bool) -> Buffer:
    return Buffer(name, array.reshape(-1).view(np.uint8), writable)
