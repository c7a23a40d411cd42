"""Loop nests and memory: in which order the outer axes run, and what their accesses cost on blocks of threads."""

from __future__ import annotations

from dataclasses import replace

from convc.ir.core import Node
from convc.ir.index import Axis
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Reduce
from convc.ir.scalar import loads
from convc.passes.target import LAUNCH_SECONDS, SECTOR, Target
from convc.passes.transpose import transposed


def in_memory_order(node: Node) -> Node:
    """The node with its outer axes in the order in which its largest tensor lies in memory, the innermost last.

    Of equal ones the first result counts. It stays as it is where not every axis walks through that tensor evenly.
    """
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    results = [(node.outputs[s.output].type, s.coords) for s in nest.stores]
    read = [(node.inputs[e.operand].type, e.coords) for s in nest.stages for e in loads(*s.roots)]
    largest, coords = max((*results, *read), key=lambda x: x[0].nbytes)
    offset = largest.offset(coords).linear()
    moving = [a for a in nest.axes if a.extent > 1]
    strides = {a: abs(offset.coefficient(a) or 0) for a in moving}
    if not all(strides.values()):
        return node
    ordered = iter(sorted(moving, key=lambda a: -strides[a]))
    axes = tuple(next(ordered) if a.extent > 1 else a for a in nest.axes)
    return node if axes == nest.axes else replace(node, op=replace(node.op, nest=LoopNest(axes, nest.stages)))


def nest_seconds(node: Node, target: Target) -> float:
    """What moving the operands and results takes, sectors of which one element is used counted whole.

    Neighbouring threads are neighbours along the innermost outer axis, or along a reduction's: the better one counts.
    In tiles that turn in shared memory no sector is scattered.
    """
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    lanes = [a for a in nest.axes if a.extent > 1][-1:]
    lanes += [a for s in nest.stages if isinstance(s, Reduce) for a in s.axes if a.extent > 1][-1:]
    moved = min((_bytes(node, lane) for lane in lanes), default=0.0)
    if transposed(node):
        moved = sum(v.type.nbytes for v in (*node.inputs, *node.outputs))
    return moved / target.bytes_per_second + LAUNCH_SECONDS


def _bytes(node: Node, lane: Axis) -> float:
    """Bytes moved when neighbouring threads are neighbours along `lane`."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    apart: dict[int, int] = {}
    for stage in nest.stages:
        for e in loads(*stage.roots):
            stride = node.inputs[e.operand].type.offset(e.coords).linear().coefficient(lane)
            apart[e.operand] = max(apart.get(e.operand, 1), SECTOR if stride is None else min(abs(stride), SECTOR))
    total = sum(node.inputs[number].type.nbytes * sectors for number, sectors in apart.items())
    for s in nest.stores:
        result = node.outputs[s.output].type
        stride = result.offset(s.coords).linear().coefficient(lane)
        total += result.nbytes * (SECTOR if stride is None else max(1, min(abs(stride), SECTOR)))
    return float(total)
