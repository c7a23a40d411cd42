"""The CUDA of every operator, run in the emulator with its check on, against the float64 oracle.

Shapes divide no tile; there are strides, padding, dilation and groups, and fewer rows than the capacity. The check
reports races, reads of what nobody wrote and accesses outside a kernel's buffers: any report fails the run.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

import convc
from convc.build.nvrtc_library import find_library_file
from convc.ir.core import OPS
from convc.ir.kernels import TeamSchedule
from convc.ir.ops.contract import Contract, Linear
from convc.ir.ops.conv import Conv2d, Conv2dDgrad, Conv2dWgrad
from convc.ir.text import parse_graph
from convc.ir.types import Rows, f32
from convc.passes.block_tile import TILES
from tests.cuda.programs import emulated, every_tile, with_team, with_tiles
from tests.numerics import test_drawn_views as fuzz
from tests.numerics.cases import FAMILIES, Case, all_cases
from tests.numerics.helpers import check, combined
from tests.numerics.test_cpu_kernels import FEW

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
TEAMS = {
    "thread": TeamSchedule(64, 1),
    "warp": TeamSchedule(96, 32),
    "block": TeamSchedule(64, 64),
    "one_warp": TeamSchedule(32, 32),
    "part of a warp": TeamSchedule(64, 4),
    "columns": TeamSchedule(256, 8, apart=32),
    "columns of few points": TeamSchedule(64, 16, apart=4),
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


@pytest.mark.parametrize("padding", [0, 3])
def test_a_sum_that_walks_backwards(padding: int) -> None:
    """Through one column of taps a data gradient reads `dy` from the last row to the first: -1 from term to term."""
    node = f"f32[1,1,{7 - 2 * padding},1] = conv2d_dgrad(%dy, %w) {{padding=[{padding}, 0]}}"
    names = [f"%{i}" for i in range(len(TILES))]
    body = "\n".join([*(f"{name}: {node}" for name in names), f"return {', '.join(names)}"])
    graph = parse_graph(f"graph @g(%dy: f32[1,1,4,1], %w: f32[1,1,4,1]) {{\n{body}\n}}")
    check(graph, (1,), emulated(graph, with_tiles))


@pytest.mark.parametrize("level", range(5))
def test_every_rung_of_the_ladder(level: int) -> None:
    graph = combined(FAMILIES["convolutions"](Rows(4)))
    check(graph, (4, 3), emulated(graph, level=level))


def test_whole_vectors() -> None:
    """Shapes of whole quads: copies and stores of 16 bytes, which shapes that divide nothing never have."""
    cases = aligned(Rows(6))
    program = emulated(combined(cases), with_tiles)
    vectors = [line for k in program.kernels for line in k.card.lines if line.startswith("vectors")]
    for what in ("copies of A", "copies of B", "stores", "16-byte loads and stores"):
        assert any(what in line for line in vectors), what
    check(combined(cases), (6, 5, 1), program)


@pytest.mark.parametrize("rows", [Rows(6), 3], ids=["typed", "fixed"])
def test_arranged_and_split(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies into other layouts and sums in parts wherever they are possible, not only where they pay."""
    monkeypatch.setattr("convc.passes.arrange_factors.LAUNCH_SECONDS", -1.0)
    monkeypatch.setattr("convc.passes.split_k.LAUNCH_SECONDS", -1.0)
    for cases in (FAMILIES["convolutions"](rows), aligned(rows)):
        program = emulated(combined(cases), with_tiles)
        labels = [k.node.op.label for k in program.kernels]
        assert any("relayout" in label for label in labels)
        assert any("_parts" in label for label in labels)
        check(combined(cases), (6, 5) if isinstance(rows, Rows) else (rows,), program)


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


def aligned(n: int) -> list[Case]:
    """Products and maps whose innermost extents are multiples of four."""
    x, w = f32(n, 8, 6, 8), f32(12, 8, 1, 1)
    y = Conv2d().infer(x, w)[0]
    wide = f32(12, 8, 3, 3)
    return [
        Case("pointwise", Conv2d(), (x, w)),
        Case("pointwise-dgrad", Conv2dDgrad(result=x), (y, w)),
        Case("pointwise-wgrad", Conv2dWgrad(result=w), (y, x)),
        Case("square", Conv2d(padding=(1, 1)), (x, wide)),
        Case("square-dgrad", Conv2dDgrad(padding=(1, 1), result=x), (y, wide)),
        Case("square-wgrad", Conv2dWgrad(padding=(1, 1), result=wide), (y, x)),
        Case("linear", Linear(), (f32(n, 16), f32(12, 16))),
        Case("linear-dgrad", Contract("nk,kc->nc"), (f32(n, 12), f32(12, 16))),
        Case("linear-wgrad", Contract("nk,nc->kc"), (f32(n, 12), f32(n, 16))),
        Case("relu", OPS["relu"](), (x,)),
    ]


def _run(cases: list[Case]) -> None:
    n = next(t.shape[0] for t in cases[0].inputs)
    rows = sorted({1, (int(n) + 1) // 2, int(n)}) if isinstance(n, Rows) else [int(n)]
    graph = combined(cases)
    check(graph, rows, emulated(graph, with_tiles))
