"""One arena for all intermediates: values that are not live together share bytes.

Greedy by size: the largest value first, each at the lowest offset where no value that is live at the same
time lies (Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020, algorithm 3).
Updates are made in place where no later reader of the old value is left, else copied at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convc.ir.core import Builder, Graph, Node, Placement, Value, fresh_builder
from convc.ir.kernels import Loops
from convc.ir.loop_nest import Map
from convc.ir.ops.shape import Relayout
from convc.ir.scalar import Load, loads
from convc.ir.types import TensorType
from convc.passes.compose import kernel_loads
from convc.passes.registry import register_pass
from convc.passes.schedule import schedule
from convc.passes.target import CPU, Target

ALIGNMENT = 64


@register_pass
def plan_memory(graph: Graph, target: Target = CPU) -> Graph:
    """%a: f32[...] -> place %a at arena + offset; update %w = %a -> place %a inside %w"""
    graph = _copied_results(graph, target)
    places: dict[str, Placement] = {v.name: Placement(inside=name) for name, v in graph.updates.items()}
    live = [x for x in intervals(graph) if x.value.name not in places]
    offsets = greedy_by_size(live)
    places |= {v.name: Placement(offset) for v, offset in offsets.items()}
    size = max((offset + aligned(v.type.nbytes) for v, offset in offsets.items()), default=0)
    return replace(graph, placements=places, arena_bytes=size)


@dataclass(frozen=True)
class Interval:
    """A value and the numbers of the nodes that define it and read it last, both inclusive."""

    value: Value
    first: int
    last: int


def intervals(graph: Graph) -> list[Interval]:
    """The lives of all intermediates: results of nodes that are not outputs of the graph."""
    last: dict[Value, int] = {}
    for i, node in enumerate(graph.nodes):
        last.update((v, i) for v in node.inputs)
    outputs = set(graph.outputs)
    return [
        Interval(v, i, last.get(v, i)) for i, node in enumerate(graph.nodes) for v in node.outputs if v not in outputs
    ]


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def greedy_by_size(live: list[Interval]) -> dict[Value, int]:
    """Offsets such that values with overlapping lives do not overlap in memory."""
    placed = np.zeros((4, 0), np.int64)  # start, end, first, last of each value that has its place, by start
    offsets: dict[Value, int] = {}
    for x in sorted(live, key=lambda x: (-x.value.type.nbytes, x.first)):
        size = aligned(x.value.type.nbytes)
        _, _, first, last = placed
        starts, ends = placed[:2, (first <= x.last) & (last >= x.first)]
        floor = np.maximum.accumulate([0, *ends])  # room may begin at 0 and behind each
        (gaps,) = np.nonzero(starts - floor[:-1] >= size)
        offset = int(floor[gaps[0]] if gaps.size else floor[-1])
        at = int(np.searchsorted(placed[0], offset, "right"))
        placed = np.insert(placed, at, [offset, offset + size, x.first, x.last], axis=1)
        offsets[x.value] = offset
    return offsets


def unplanned_bytes(graph: Graph) -> int:
    """What the intermediates would take with no reuse at all."""
    returned = set(graph.outputs)
    return sum(aligned(v.type.nbytes) for n in graph.nodes for v in n.outputs if v not in returned)


def _copied_results(graph: Graph, target: Target) -> Graph:
    """The graph with copies for results that need memory of their own.

    That is an update which cannot be made in place, and an output that is an input or is returned twice. What
    is an input's old value is copied at the start, before an update can overwrite it; all else at the end.
    """
    early, late = fresh_builder(graph, "plan_memory"), fresh_builder(graph, "plan_memory")
    inputs = {v.name: v for v in graph.inputs}
    given, new = set(graph.inputs), set(graph.updates.values())

    def copy(b: Builder, v: Value, wanted: TensorType, name: str) -> Value:
        return b(Relayout(result=wanted), v, name=name)

    outputs: dict[Value, None] = {}
    for v in graph.outputs:
        if v in given:
            v = copy(early, v, v.type, f"{v.name}.returned")
        elif v in outputs or v in new:
            v = copy(late, v, v.type, f"{v.name}.returned.again")
        outputs[v] = None
    in_place = _in_place(graph)
    updates: dict[str, Value] = {}
    for name, v in graph.updates.items():
        if v in given:
            v = copy(early, v, v.type, f"{name}.old")
        if v not in in_place or in_place[v] is not inputs[name]:
            v = copy(late, v, inputs[name].type, f"{name}.copied")
        updates[name] = v
    nodes = (*_kernels(early, graph, target), *graph.nodes, *_kernels(late, graph, target))
    return replace(graph, nodes=nodes, outputs=tuple(outputs), updates=updates)


def _kernels(b: Builder, graph: Graph, target: Target) -> tuple[Node, ...]:
    """The builder's nodes, lowered and scheduled."""
    lowered = [replace(n, op=n.op.lower([v.type for v in n.inputs], [v.type for v in n.outputs])) for n in b.nodes]
    return schedule(replace(graph, nodes=tuple(lowered)), target).nodes


def _in_place(graph: Graph) -> dict[Value, Value]:
    """For each new value that may overwrite an input, that input: the node that makes the new value reads the old one
    point by point, and nobody reads it later."""
    inputs = {v.name: v for v in graph.inputs}
    made = {v: i for i, n in enumerate(graph.nodes) for v in n.outputs}
    read = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs}  # last
    returned = set(graph.outputs)
    kept = {*returned, *graph.updates.values()}
    found: dict[Value, Value] = {}
    for name, new in graph.updates.items():
        old = inputs[name]
        if new in found or new not in made or old in kept or old.type != new.type or new in returned:
            continue
        producer = graph.nodes[made[new]]
        if read.get(old, -1) < made[new] or (read[old] == made[new] and _pointwise_in(producer, old, new)):
            found[new] = old
    return found


def _pointwise_in(producer: Node, old: Value, new: Value) -> bool:
    """Whether each outer point reads of `old` only the element that it stores of `new`, and before it does."""
    if not isinstance(producer.op, Loops):
        return False
    nest = producer.op.nest
    number = producer.outputs.index(new)
    points = {s.coords for s in nest.stores if s.output == number}
    points |= {e.coords for e in kernel_loads(producer.op) if producer.inputs[e.operand] is old}
    alone = len(points) == 1 and all(a in nest.axes for c in points.pop() for a in c.axes())
    return alone and not _read_behind(producer, old, number)


def _read_behind(producer: Node, old: Value, number: int) -> bool:
    """Whether a point loads of `old` after its store of that output.

    What several stores of a stage have in common is loaded once, before the first; but not a lone i32, such as a seed.
    """
    assert isinstance(producer.op, Loops)
    stored, lone = False, old.type.dtype == "i32" and old.type.elements == 1
    for stage in producer.op.nest.stages:
        before: set[Load] = set()  # a stage knows nothing of what another one loaded
        for i, root in enumerate(stage.roots):
            read = {e for e in loads(root) if producer.inputs[e.operand] is old}
            if stored and not read <= before:
                return True
            before |= set() if stored or lone else read
            stored |= isinstance(stage, Map) and stage.stores[i].output == number
    return False
