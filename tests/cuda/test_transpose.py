"""Nests that turn tiles in shared memory, in the emulator with its check on: results, sectors, bank conflicts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convc.build.nvrtc_library import find_library_file
from convc.codegen.cuda.emit import emit_cuda
from convc.codegen.traffic import Sectors
from convc.errors import IRError
from convc.ir.core import Graph
from convc.ir.kernels import Loops, TransposeSchedule
from convc.ir.text import parse_graph
from convc.ir.types import Rows
from convc.passes.lower import lower
from convc.passes.merge_axes import merge_axes
from convc.passes.pipeline import pipeline, run
from convc.passes.plan_memory import plan_memory
from convc.passes.schedule import schedule
from convc.passes.target import CUDA
from convc.runtime.emulator import EmulatorExecutable
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.testing import random_inputs
from tests.cuda.programs import emulated
from tests.cuda.test_channels_last import channels_last
from tests.cuda.test_traffic import traffic_of
from tests.numerics.cases import FAMILIES
from tests.numerics.helpers import call, check, combined

needs_nvrtc = pytest.mark.skipif(
    find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'"
)


@pytest.fixture
def whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns every nest that can be, also where it does not pay."""
    monkeypatch.setattr("convc.passes.transpose.POINTS", 1)
    monkeypatch.setattr("convc.passes.transpose.SECTOR", 1)


def turned(graph: Graph) -> int:
    return sum(isinstance(n.op, Loops) and isinstance(n.op.schedule, TransposeSchedule) for n in graph.nodes)


@needs_nvrtc
@pytest.mark.usefixtures("whatever_its_size")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_nest_that_can_turn(family: str) -> None:
    """Images as NHWC, from and to row-major inputs and outputs."""
    graph = channels_last(combined(FAMILIES[family](Rows(6))))
    program = emulated(graph)
    assert turned(program.graph) > 0
    check(graph, (6, 1, 5), program)


def unfused(graph: Graph) -> Program:
    """The graph's program on the emulator, one kernel for each operator."""
    trace = run(graph, (lower, merge_axes, schedule, plan_memory), CUDA)
    return Program(trace, EmulatorExecutable(trace.stages[-1][1]), ParameterStore())


def there_and_back(shape: str, layout: str) -> Graph:
    return parse_graph(f"""graph @g(%x: f32[{shape}]) {{
      %there: f32[{shape}{layout}] = relayout(%x)
      %back: f32[{shape}] = relayout(%there)
      return %back }}""")


LAYOUTS = {
    "rows last": "|1230",
    "channels last": "|0231",
    "columns first": "|3210",
    "rows and channels last": "|2301",
}


@needs_nvrtc
@pytest.mark.usefixtures("whatever_its_size")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", ["n<=33,35,3,5", "n<=5,64,8,8", "n<=2,3,31,33"])
def test_copies_into_another_order(shape: str, layout: str) -> None:
    graph = there_and_back(shape, layout)
    program = unfused(graph)
    assert turned(program.graph) == 2
    capacity = int(program.graph.nodes[0].out.type.shape[0])
    check(graph, sorted({1, capacity // 2 + 1, capacity}), program)


@needs_nvrtc
@pytest.mark.usefixtures("whatever_its_size")
def test_any_copy() -> None:
    @settings(max_examples=20)
    @given(
        st.permutations(range(4)),
        st.lists(st.sampled_from([1, 2, 3, 7, 9, 31, 32, 33, 40, 65]), min_size=3, max_size=3).filter(
            lambda sizes: sizes[0] * sizes[1] * sizes[2] < 20000
        ),
        st.integers(1, 5),
    )
    def copied(order: list[int], sizes: list[int], rows: int) -> None:
        shape = ",".join([f"n<={rows}", *map(str, sizes)])
        layout = "|" + "".join(map(str, order)) if order != [0, 1, 2, 3] else ""
        graph = there_and_back(shape, layout)
        check(graph, sorted({1, rows}), unfused(graph))

    copied()


IDEAL = {
    # 64 x 96 numbers, and back: a warp's 32 loads or stores fill 4 sectors
    "a matrix": ("64,96", "|10", "f32[64,96] = relayout(%a)", (192, 192)),
    "taps": ("32,96,3,3", "|0231", "f32[32,96,3,3] = relayout(%a)", (864, 864)),
    # ten matrices, of which the sum is read in their order and stored in another
    "a sum": ("10,64,96", "|021", "f32[64,96] = sum(%a) {axes=[0]}", (1920, 192)),
}


@needs_nvrtc
@pytest.mark.parametrize("name", IDEAL)
def test_whole_sectors_and_no_bank_conflicts(name: str) -> None:
    shape, layout, node, (loads, stores) = IDEAL[name]
    graph = parse_graph(
        f"graph @g(%x: f32[{shape}]) {{ %a: f32[{shape}{layout}] = relayout(%x) %0: {node} return %0 }}"
    )
    program = unfused(graph)
    assert turned(program.graph) == 2
    call(program, random_inputs(graph), 1)
    found = list(traffic_of(program).values())[-1]
    assert found.loads == Sectors(loads, 4 * loads, 4 * loads)
    assert found.stores == Sectors(stores, 4 * stores, 4 * stores)
    assert found.shared.requests == 2 * stores
    assert all(x.shared.bank_conflicts == 0 for x in traffic_of(program).values())


def planned(node: str) -> Graph:
    graph = parse_graph(f"graph @g(%x: f32[64,96]) {{ %0: {node} return %0 }}")
    return run(graph, pipeline(train=False), CUDA).stages[-1][1]


@pytest.mark.parametrize(
    ("tiles", "rule"),
    [
        (TransposeSchedule(("k", 32), ("n", 32), 256), "the schedule has tiles along axis k, but the nest has"),
        (TransposeSchedule(("nc", 32), ("q", 32), 256), "the schedule has tiles along axis q, but the nest has nc"),
    ],
)
def test_schedules_that_do_not_fit(tiles: TransposeSchedule, rule: str) -> None:
    graph = planned("f32[64,96] = relu(%x)")
    (node,) = graph.nodes
    assert isinstance(node.op, Loops)
    with pytest.raises(IRError, match=rule):
        emit_cuda(graph.with_nodes([replace(node, op=replace(node.op, schedule=tiles))]))


def test_a_stage_that_is_no_map_of_points_does_not_turn() -> None:
    graph = planned("f32[64,96] = softmax(%x)")
    (node,) = graph.nodes
    assert isinstance(node.op, Loops)
    tiles = TransposeSchedule((node.op.nest.axes[0].name, 32), ("other", 32), 256)
    with pytest.raises(IRError, match="tiles that turn need a nest of reduce stages and one map"):
        emit_cuda(graph.with_nodes([replace(node, op=replace(node.op, schedule=tiles))]))
