"""One arena for all intermediates: values that are not live together share bytes.

Greedy by size: the largest value first, each at the lowest offset where no value that is live at the same
time lies (Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020, algorithm 3).
Updates are made in place where no later reader of the old value is left, else copied at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from convc.ir.core import Builder, Graph, Node, Placement, Value, fresh_builder
from convc.ir.kernels import Loops
from convc.ir.ops.shape import Relayout
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
    placed: list[tuple[int, int, Interval]] = []  # offset, end, interval
    offsets: dict[Value, int] = {}
    for x in sorted(live, key=lambda x: (-x.value.type.nbytes, x.first)):
        size = aligned(x.value.type.nbytes)
        offset = 0
        for start, end, other in sorted(placed, key=lambda p: p[0]):
            if other.last < x.first or x.last < other.first:
                continue
            if start >= offset + size:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, x))
        offsets[x.value] = offset
    return offsets


def unplanned_bytes(graph: Graph) -> int:
    """What the intermediates would take with no reuse at all."""
    return sum(aligned(v.type.nbytes) for n in graph.nodes for v in n.outputs if v not in graph.outputs)


def _copied_results(graph: Graph, target: Target) -> Graph:
    """The graph with copies for results that need memory of their own.

    That is an update which cannot be made in place, and an output that is an input or is returned twice. What
    is an input's old value is copied at the start, before an update can overwrite it; all else at the end.
    """
    early, late = fresh_builder(graph, "plan_memory"), fresh_builder(graph, "plan_memory")
    inputs = {v.name: v for v in graph.inputs}

    def copy(b: Builder, v: Value, wanted: TensorType, name: str) -> Value:
        return b(Relayout(result=wanted), v, name=name)

    outputs: list[Value] = []
    for v in graph.outputs:
        if v in graph.inputs:
            outputs.append(copy(early, v, v.type, f"{v.name}.returned"))
        else:
            again = v in outputs or v in graph.updates.values()
            outputs.append(copy(late, v, v.type, f"{v.name}.returned.again") if again else v)
    updates: dict[str, Value] = {}
    for name, v in graph.updates.items():
        if v in graph.inputs:
            v = copy(early, v, v.type, f"{name}.old")
        if v in updates.values() or not _in_place(graph, inputs[name], v):
            v = copy(late, v, inputs[name].type, f"{name}.copied")
        updates[name] = v
    nodes = (*_kernels(early, graph, target), *graph.nodes, *_kernels(late, graph, target))
    return replace(graph, nodes=nodes, outputs=tuple(outputs), updates=updates)


def _kernels(b: Builder, graph: Graph, target: Target) -> tuple[Node, ...]:
    """The builder's nodes, lowered and scheduled."""
    lowered = [replace(n, op=n.op.lower([v.type for v in n.inputs], [v.type for v in n.outputs])) for n in b.nodes]
    return schedule(replace(graph, nodes=tuple(lowered)), target).nodes


def _in_place(graph: Graph, old: Value, new: Value) -> bool:
    """The producer of `new` may overwrite `old`: it reads it point by point, and nobody reads it later."""
    producer = graph.producers().get(new)
    if producer is None or new in graph.outputs or old in graph.outputs or old.type != new.type:
        return False
    position = graph.nodes.index(producer)
    if any(old in n.inputs for n in graph.nodes[position + 1 :]) or old in graph.updates.values():
        return False
    return old not in producer.inputs or _pointwise_in(producer, old, new)


def _pointwise_in(producer: Node, old: Value, new: Value) -> bool:
    """Whether each outer point reads of `old` only the element that it stores of `new`."""
    if not isinstance(producer.op, Loops):
        return False
    nest = producer.op.nest
    number = producer.outputs.index(new)
    points = {s.coords for s in nest.stores if s.output == number}
    points |= {e.coords for e in kernel_loads(producer.op) if producer.inputs[e.operand] is old}
    return len(points) == 1 and all(a in nest.axes for c in points.pop() for a in c.axes())
