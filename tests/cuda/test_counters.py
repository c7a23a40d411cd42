"""What the emulator counts: every access of the shipped tiles to shared memory is free of bank conflicts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from convc.build.nvrtc_library import find_library_file
from convc.emulator import Counter
from convc.ir.text import parse_graph
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


CONVOLUTIONS = {
    "forward": "%1: f32[n<=8,64,16,16] = conv2d(%x, %w)",
    "data gradient": "%1: f32[n<=8,32,16,16] = conv2d_dgrad(%dy, %w)",
    "weight gradient": "%1: f32[64,32,3,3] = conv2d_wgrad(%dy, %x)",
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_cards_say_how_scattered_a_gather_is(name: str) -> None:
    """A cache line is four sectors: what the emulator counts for the copies is within what the card says of them."""
    graph = parse_graph(f"""graph @g(%x: f32[n<=8,32,16,16], %w: f32[64,32,3,3], %dy: f32[n<=8,64,16,16]) {{
      {CONVOLUTIONS[name]} {{padding=[1, 1]}}
      return %1
    }}""")
    program = emulated(graph)
    call(program, random_inputs(graph, 8), 8)
    for kernel in program.kernels:
        line = next((x for x in kernel.card.lines if x.startswith("gather")), "")
        said = [float(x) for x in re.findall(r"([\d.]+) cache lines", line)]
        counted = program.executable.results[kernel.name].counters
        copies = [c for c in counted if c.instruction.startswith("cp.async") and ", 4, " in c.instruction]
        if said and copies:
            worst = max(c.moved / c.requests for c in copies)
            assert worst <= 4 * (max(said) + 1), f"{kernel.name}: {worst} sectors a request; {line}"


def test_no_tile_has_bank_conflicts(tiles: Program) -> None:
    found = [(name, c) for name, c in counters(tiles) if c.space == "shared"]
    assert all(k.counted and k.counted.shared.requests for k in tiles.report().summary.kernels)
    assert [f"{name}: {c}" for name, c in found if c.moved > c.ideal] == []
