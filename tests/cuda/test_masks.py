"""What counts at the end of a warp, a team or a slice follows from the domain, whatever a kernel loads there."""

from __future__ import annotations

import pytest

from convc.build.nvrtc_library import find_library_file
from convc.ir.core import Graph
from convc.ir.kernels import TeamSchedule
from convc.passes.schedule import schedule
from convc.passes.select_tile import select_tile
from convc.passes.target import CUDA
from convc.runtime.emulator import EmulatorExecutable
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from tests.cuda.programs import with_team, with_tiles
from tests.numerics.helpers import check
from tests.numerics.masked import LENGTHS, maps, nests, planned, products

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
ROWS = (6, 5)
TEAMS = {
    "thread": TeamSchedule(64, 1),
    "part of a warp": TeamSchedule(64, 4),
    "block": TeamSchedule(64, 64),
    "columns": TeamSchedule(256, 8, apart=32),
}


def scheduled(graph: Graph) -> Graph:
    return schedule(select_tile(graph, target=CUDA), target=CUDA)


def run(graph: Graph, kernels: Graph) -> None:
    trace = planned(graph, lambda _: kernels)
    check(graph, ROWS, Program(trace, EmulatorExecutable(trace.stages[-1][1]), ParameterStore()))


def test_products() -> None:
    for length in LENGTHS[:2]:
        graph = products(length)
        run(graph, with_tiles(scheduled(graph)))


def test_maps() -> None:
    run(graph := maps(LENGTHS[0]), scheduled(graph))


def test_nests_as_they_are_scheduled() -> None:
    run(graph := nests(LENGTHS[0]), scheduled(graph))


@pytest.mark.slow
@pytest.mark.parametrize("team", TEAMS)
def test_nests_with_every_team(team: str) -> None:
    run(graph := nests(LENGTHS[0]), with_team(graph, TEAMS[team]))
