"""Which nests turn tiles in shared memory, and of which size."""

from __future__ import annotations

import pytest

from convc.errors import IRError
from convc.ir.core import Graph
from convc.ir.kernels import AnyLoopSchedule, Loops, TransposeSchedule
from convc.ir.text import parse_graph
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CPU, CUDA, Target

TURNED = {
    "a matrix": ("%x: f32[64,96]", "f32[64,96|10] = relayout(%x)", (32, 32)),
    "few columns": ("%x: f32[9,640]", "f32[9,640|10] = relayout(%x)", (96, 9)),
    "a few more than a warp": ("%x: f32[36,640]", "f32[36,640|10] = relayout(%x)", (32, 36)),
    "taps": ("%x: f32[8,64,3,3]", "f32[8,64,3,3|0231] = relayout(%x)", (9, 64)),
    "rows of a batch": ("%x: f32[n<=4,640]", "f32[n<=4,640|10] = relayout(%x)", (256, 4)),
    "a sum in another order": ("%x: f32[9,64,64]", "f32[64,64|10] = sum(%x) {axes=[0]}", (32, 32)),
}
STRAIGHT = {
    "along one axis": ("%x: f32[64,96]", "f32[64,96] = relu(%x)"),
    "a small one": ("%x: f32[16,32]", "f32[16,32|10] = relayout(%x)"),
    "a sum of columns": ("%x: f32[64,2048]", "f32[2048] = sum(%x) {axes=[0]}"),
    "a sum of rows": ("%x: f32[2048,64]", "f32[2048] = sum(%x) {axes=[1]}"),
    "lines of less than a sector": ("%x: f32[64,3,64,3]", "f32[64,3,64,3|0321] = relayout(%x)"),
    "windows": ("%x: f32[8,8,32,32]", "f32[8,8,16,16] = max_pool(%x) {kernel=[2, 2]}"),
}


def planned(inputs: str, node: str, target: Target = CUDA) -> Graph:
    graph = parse_graph(f"graph @g({inputs}) {{ %0: {node} return %0 }}")
    return run(graph, pipeline(train=False), target).stages[-1][1]


def schedule(inputs: str, node: str, target: Target = CUDA) -> AnyLoopSchedule | None:
    op = planned(inputs, node, target).nodes[-1].op
    assert isinstance(op, Loops)
    return op.schedule


@pytest.mark.parametrize("name", TURNED)
def test_read_along_one_axis_and_written_along_another(name: str) -> None:
    inputs, node, sizes = TURNED[name]
    found = schedule(inputs, node)
    assert isinstance(found, TransposeSchedule)
    assert (found.reads[1], found.stores[1]) == sizes


@pytest.mark.parametrize("name", STRAIGHT)
def test_all_others_stay_as_they_are(name: str) -> None:
    assert not isinstance(schedule(*STRAIGHT[name]), TransposeSchedule)


def test_tiles_fit_into_shared_memory() -> None:
    """Each tensor read in another order has a tile of its own; where they do not fit, nothing turns."""

    def sum_of(count: int) -> AnyLoopSchedule | None:
        names = [f"%x{i}" for i in range(count)]
        inputs = ", ".join(f"{name}: f32[8,63,7,9|0231]" for name in names)
        steps = [f"%s{i}: f32[8,63,7,9] = add({f'%s{i - 1}' if i > 1 else '%x0'}, %x{i})" for i in range(1, count)]
        graph = parse_graph(f"graph @g({inputs}) {{\n" + "\n".join(steps) + f"\nreturn %s{count - 1} }}")
        (node,) = run(graph, pipeline(train=False), CUDA).stages[-1][1].nodes
        assert isinstance(node.op, Loops)
        return node.op.schedule

    assert isinstance(sum_of(2), TransposeSchedule)
    assert not isinstance(sum_of(3), TransposeSchedule)


def test_a_machine_of_vectors_has_no_shared_memory() -> None:
    inputs, node, _ = TURNED["taps"]
    assert not isinstance(schedule(inputs, node, CPU), TransposeSchedule)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: TransposeSchedule(("c", 32), ("n", 32), 100), "threads must be 32 to 1024 in whole warps, not 100"),
        (lambda: TransposeSchedule(("c", 32), ("c", 32), 256), "a tile has two axes"),
        (lambda: TransposeSchedule(("c", 0), ("n", 32), 256), "a tile has two axes and a point at least of each"),
    ],
)
def test_tiles_that_cannot_be(make, rule: str) -> None:
    with pytest.raises(IRError, match=rule):
        make()


def test_schedules_are_text() -> None:
    inputs, node, _ = TURNED["taps"]
    text = str(planned(inputs, node))
    assert "schedule {reads=hw:9, stores=c:64, threads=128}" in text
    assert str(parse_graph(text)) == text
