"""A long reduction with few results becomes two: partial results side by side, then their reduction.

The cut is by the tensor's own extents and never by the machine's threads, so that the sum's order, and with it
every bit of the result, is the same on every device.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from convc.ir.core import Graph, Node, Value
from convc.ir.index import Axis, Index
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce
from convc.ir.scalar import Local, Scalar, load, store, substitute_axes
from convc.ir.types import Rows, TensorType
from convc.passes.compose import compact, map_stage, renumber
from convc.passes.registry import register_pass
from convc.passes.target import CPU, Target
from convc.passes.teams import side_by_side

SPLIT = ("sum", "max")
"""Monoids of one component whose parts may be joined in any grouping."""
LONGEST = 2048
"""Elements that one block reduces without being asked to share."""
PART = 1024
"""The most elements of a part, where an axis has to be cut: into equal parts."""
SHORTEST = 32
PARTS = 512
"""The most parts of a column: their sum is a kernel of few blocks, each thread of which then has 32 numbers."""
THREADS = 512
"""For each multiprocessor: what a thread a result wants, where neighbours along the results read neighbours."""


@register_pass
def split_reductions(graph: Graph, target: Target = CPU) -> Graph:
    """loops: for(c:6) sum over (n, h, w) -> loops: for(n, c:6) sum over (h, w); loops: for(c:6) sum over (n)

    Fires for blocks of threads, where the results are fewer than the multiprocessors; where only neighbours along
    the results read neighbours in memory, as sums over the pixels of NHWC do, where they are fewer than the threads.
    """
    if not target.simt:
        return graph
    taken = {v.name for v in graph.values()}
    nodes: list[Node] = []
    made: dict[Value, int] = dict.fromkeys(graph.inputs, -1)  # the number of the node that makes it
    behind: dict[int, list[Node]] = {}
    for number, node in enumerate(graph.nodes):
        made.update((v, number) for v in node.outputs)
        parts = _split(node, target, taken)
        if parts is None:
            nodes.append(node)
            continue
        first, second = parts
        # right behind what it reads: kernels that do not wait for each other can then share a launch
        behind.setdefault(max((made[v] for v in first.inputs), default=-1), []).append(first)
        nodes.append(second)
    placed = [n for i in range(-1, len(nodes)) for n in (*nodes[max(i, 0) : i + 1], *reversed(behind.get(i, ())))]
    return graph.with_nodes(placed)


def _split(node: Node, target: Target, taken: set[str]) -> tuple[Node, Node] | None:
    if not isinstance(node.op, Loops):
        return None
    nest = node.op.nest
    reduces = [s for s in nest.stages if isinstance(s, Reduce)]
    if len(reduces) != 1 or nest.stages[0] is not reduces[0] or reduces[0].monoid not in SPLIT:
        return None
    reduce = reduces[0]
    points = prod(int(a.extent) for a in nest.axes)
    length = prod(int(a.extent) for a in reduce.axes)
    columns = side_by_side(node, nest.axes[-1:]) and not side_by_side(node, reduce.axes[-1:])
    enough = target.multiprocessors * (THREADS if columns else 1)
    if points >= enough or length <= LONGEST:
        return None
    cut = _cut_columns(reduce, min(PARTS, -(-enough // points))) if columns else _cut(reduce)
    if cut is None:
        return None
    part_axes, inner, value = cut
    name = f"{node.out.name}.parts"
    while name in taken:
        name += "_"
    taken.add(name)
    rows_first = any(isinstance(a.extent, Rows) for a in nest.axes)
    axes = (*nest.axes, *part_axes) if rows_first else (*part_axes, *nest.axes)
    parts = Value(name, TensorType("f32", tuple(a.extent for a in axes)))  # whatever is stored of them
    stages = (Reduce(inner, reduce.monoid, ("part",), (value,)), Map((), (store(0, axes, Local("part")),)))
    title = f"{reduce.monoid}_parts"
    first = Node(Loops(LoopNest(axes, stages), results=(parts.type,), title=title), node.inputs, (parts,), node.path,
                 node.made_by("split_reductions"))  # fmt: skip
    joined = Reduce(part_axes, reduce.monoid, reduce.results, (load(len(node.inputs), *axes),))
    rest = [map_stage(s, renumber(range(len(node.inputs)))) for s in nest.stages[1:]]
    second = replace(
        node,
        op=replace(node.op, nest=LoopNest(nest.axes, (joined, *rest))),
        inputs=(*node.inputs, parts),
        passes=node.made_by("split_reductions"),
    )
    return compact(first), compact(second)


Cut = tuple[tuple[Axis, ...], tuple[Axis, ...], Scalar]
"""The axes of the parts, what each part reduces over, and its value."""


def _cut_columns(reduce: Reduce, parts: int) -> Cut | None:
    """As many leading axes as make so many parts, batch rows first, and of the next one a part."""
    axes = sorted(reduce.axes, key=lambda a: not isinstance(a.extent, Rows))
    whole, made = 0, 1
    while whole < len(axes) - 1 and made * int(axes[whole].extent) <= parts:
        made *= int(axes[whole].extent)
        whole += 1
    outer, axis, inner = axes[:whole], axes[whole], axes[whole + 1 :]
    if isinstance(axis.extent, Rows):  # they stay together: all of them are parts
        return ((axis,), tuple(inner), reduce.values[0]) if inner else None
    extent = int(axis.extent)
    count = max(d for d in range(1, extent + 1) if extent % d == 0 and made * d <= max(parts, made))
    if made * count == 1:
        return _cut(reduce)
    if count == 1:
        return tuple(outer), (axis, *inner), reduce.values[0]
    if count == extent and inner:
        return (*outer, axis), tuple(inner), reduce.values[0]
    part, rest = _halves(axis, count)
    value = substitute_axes(reduce.values[0], {axis: Index.of(part) * int(rest.extent) + rest})
    return (*outer, part), (rest, *inner), value


def _halves(axis: Axis, parts: int) -> tuple[Axis, Axis]:
    """The axis of its parts, and that of one part's elements."""
    return Axis(f"{axis.name}_part", parts), Axis(f"{axis.name}_in", int(axis.extent) // parts)


def _cut(reduce: Reduce) -> Cut | None:
    """One axis of parts; None where the reduction cannot be cut."""
    (value,) = reduce.values
    long = [a for a in reduce.axes if a.extent > 1]
    if len(long) > 1:
        first = next((a for a in long if isinstance(a.extent, Rows)), max(long, key=lambda a: int(a.extent)))
        return (first,), tuple(a for a in reduce.axes if a is not first), value
    (axis,) = long
    part = next((d for d in range(PART, SHORTEST, -1) if int(axis.extent) % d == 0), 0)
    if isinstance(axis.extent, Rows) or not part:
        return None
    outer, inner = _halves(axis, int(axis.extent) // part)
    return (outer,), (inner,), substitute_axes(value, {axis: Index.of(outer) * part + inner})
