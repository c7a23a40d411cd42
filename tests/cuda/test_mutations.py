"""Broken kernels are noticed: by the emulator's check, or by the oracle. What is not noticed changes nothing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from convc.build.nvrtc_library import find_library_file
from convc.ir.core import Array, Graph
from convc.ir.kernels import TeamSchedule
from convc.ir.text import parse_graph
from convc.testing import random_inputs
from tests.cuda.mutants import BARRIERS, GUARDS, INDICES, Subject, mutants, survivors
from tests.cuda.programs import emulated, with_team

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
KINDS = {"barriers": BARRIERS, "guards": GUARDS, "indices": INDICES}
PROGRAMS: dict[str, tuple[str, TeamSchedule | None, int]] = {
    "fprop": (
        """graph @p(%x: f32[n<=4,9,7,7], %w: f32[5,9,3,3], %b: f32[5]) {
        %0: f32[n<=4,5,7,7] = conv2d(%x, %w) {padding=[1, 1]}
        %1: f32[n<=4,5,7,7] = bias_add(%0, %b)
        %2: f32[n<=4,5,7,7] = relu(%1)
        return %2 }""",
        None,
        3,
    ),
    "strided dgrad": (
        """graph @p(%dy: f32[n<=4,75,3,3], %w: f32[75,2,2,2]) {
        %0: f32[n<=4,2,6,6] = conv2d_dgrad(%dy, %w) {stride=[2, 2]} return %0 }""",
        None,
        3,
    ),
    "wgrad": (
        """graph @p(%dy: f32[n<=4,5,9,9], %x: f32[n<=4,3,9,9]) {
        %0: f32[5,3,3,3] = conv2d_wgrad(%dy, %x) {padding=[1, 1]} return %0 }""",
        None,
        3,
    ),
    "warps": (
        "graph @p(%x: f32[n<=5,37]) { %0: f32[n<=5,37] = softmax(%x) return %0 }",
        TeamSchedule(64, 32),
        4,
    ),
    "blocks": (
        "graph @p(%x: f32[n<=5,137]) { %0: f32[n<=5,137] = softmax(%x) return %0 }",
        TeamSchedule(64, 64),
        4,
    ),
    "warp sums": (
        "graph @p(%x: f32[n<=5,3,70]) { %0: f32[n<=5,3] = sum(%x) {axes=[2]} return %0 }",
        TeamSchedule(64, 32),
        4,
    ),
    "columns": (
        "graph @p(%x: f32[n<=9,3,19]) { %0: f32[3,19] = sum(%x) {axes=[0]} return %0 }",
        TeamSchedule(64, 4, apart=16),
        7,
    ),
    "tiles that turn": (
        """graph @p(%x: f32[n<=3,34,33]) {
        %0: f32[n<=3,34,33|021] = relayout(%x)
        %1: f32[34,33] = sum(%0) {axes=[0]}
        return %1 }""",
        None,
        2,
    ),
    "windows": (
        "graph @p(%x: f32[n<=5,3,8,8]) { %0: f32[n<=5,3,4,4] = max_pool(%x) {kernel=[2, 2]} return %0 }",
        TeamSchedule(64, 1, vector=2, window=2),
        4,
    ),
    "vectors": ("graph @p(%x: f32[n<=5,3,8,8]) { %0: f32[n<=5,3,8,8] = tanh(%x) return %0 }", None, 4),
    "cross_entropy": (
        "graph @p(%z: f32[n<=5,11], %y: i32[n<=5]) { %0: f32[n<=5] = cross_entropy(%z, %y) return %0 }",
        TeamSchedule(64, 4),
        4,
    ),
}
EQUIVALENT: dict[tuple[str, str], tuple[int, str]] = {
    ("fprop", "any tile"): (1, "the return saves time; each load and store of such a tile is guarded by itself"),
    ("strided dgrad", "any tile"): (4, "the same, in each phase"),
    ("blocks", "no barrier"): (1, "the one behind the last reduction: nothing is written to its memory any more"),
    ("columns", "no barrier"): (1, "the same"),
    ("wgrad", "any k"): (1, "behind the last term A is zero, and the pixels of B are guarded by themselves"),
    ("wgrad", "one k too many"): (1, "the same"),
}
"""(program, kind): how many survive, and why that is right."""
SLOW = {("strided dgrad", "guards"), ("strided dgrad", "indices")}


PEAKED = {"warps", "blocks", "cross_entropy"}


def peaks(graph: Graph, rows: int) -> list[dict[str, Array]]:
    """Logits 100 apart, whose exp overflows where the maximum is missed; each place is a row's peak once."""
    x = graph.inputs[0]
    others = random_inputs(graph, rows)
    places = np.arange(width := x.type.shape[1])
    heights = (-100.0 * abs(places - places[:, None])).astype(np.float32)  # row p: the peak at p
    return [{**others, x.name: heights[np.arange(start, start + rows) % width]} for start in range(0, width, rows)]


@cache
def subject(name: str) -> Subject:
    text, team, rows = PROGRAMS[name]
    graph = parse_graph(text)
    program = emulated(graph, lambda g: g if team is None else with_team(g, team))
    return Subject(program, graph, rows, peaks(graph, rows) if name in PEAKED else ())


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_not_broken_is_not_noticed(name: str) -> None:
    assert subject(name).verdict(subject(name).text) == ""


CASES = [
    pytest.param(name, kinds, marks=[pytest.mark.slow] if (name, kinds) in SLOW else [])
    for name in PROGRAMS
    for kinds in KINDS
]


@pytest.mark.parametrize(("name", "kinds"), CASES)
def test_what_is_broken_is_noticed(name: str, kinds: str) -> None:
    alive, noticed = survivors(subject(name), KINDS[kinds])
    expected = {kind: number for (program, kind), (number, _) in EQUIVALENT.items() if program == name}
    expected = {kind: number for kind, number in expected.items() if kind in KINDS[kinds]}
    found: dict[str, int] = {}
    for mutant in alive:
        found[mutant.kind] = found.get(mutant.kind, 0) + 1
    lines = "\n".join(f"{m.kind}, line {m.line}: {m.source_line}" for m in alive)
    print(f"{name}, {kinds}: {dict(noticed)}")
    assert found == expected, f"{name}: nothing noticed\n{lines}"


def test_every_kind_of_change_is_made_somewhere() -> None:
    texts = [subject(name).text for name in PROGRAMS]
    for kinds in KINDS.values():
        for kind, change in kinds.items():
            assert any(True for text in texts for _ in mutants(text, {kind: change})), kind
