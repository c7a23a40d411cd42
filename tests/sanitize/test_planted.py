"""Each sanitizer reports bugs that are planted in a program's source; without them it says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import convc
from convc.testing import random_inputs
from tests.sanitize import harness
from tests.sanitize.harness import ADDRESS, THREAD, Edit, Finding, Flavour, Run, assert_right, build
from tests.sanitize.programs import of_graph

pytestmark = pytest.mark.slow

LAYERS = """graph @g(%x: f32[n<=6,5], %w: f32[7,5], %v: f32[3,7]) {
  %h: f32[n<=6,7] = linear(%x, %w)
  %y: f32[n<=6,3] = linear(%h, %v)
  return %y
}"""
POINTS = """graph @g(%x: f32[37]) {
  %y: f32[37] = relu(%x)
  return %y
}"""


@dataclass(frozen=True)
class Bug:
    """In `file` the text `right`, which must be there as often as `times`, becomes `wrong`."""

    name: str
    flavour: Flavour
    graph: str
    file: str
    right: str
    wrong: str
    report: str
    rows: int = 5
    times: int = 1

    def edit(self) -> Edit:
        def planted(file: str, text: str) -> str:
            if file != self.file:
                return text
            assert text.count(self.right) == self.times, f"the bug no longer applies:\n{text}"
            return text.replace(self.right, self.wrong)

        return planted


BUGS = (
    Bug("one row of an input too many", ADDRESS, LAYERS, "loops_0.c", "lane < rows ? x_ptr", "lane <= rows ? x_ptr",
        "heap-buffer-overflow"),
    Bug("one element of a parameter too far", ADDRESS, LAYERS, "fprop_f32_7x2x4.c", "tm * 5 + c]", "tm * 5 + c + 1]",
        "heap-buffer-overflow"),
    Bug("one element of a tensor in the arena too far", ADDRESS, LAYERS, "fprop_f32_3x2x4.c", "c * 4)", "c * 4 + 1)",
        "READ of size 16"),
    Bug("one element before a tensor in the arena", ADDRESS, LAYERS, "fprop_f32_3x2x4.c", "c * 4)", "c * 4 - 1)",
        "use-after-poison"),
    Bug("rows of the arena beyond n", ADDRESS, LAYERS, "fprop_f32_3x2x4.c", "(rows + 3) / 4", "(rows + 7) / 4",
        "use-after-poison", rows=4, times=2),
    Bug("one row of an output too many", ADDRESS, LAYERS, "loops_0.c", "lane < rows))", "lane <= rows))",
        "heap-buffer-overflow"),
    Bug("one lane too many at the end", ADDRESS, POINTS, "convc.h", "i < last && i < 16;", "i <= last && i < 16;",
        "heap-buffer-overflow"),
    Bug("a register tile's sums beyond the tile", ADDRESS, LAYERS, "fprop_f32_7x2x4.c", "acc[tm][tn] +=",
        "acc[tm + 1][tn] +=", "insufficient space"),
    Bug("an overflow", ADDRESS, LAYERS, "g_step.c", "rows = call->rows;",
        "rows = long_min(call->rows, call->rows + INT64_MAX);", "signed integer overflow"),
    Bug("vectors taken for aligned", ADDRESS, POINTS, "convc.h", "aligned(4), ", "", "misaligned address", times=2),
    Bug("a number that no integer holds", ADDRESS, LAYERS, "g_step.c", "rows = call->rows;",
        "rows = (int32_t)(call->rows * 1e30);", "outside the range of representable values"),
    Bug("a barrier left out", THREAD, LAYERS, "g_step.c", "barrier();\n    /* relayout", "\n    /* relayout",
        "data race"),
    Bug("threads that share a job", THREAD, LAYERS, "loops_0.c", "jobs * (thread + 1) / threads", "jobs", "data race",
        times=2),
)  # fmt: skip


def run(flavour: Flavour, driver: Path, text: str, rows: Sequence[int], edit: Edit, folder: Path) -> None:
    graph = convc.parse_graph(text)
    trace = of_graph(graph)
    program = build(trace.stages[-1][1], flavour, driver, edit)
    runs = [Run(random_inputs(graph, n, n), n, 2, 4) for n in rows]
    for done, (outputs, stores) in zip(runs, program(runs, folder), strict=True):
        assert_right(trace, "input", done, outputs, stores)


@pytest.fixture
def drivers(address_driver: Path, thread_driver: Path) -> dict[str, Path]:
    return {"address": address_driver, "thread": thread_driver}


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name.replace(" ", "_") for bug in BUGS])
def test_bug_is_reported(bug: Bug, drivers: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Finding, match=bug.report):
        run(bug.flavour, drivers[bug.flavour.name], bug.graph, [bug.rows], bug.edit(), tmp_path)


@pytest.mark.parametrize("flavour", [ADDRESS, THREAD], ids=["address", "thread"])
@pytest.mark.parametrize("text", [LAYERS, POINTS], ids=["layers", "points"])
def test_without_a_bug_nothing_is_reported(
    text: str, flavour: Flavour, drivers: dict[str, Path], tmp_path: Path
) -> None:
    run(flavour, drivers[flavour.name], text, [1, 2, 4, 5, 6], lambda _, text: text, tmp_path)


def test_threads_that_a_barrier_does_not_order_are_reported(tmp_path: Path) -> None:
    """The pool's own bug: who leaves the barrier does not see what was written before it."""

    def relaxed(text: str) -> str:
        right = "atomic_store_explicit(&phase, mine + 1, memory_order_release)"
        assert text.count(right) == 1
        return text.replace(right, right.replace("release", "relaxed"))

    driver = harness.driver(THREAD, tmp_path, relaxed)
    with pytest.raises(Finding, match="data race"):
        run(THREAD, driver, LAYERS, [6] * 50, lambda _, text: text, tmp_path)
