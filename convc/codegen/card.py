"""The card on top of every kernel: where it comes from, what it computes, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from convc.codegen.names import comment, count
from convc.codegen.traffic import Traffic
from convc.ir.core import Node
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis
from convc.ir.kernels import Gemm, GemmSchedule, Loops, LoopSchedule, TeamSchedule, TransposeSchedule
from convc.ir.scalar import loads
from convc.ir.text import print_node
from convc.ir.types import TensorType
from convc.passes.lanes import Access


@dataclass(frozen=True)
class Card:
    """Figures at full batch capacity. `im2col_bytes`: the matrix that is gathered instead of stored.

    `counted`: what a run moved, where one was counted.
    """

    path: str
    passes: tuple[str, ...]
    flops: int
    bytes: int
    im2col_bytes: int
    lines: tuple[str, ...]
    counted: Traffic | None = None


def card_for(node: Node, extra: Sequence[str] = ()) -> Card:
    """The card of one kernel node; `extra` are lines of what only the target knows."""
    op = node.op
    assert isinstance(op, Gemm | Loops)
    moved = sum(v.type.nbytes for v in (*node.inputs, *node.outputs))
    avoided = sum(_im2col(v, node) for v in op.phases) if isinstance(op, Gemm) else 0
    lines = [f"from    {node.path or 'the graph'}, by {', '.join(node.passes) or 'the model itself'}"]
    lines += [f"        {line}" for line in print_node(node).splitlines()]
    if isinstance(op, Gemm):
        lines += [
            line for i, view in enumerate(op.phases) for line in _gemm_lines(op, i, view, [v.type for v in node.inputs])
        ]
    elif isinstance(op.schedule, LoopSchedule):
        lines.append(f"loops   {op.schedule.width} lanes along {op.schedule.lanes or 'none'}")
    elif isinstance(op.schedule, TeamSchedule | TransposeSchedule):
        lines.append(f"loops   {op.schedule.summary}, {op.schedule.threads} threads a block")
    lines += extra
    flops = op.flops([v.type for v in node.inputs])
    intensity = flops / moved if moved else 0.0
    lines.append(f"work    {count(flops)}FLOP, {count(moved)}B moved at least, {intensity:.2f} FLOP/B")
    if avoided:
        lines.append(f"saved   {count(avoided)}B of im2col matrix that is never stored")
    return Card(node.path, node.passes, flops, moved, avoided, tuple(comment(x) for x in lines))


REMEDY = "batch rows typed n<=N with N of 4 or more would load whole vectors"


def _gathered(view: GemmView, s: GemmSchedule, inputs: Sequence[TensorType]) -> list[str]:
    """What of the operands is loaded lane by lane, or that there are no lanes at all."""
    axis = next((a for a in view.axes if a.name == s.lanes), None)
    if axis is None:
        return ["no axis fills the lanes of a vector"]
    strides = {e.operand: Access(e.coords, inputs[e.operand]).lane_stride(axis, s.width) for e in loads(view.a, view.b)}
    return [
        f"operand {operand} is gathered lane by lane, {stride or 'uneven'} elements apart"
        for operand, stride in strides.items()
        if stride not in (0, 1)
    ]


def _gemm_lines(op: Gemm, number: int, view: GemmView, inputs: Sequence[TensorType]) -> list[str]:
    groups, m, n, k = view.extents
    sides = ", ".join(
        f"{side} = {_axes(axes)} = {extent}"
        for side, axes, extent in (("M", view.m, m), ("N", view.n, n), ("K", view.k, k))
    )
    head = "GEMM    " if len(op.phases) == 1 else f"phase {number} "
    lines = [f"{head}{sides}{f', {groups} groups' if groups > 1 else ''}"]
    if op.schedules:
        s = op.schedules[number]
        if not isinstance(s, GemmSchedule):
            return [*lines, f"tile    {s.summary}, {s.threads} threads a block"]
        tile = f"{s.m_tile[1]} {s.m_tile[0]} x {s.n_tile[1]} {s.n_tile[0]}"
        lines.append(f"tile    {tile} in registers, {s.width} lanes along {s.lanes or 'none'}")
        lines += [f"slow    {what}; {REMEDY}" for what in _gathered(view, s, inputs)]
    return lines


def _axes(axes: tuple[Axis, ...]) -> str:
    return "*".join(f"{a.name}({a.extent})" for a in axes) or "1"


def _im2col(view: GemmView, node: Node) -> int:
    """Bytes of the gathered matrix, where gathering repeats elements."""
    _, _, n, k = view.extents
    groups = prod(int(a.extent) for a in view.batch)
    matrix = 4 * groups * n * k
    return matrix if any(matrix > v.type.nbytes * 2 for v in node.inputs[:2]) and len(view.k) > 1 else 0
