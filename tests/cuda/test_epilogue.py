"""The end of a product's kernel: results that lie in line are stored several at once, and operands loaded likewise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convc.build.nvrtc_library import find_library_file
from convc.codegen.cuda.emit import emit_cuda
from convc.codegen.traffic import Sectors
from convc.ir.core import Graph
from convc.ir.kernels import BlockTile, Gemm
from convc.ir.text import parse_graph
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA
from tests.cuda.programs import emulated
from tests.cuda.test_traffic import traffic_of
from tests.numerics.helpers import check

needs_nvrtc = pytest.mark.skipif(
    find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'"
)
TILES = {
    "two": BlockTile(8, 32, 16, 1, 2, 4),
    "four": BlockTile(16, 64, 16, 2, 4, 4),
    "eight": BlockTile(128, 128, 8, 8, 8, 4),
}


def convolution(size: int, channels: int = 5) -> Graph:
    """Three by three with padding: y is as large as x."""
    y = f"f32[n<=3,{channels},{size},{size}]"
    return parse_graph(f"""graph @g(%x: f32[n<=3,4,{size},{size}], %w: f32[{channels},4,3,3], %z: {y}) {{
      %0: {y} = conv2d(%x, %w) {{padding=[1, 1]}}
      %1: {y} = add(%0, %z)
      return %1 }}""")


def tiled(graph: Graph, tile: BlockTile) -> Graph:
    return graph.with_nodes(
        replace(n, op=replace(n.op, schedules=(tile,) * len(n.op.phases))) if isinstance(n.op, Gemm) else n
        for n in graph.nodes
    )


WIDE = {
    # rows of 6 pixels are no whole vectors, images of 36 are
    ("two", 6): 2, ("four", 6): 4, ("eight", 6): 4,
    # images of 49 pixels are none either
    ("two", 7): 1, ("four", 7): 1, ("eight", 7): 1,
}  # fmt: skip


@pytest.mark.parametrize(("tile", "size"), WIDE)
def test_how_many_are_stored_at_once(tile: str, size: int) -> None:
    planned = run(convolution(size), pipeline(train=False), CUDA).stages[-1][1]
    (kernel,) = emit_cuda(tiled(planned, TILES[tile])).kernels
    wide = WIDE[tile, size]
    assert (f"store{wide}(t1_ptr" in kernel.source) == (wide > 1)
    assert (f"load{wide}(z_parts" in kernel.source) == (wide > 1)
    assert f"gemm_n % {size * size};" in kernel.source, "the pixels of an image are not counted in line"
    assert any(f"{4 * wide}-byte" in x and "stores" in x for x in kernel.card.lines) == (wide > 1)


@needs_nvrtc
@pytest.mark.parametrize(("tile", "size"), WIDE)
def test_the_results_are_right(tile: str, size: int) -> None:
    graph = convolution(size)
    check(graph, (3, 1), emulated(graph, lambda planned: tiled(planned, TILES[tile])))


@needs_nvrtc
@pytest.mark.parametrize(("tile", "requests"), [("two", 36), ("four", 20)])
def test_stores_fill_their_sectors(tile: str, requests: int) -> None:
    """Two images of 8 channels and 12 x 12 pixels: 2304 results, 8 a sector. A request stores 64 of them, or 128 where
    its tile is full."""
    graph = parse_graph("""graph @g(%x: f32[2,4,12,12], %w: f32[8,4,3,3]) {
      %0: f32[2,8,12,12] = conv2d(%x, %w) {padding=[1, 1]}
      return %0 }""")
    program = emulated(graph, lambda planned: tiled(planned, TILES[tile]))
    check(graph, (2,), program)
    (found,) = traffic_of(program).values()
    assert found.stores == Sectors(requests, 2304 // 8, 2304 // 8)
