"""The tile of every GEMM. For vectors: which axis fills the lanes, and how many sums are kept in registers.

A register tile of a*b sums needs a + b values for a*b multiply-adds, and a*b + min(a, b) + 1 registers. The model
counts, for each step of the sum, the larger of multiply-adds and loads, over full and residual tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from convc.ir.core import Graph, Node
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis
from convc.ir.kernels import Gemm, GemmSchedule
from convc.ir.scalar import loads
from convc.ir.types import Rows, TensorType
from convc.passes.block_tile import block_tile_for, oriented
from convc.passes.lanes import Access, choose
from convc.passes.registry import register_pass
from convc.passes.target import CPU, Target

STEP_OVERHEAD, TILE_OVERHEAD, RESIDUE_PENALTY = 1.0, 40.0, 1.02


@register_pass
def select_tile(graph: Graph, target: Target = CPU) -> Graph:
    """gemm {phase {...}} -> gemm {phase {... schedule {lanes=n, width=16, m_tile=k:6, n_tile=q:4}}}

    For blocks of threads: schedule {block_m=64, block_n=64, block_k=8, thread_m=4, thread_n=4}
    """
    return graph.with_nodes(_scheduled(n, target) if isinstance(n.op, Gemm) else n for n in graph.nodes)


def _scheduled(node: Node, target: Target) -> Node:
    assert isinstance(node.op, Gemm)
    if target.simt:
        phases = tuple(oriented(view, [v.type for v in node.outputs]) for view in node.op.phases)
        op = replace(node.op, phases=phases)
        tile = block_tile_for(replace(node, op=op), target)
        tiled = replace(op, schedules=(tile,) * len(phases))
        return replace(node, op=tiled, passes=node.made_by("select_tile"))
    types = ([v.type for v in node.inputs], [v.type for v in node.outputs])
    schedules = tuple(schedule_for(view, *types, target) for view in node.op.phases)
    return replace(node, op=replace(node.op, schedules=schedules), passes=node.made_by("select_tile"))


def schedule_for(
    view: GemmView, inputs: Sequence[TensorType], outputs: Sequence[TensorType], target: Target
) -> GemmSchedule:
    """The cheapest schedule of one view under the model."""
    k = view.extents[3]
    accesses = [Access(e.coords, inputs[e.operand]) for f in (view.a, view.b) for e in loads(f)]
    accesses += [Access(s.coords, outputs[s.output], 1 / max(k, 1)) for s in view.stores]
    lanes = choose((*view.n, *view.m, *view.k), target.lanes, accesses)
    axis, width = lanes or (None, 1)

    def blocks(a: Axis) -> int:
        return -(-int(a.extent) // width) if a == axis else int(a.extent)

    def options(axes: Sequence[Axis]) -> list[tuple[str, int, int]]:
        found = [
            (a.name, blocks(a), t)
            for a in reversed(axes)
            for t in range(1, 2 if a in view.m and isinstance(a.extent, Rows) else min(blocks(a), target.registers) + 1)
        ]
        return found or [("", 1, 1)]

    best = min(
        product(options(view.m), options(view.n)),
        key=lambda o: _cost(o[0][1:], o[1][1:], max(k, 1), target.registers),
    )
    (m_name, _, m_tile), (n_name, _, n_tile) = best
    return GemmSchedule(axis.name if axis else None, width, (m_name, m_tile), (n_name, n_tile))


def _cost(m: tuple[int, int], n: tuple[int, int], k: int, registers: int) -> float:
    """Cycles for each sum and step, with tiles of m[1] x n[1] on extents m[0] x n[0]."""
    if m[1] * n[1] + min(m[1], n[1]) + 1 > registers:
        return float("inf")
    total = 0.0
    for rows, m_count in _pieces(*m):
        for columns, n_count in _pieces(*n):
            step = max(rows * columns, rows + columns) + STEP_OVERHEAD
            total += m_count * n_count * (step * k + TILE_OVERHEAD)
    residue = RESIDUE_PENALTY if m[0] % m[1] or n[0] % n[1] else 1.0
    return total * residue / (m[0] * n[0] * k)


def _pieces(extent: int, tile: int) -> list[tuple[int, int]]:
    """(size, how many) of the full tiles and of the residue."""
    pieces = [(tile, extent // tile), (extent % tile, 1 if extent % tile else 0)]
    return [p for p in pieces if p[1]]
