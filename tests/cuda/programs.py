"""Programs for the CUDA target: a whole train step, and a convolution on each tile that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import convc
from convc.codegen.cuda.emit import CudaSource, emit_cuda
from convc.compiler import Mode, model_graph, trace_of
from convc.ir.core import Graph, Node
from convc.ir.kernels import BlockTile, Gemm, Loops, TeamSchedule
from convc.ir.text import parse_graph
from convc.optim import SGD
from convc.passes.block_tile import TILES, candidates
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA
from convc.runtime.emulator import EmulatorExecutable
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore


def lenet(rows: int, mode: Mode = "train") -> CudaSource:
    """LeNet-5's program with a batch capacity of `rows`."""
    return train_step("lenet5", (rows, 1, 28, 28), mode)


def train_step(model: str, shape: tuple[int, ...], mode: Mode = "train") -> CudaSource:
    """The program of a model of the zoo."""
    _, graph = model_graph(getattr(convc.models, model)(), shape, mode, "cross_entropy")
    return emit_cuda(trace_of(graph, mode, SGD(momentum=0.9), CUDA).stages[-1][1])


def every_tile(rows: int = 5, walks: int = 1) -> Graph:
    """Strided, padded convolutions, `walks` for each tile, on one input; no extent divides a tile."""
    w, y = "f32[21,7,3,2]", f"f32[n<={rows},21,4,5]"
    convolutions = len(TILES) * walks
    head = ", ".join([f"%x: f32[n<={rows},7,7,6]", *(f"%w{i}: {w}" for i in range(convolutions))])
    lines = [f"%y{i}: {y} = conv2d(%x, %w{i}) {{stride=[2, 1], padding=[1, 0]}}" for i in range(convolutions)]
    returned = ", ".join(f"%y{i}" for i in range(convolutions))
    return parse_graph("\n".join([f"graph @tiles({head}) {{", *lines, f"return {returned} }}"]))


def with_tiles(graph: Graph) -> Graph:
    """A planned graph whose GEMMs take the shipped tiles in turn, along every axis of k that fits."""
    turn = count()

    def tiled(node: Node) -> Node:
        if not isinstance(node.op, Gemm):
            return node
        number = next(turn)
        fitting = [t for t in candidates(node.op.phases, 5) if same_block(t, TILES[number % len(TILES)])]
        tile = fitting[number // len(TILES) % len(fitting)]
        return replace(node, op=replace(node.op, schedules=(tile,) * len(node.op.phases)))

    return graph.with_nodes(map(tiled, graph.nodes))


def same_block(one: BlockTile, other: BlockTile) -> bool:
    """Whether two tiles differ in their walk along k only."""
    return replace(one, slice=None) == replace(other, slice=None)


def with_team(graph: Graph, schedule: TeamSchedule) -> Graph:
    """A planned graph whose loop nests all have one schedule."""
    return graph.with_nodes(
        replace(n, op=replace(n.op, schedule=schedule)) if isinstance(n.op, Loops) else n for n in graph.nodes
    )


def emulated(graph: Graph, change: Callable[[Graph], Graph] = lambda g: g, level: int = 5) -> Program:
    """The graph's program on the emulator; `change` has the last word on its planned kernels."""
    trace = run(graph, pipeline(train=False), replace(CUDA, level=level))
    changed = change(trace.stages[-1][1])
    trace.stages.append(("changed", changed))
    return Program(trace, EmulatorExecutable(changed), ParameterStore())
