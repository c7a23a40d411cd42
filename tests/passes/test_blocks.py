"""Schedules for blocks of threads: who works on a point of a nest, and which tile a product gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convc.errors import IRError
from convc.ir.core import Graph
from convc.ir.kernels import BlockTile, Gemm, Loops, TeamSchedule
from convc.ir.text import parse_graph
from convc.passes.block_tile import TILES, best_seconds, candidates, memory_seconds, oriented, ranking
from convc.passes.lower import lower
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA

NESTS = {
    "windows": (
        "%x: f32[n<=64,6,28,28]", "f32[n<=64,6,14,14] = max_pool(%x) {kernel=[2, 2]}", {"vector": 2, "window": 2},
    ),
    "odd windows": ("%x: f32[n<=64,6,10,10]", "f32[n<=64,6,5,5] = max_pool(%x) {kernel=[2, 2]}", {"window": 2}),
    "few windows": ("%x: f32[n<=2,6,8,8]", "f32[n<=2,6,4,4] = avg_pool(%x) {kernel=[2, 2]}", {"window": 2}),
    "wide windows": ("%x: f32[n<=64,6,8,8]", "f32[n<=64,6,2,2] = avg_pool(%x) {kernel=[4, 4]}", {"window": 4}),
    "windows that overlap": (
        "%x: f32[n<=64,6,9,9]", "f32[n<=64,6,4,4] = max_pool(%x) {kernel=[3, 3], stride=[2, 2]}", {},
    ),
    "windows over an edge": (
        "%x: f32[n<=64,6,8,8]", "f32[n<=64,6,5,5] = max_pool(%x) {kernel=[2, 2], padding=[1, 1]}", {},
    ),
    "rows of unaligned windows": ("%x: f32[n<=64,6,9,9]", "f32[n<=64,6,4,4] = max_pool(%x) {kernel=[2, 2]}", {}),
    "quads": ("%x: f32[n<=64,6,10,10]", "f32[n<=64,6,10,10] = relu(%x)", {"vector": 4}),
    "pairs": ("%x: f32[n<=64,6,5,5]", "f32[n<=64,6,5,5] = relu(%x)", {"vector": 2}),
    "odd": ("%x: f32[n<=64,3,5,5]", "f32[n<=64,3,5,5] = relu(%x)", {}),
    "ten classes": ("%x: f32[n<=64,10]", "f32[n<=64,10] = softmax(%x)", {"team": 16}),
    "five classes": ("%x: f32[n<=64,5]", "f32[n<=64,5] = softmax(%x)", {"team": 8}),
    "two classes": ("%x: f32[n<=64,2]", "f32[n<=64,2] = softmax(%x)", {"team": 2}),
    "four classes and a label": (
        "%x: f32[n<=64,4], %y: i32[n<=64]", "f32[n<=64] = cross_entropy(%x, %y)", {"window": 4},
    ),
    "many classes": ("%x: f32[n<=64,1000]", "f32[n<=64,1000] = softmax(%x)", {"team": 32}),
    "few long rows": ("%x: f32[16,40000]", "f32[16,40000] = softmax(%x)", {"threads": 256, "team": 256}),
    "very many columns": ("%x: f32[n<=64,40960]", "f32[40960] = sum(%x) {axes=[0]}", {}),
    "many columns": ("%x: f32[n<=64,5120]", "f32[5120] = sum(%x) {axes=[0]}", {"team": 4, "apart": 32}),
    "columns of whole sectors": ("%x: f32[n<=64,128]", "f32[128] = sum(%x) {axes=[0]}", {"team": 16, "apart": 8}),
    "few columns": ("%x: f32[n<=64,84]", "f32[84] = sum(%x) {axes=[0]}", {"team": 4, "apart": 32}),
    "very few columns": ("%x: f32[n<=64,3]", "f32[3] = sum(%x) {axes=[0]}", {"team": 16, "apart": 8}),
    "short columns": ("%x: f32[n<=8,84]", "f32[84] = sum(%x) {axes=[0]}", {}),
    "short columns, many of them": ("%x: f32[n<=8,40960]", "f32[40960] = sum(%x) {axes=[0]}", {"vector": 4}),
}  # fmt: skip


def planned(inputs: str, node: str) -> Graph:
    text = f"graph @g({inputs}) {{ %0: {node} return %0 }}"
    return run(parse_graph(text), pipeline(train=False), CUDA).stages[-1][1]


@pytest.mark.parametrize("name", NESTS)
def test_teams(name: str) -> None:
    inputs, node, expected = NESTS[name]
    op = planned(inputs, node).nodes[-1].op
    assert isinstance(op, Loops)
    assert op.schedule == TeamSchedule(**{"threads": 128, "team": 1, **expected})


PRODUCTS = {
    "large": "%x: f32[n<=64,256,28,28], %w: f32[256,256,3,3]; f32[n<=64,256,26,26] = conv2d(%x, %w)",
    "first": "%x: f32[n<=64,1,28,28], %w: f32[6,1,5,5]; f32[n<=64,6,24,24] = conv2d(%x, %w)",
    "strided": "%x: f32[n<=8,5,4,4], %w: f32[5,3,3,3];"
    " f32[n<=8,3,7,7] = conv2d_dgrad(%x, %w) {stride=[2, 2], padding=[1, 1]}",
    "linear": "%x: f32[n<=64,400], %w: f32[120,400]; f32[n<=64,120] = linear(%x, %w)",
}


def product(name: str) -> Graph:
    inputs, node = PRODUCTS[name].split(";")
    return lower(parse_graph(f"graph @g({inputs}) {{ %0: {node} return %0 }}"))


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_fastest_tile_by_the_model_is_chosen(name: str) -> None:
    (node,) = product(name).nodes
    assert isinstance(node.op, Gemm)
    found = ranking(node, CUDA)
    assert [e.seconds for e in found] == sorted(e.seconds for e in found)
    assert {e.tile for e in found} == set(candidates(node.op.phases, CUDA.level))
    assert found[0].seconds >= memory_seconds(node, CUDA)
    slower = replace(CUDA, multiprocessors=16)
    assert best_seconds(node, slower) >= best_seconds(node, CUDA)


def test_large_products_get_large_tiles_and_small_ones_small_tiles() -> None:
    sums = {}
    for name in ("large", "first"):
        tile = ranking(product(name).nodes[0], CUDA)[0].tile
        sums[name] = tile.block_m * tile.block_n
    assert sums["large"] >= 64 * 128
    assert sums["first"] <= 8 * 128


def test_every_tile_fits_the_memory_that_a_block_may_have() -> None:
    """Of the smallest multiprocessors that kernels run on, too: those of sm_86 and sm_89 give a block 99 KiB."""
    for t in TILES:
        assert 4 * t.stages * t.block_k * (t.block_m + t.block_n + 8) <= 99 * 1024, t


def test_results_are_stored_side_by_side() -> None:
    (node,) = product("linear").nodes
    assert isinstance(node.op, Gemm)
    (view,) = node.op.phases
    assert [a.name for a in view.m] == ["k"]
    turned = oriented(view, [node.out.type])
    assert ([a.name for a in turned.m], [a.name for a in turned.n]) == (["n"], ["k"])
    assert (turned.a, turned.b) == (view.b, view.a)
    assert oriented(turned, [node.out.type]) is turned


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: BlockTile(64, 64, 8, 3, 4), "thread_m must be 1, 2, 4 or 8 and divide block_m=64, not 3"),
        (lambda: BlockTile(64, 20, 8, 4, 8), "thread_n must be .* divide block_n=20, not 8"),
        (lambda: BlockTile(8, 8, 8, 8, 8), "32 to 1024 threads in whole warps"),
        (lambda: BlockTile(64, 64, 8, 4, 4, 9), "stages must be 0 to 8, not 9"),
        (lambda: TeamSchedule(100, 1), "threads must be 32 to 1024 in whole warps, not 100"),
        (lambda: TeamSchedule(256, 64), "team must be 1, 2, 4, 8, 16, 32 or all 256 threads of the block, and divide"),
        (lambda: TeamSchedule(32, 16, apart=4), "apart must be 1 or 2, which is threads / team, not 4"),
        (lambda: TeamSchedule(256, 1, 2, 4), "vector \\* window must be 1, 2 or 4, not 2 \\* 4"),
        (lambda: TeamSchedule(256, 32, 4), "vector and window must be 1 for a team of 32, not 4 and 1"),
    ],
)
def test_schedules_that_cannot_be(make, rule: str) -> None:
    with pytest.raises(IRError, match=rule):
        make()


def test_schedules_are_text() -> None:
    graph = planned("%x: f32[n<=8,3,9,9], %w: f32[4,3,3,3]", "f32[n<=8,4,7,7] = conv2d(%x, %w)")
    text = str(graph)
    assert "stages=4" in text
    assert str(parse_graph(text)) == text
    with pytest.raises(IRError, match=r"line .*: the schedule lacks block_k"):
        parse_graph(text.replace("block_k=16, ", "").replace("block_k=8, ", ""))
    with pytest.raises(IRError, match="a schedule has no setting 'lanes'"):
        parse_graph(text.replace("stages=4", "lanes=n"))
    with pytest.raises(IRError, match="thread_n must be 1, 2, 4 or 8"):
        parse_graph(text.replace("thread_n=", "thread_n=3"))
