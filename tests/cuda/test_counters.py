"""What the emulator counts: every access of the shipped tiles to shared memory is free of bank conflicts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from convc.build.nvrtc_library import find_library_file
from convc.emulator import Counter
from convc.runtime.program import Program
from convc.testing import random_inputs
from tests.cuda.programs import emulated, every_tile, with_tiles
from tests.numerics.helpers import call

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")


def counters(program: Program) -> Iterator[tuple[str, Counter]]:
    for name, result in program.executable.results.items():
        yield from ((name, c) for c in result.counters)


@pytest.fixture(scope="module")
def tiles() -> Program:
    graph = every_tile(8)
    program = emulated(graph, with_tiles)
    call(program, random_inputs(graph, 8), 8)
    return program


def test_no_tile_has_bank_conflicts(tiles: Program) -> None:
    found = [(name, c) for name, c in counters(tiles) if c.space == "shared"]
    assert len({name for name, _ in found}) == len(tiles.kernels)
    assert [f"{name}: {c}" for name, c in found if c.moved > c.ideal] == []
