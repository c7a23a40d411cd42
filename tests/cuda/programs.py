"""Programs for the CUDA target: a whole train step, and a convolution on each tile that is shipped."""

from __future__ import annotations

from dataclasses import replace

import convc
from convc.codegen.cuda.emit import CudaSource, emit_cuda
from convc.compiler import Mode, model_graph, trace_of
from convc.ir.core import Graph
from convc.ir.kernels import Gemm
from convc.ir.text import parse_graph
from convc.optim import SGD
from convc.passes.block_tile import TILES
from convc.passes.pipeline import pipeline, run
from convc.passes.plan_memory import plan_memory
from convc.passes.target import CUDA


def lenet(rows: int, mode: Mode = "train") -> CudaSource:
    """LeNet-5's program with a batch capacity of `rows`."""
    _, graph = model_graph(convc.models.lenet5(), (rows, 1, 28, 28), mode, "cross_entropy")
    return emit_cuda(trace_of(graph, mode, SGD(momentum=0.9), CUDA).stages[-1][1])


def every_tile(rows: int = 5) -> Graph:
    """One strided, padded convolution for each shipped tile, all on the same input; no extent divides a tile."""
    w, y = "f32[21,3,3,2]", f"f32[n<={rows},21,4,5]"
    head = ", ".join([f"%x: f32[n<={rows},3,7,6]", *(f"%w{i}: {w}" for i in range(len(TILES)))])
    lines = [f"%y{i}: {y} = conv2d(%x, %w{i}) {{stride=[2, 1], padding=[1, 0]}}" for i in range(len(TILES))]
    returned = ", ".join(f"%y{i}" for i in range(len(TILES)))
    graph = parse_graph("\n".join([f"graph @tiles({head}) {{", *lines, f"return {returned} }}"]))
    planned = run(graph, pipeline(train=False), CUDA).stages[-1][1]
    gemms = [n for n in planned.nodes if isinstance(n.op, Gemm)]
    assert len(gemms) == len(TILES)
    tiled = {n: replace(n, op=replace(n.op, schedules=(t,))) for n, t in zip(gemms, TILES)}
    return plan_memory(planned.with_nodes(tiled.get(n, n) for n in planned.nodes), target=CUDA)
