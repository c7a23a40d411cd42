"""The inner loops as machine code: how much of them is multiply-adds, beside a matrix product written by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from convc.build.nvrtc import compile_cubin
from convc.build.nvrtc_library import find_library_file
from convc.build.sass import Instruction, disassemble, hot_loop
from convc.codegen.cuda.emit import emit_cuda
from convc.ir.core import Node
from convc.ir.kernels import Gemm
from convc.ir.text import parse_graph
from convc.passes.block_tile import TILES
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
ARCHS = ("sm_80", "sm_90a", "sm_100")
LEAST = 0.8
"""Of the share of multiply-adds that the hand-written product's loop has."""
CONVOLUTIONS = """
graph @convolutions(%x: f32[n<=64,128,28,28], %w: f32[128,128,3,3], %p: f32[256,128,1,1], %i: f32[n<=64,3,224,224],
                    %f: f32[64,3,7,7]) {
  %y: f32[n<=64,128,28,28] = conv2d(%x, %w) {padding=[1, 1]} loc(fprop)
  %dx: f32[n<=64,128,28,28] = conv2d_dgrad(%x, %w) {padding=[1, 1]} loc(dgrad)
  %dw: f32[128,128,3,3] = conv2d_wgrad(%x, %x) {padding=[1, 1]} loc(wgrad)
  %q: f32[n<=64,256,28,28] = conv2d(%x, %p) loc(pointwise)
  %z: f32[n<=64,64,112,112] = conv2d(%i, %f) {stride=[2, 2], padding=[3, 3]} loc(first)
  return %y, %dx, %dw, %q, %z
}
"""


def share(code: list[Instruction]) -> float:
    loop = hot_loop(code)
    return sum(i.base == "FFMA" for i in loop) / len(loop)


@cache
def by_hand(arch: str) -> float:
    source = (Path(__file__).parent / "sgemm.cu").read_text()
    return share(disassemble(compile_cubin(source, "sgemm", arch).data)["sgemm"])


def largest_tile(node: Node) -> Node:
    """The product with the largest tile, along the axis that was chosen for it."""
    if not isinstance(node.op, Gemm):
        return node
    tiles = tuple(replace(TILES[0], slice=s.slice) for s in node.op.schedules)
    return replace(node, op=replace(node.op, schedules=tiles))


@cache
def loops(arch: str) -> dict[str, float]:
    planned = run(parse_graph(CONVOLUTIONS), pipeline(train=False), CUDA).stages[-1][1]
    source = emit_cuda(planned.with_nodes(map(largest_tile, planned.nodes)))
    code = disassemble(compile_cubin(source.text, source.entry, arch).data)
    products = [x for x in source.launches if isinstance(x.kernels[0].node.op, Gemm)]
    return {x.kernels[0].node.path: share(code[x.name]) for x in products}


@pytest.mark.parametrize("arch", ARCHS)
def test_the_yardstick_is_one(arch: str) -> None:
    assert by_hand(arch) > 0.85


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad", "pointwise", "first"])
def test_convolutions_come_near_it(direction: str, arch: str) -> None:
    assert loops(arch)[direction] >= LEAST * by_hand(arch)
