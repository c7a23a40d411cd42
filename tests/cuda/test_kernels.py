"""The CUDA of every operator, run in the emulator with its check on, against the float64 oracle.

Shapes divide no tile; there are strides, padding, dilation and groups, and fewer rows than the capacity. The check
reports races, reads of what nobody wrote and accesses outside a kernel's buffers: any report fails the run.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

import convc
from convc.build.nvrtc_library import find_library_file
from convc.ir.kernels import TeamSchedule
from convc.ir.types import Rows
from tests.cuda.programs import emulated, every_tile, with_team, with_tiles
from tests.numerics import test_cpu_fuzz as fuzz
from tests.numerics.cases import FAMILIES, Case, all_cases
from tests.numerics.helpers import check, combined
from tests.numerics.test_cpu_kernels import FEW

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
TEAMS = {
    "thread": TeamSchedule(64, 1),
    "warp": TeamSchedule(96, 32),
    "block": TeamSchedule(64, 64),
    "one_warp": TeamSchedule(32, 32),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_typed_rows(family: str) -> None:
    graph = combined(FAMILIES[family](Rows(6)))
    check(graph, (6, 1, 5), convc.compile(graph, target="emulator"))


@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_batch(family: str) -> None:
    graph = combined(FAMILIES[family](3))
    check(graph, (3,), convc.compile(graph, target="emulator"))


@pytest.mark.parametrize("capacity", [1, 8, 33])
def test_every_number_of_rows(capacity: int) -> None:
    few: list[Case] = [c for c in all_cases(Rows(capacity)) if c.name in FEW]
    graph = combined(few)
    rows = range(1, capacity + 1) if capacity <= 8 else (1, 2, 16, 31, 32, capacity)
    check(graph, rows, convc.compile(graph, target="emulator"))


@pytest.mark.parametrize("rows", [5, 40])
def test_every_tile(rows: int) -> None:
    graph = every_tile(rows, walks=2 if rows == 5 else 1)
    check(graph, (rows, rows - 1), emulated(graph, with_tiles))


@pytest.mark.parametrize("level", range(5))
def test_every_rung_of_the_ladder(level: int) -> None:
    graph = combined(FAMILIES["convolutions"](Rows(4)))
    check(graph, (4, 3), emulated(graph, level=level))


@pytest.mark.parametrize("team", TEAMS)
@pytest.mark.parametrize("family", ["pools", "others"])
def test_every_team(family: str, team: str) -> None:
    """Each stage of each nest by a thread, by a warp and by a block: reductions, argmax, maps with own axes."""
    graph = combined(FAMILIES[family](Rows(5)))
    check(graph, (5, 3), emulated(graph, lambda g: with_team(g, TEAMS[team])))


@pytest.mark.parametrize("family", fuzz.FAMILIES)
def test_any_shape(family: str) -> None:
    settings(max_examples=8)(given(fuzz.FAMILIES[family])(_run))()


@pytest.mark.slow
@pytest.mark.parametrize("family", fuzz.FAMILIES)
def test_any_shape_in_many_cases(family: str) -> None:
    settings(max_examples=150)(given(fuzz.FAMILIES[family])(_run))()


def _run(cases: list[Case]) -> None:
    n = next(t.shape[0] for t in cases[0].inputs)
    rows = sorted({1, (int(n) + 1) // 2, int(n)}) if isinstance(n, Rows) else [int(n)]
    graph = combined(cases)
    check(graph, rows, emulated(graph, with_tiles))
