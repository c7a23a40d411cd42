"""NCHW or NHWC: where an image's channels lie, which is decided for tensors together.

A weight gradient sums over pixels and likes neighbouring channels side by side; pooling likes that, too. The other two
directions of a convolution like neighbouring pixels side by side, and what was given or is returned is row-major.
Tensors that loop nests pass on point by point share one order, since a nest that reads one and writes another
scatters one of the two. A product may read and write each of its tensors in another order, and costs by it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from networkx.utils import UnionFind

from convc.ir.core import Graph, Node, Op, Value
from convc.ir.kernels import Gemm
from convc.ir.scalar import loads
from convc.ir.types import Layout, TensorType
from convc.passes.arrange_factors import arrange_factors
from convc.passes.block_tile import best_seconds
from convc.passes.lower import lower
from convc.passes.nest_order import in_memory_order, nest_seconds
from convc.passes.nest_products import nest_products
from convc.passes.order_axes import order_axes
from convc.passes.split_k import split_k
from convc.passes.target import Target

CHANNELS_LAST = Layout((0, 2, 3, 1))
"""NHWC."""
GAIN = 0.002
"""The share of its nodes' time that a change must save: the model is not finer than that."""
ROUNDS = 4
"""How often all groups are looked at again, at most."""

Order = Mapping[Value, TensorType]


def choose_channel_order(graph: Graph, target: Target) -> dict[Value, TensorType]:
    """The tensors that are better stored as NHWC, with their types then; all others stay row-major."""
    groups = _groups(graph)
    root = {v: values[0] for values in groups for v in values}
    touching: dict[Value, list[Node]] = {values[0]: [] for values in groups}
    for n in graph.nodes:
        for group in dict.fromkeys(root[v] for v in (*n.inputs, *n.outputs) if v in root):
            touching[group].append(n)
    seconds = _seconds_of(target)
    types = {v: v.type for v in root}
    for _ in range(ROUNDS):
        changed = False
        for values in groups:
            turned = types[values[0]] is not values[0].type
            other = {v: v.type if turned else v.type.with_layout(CHANNELS_LAST) for v in values}
            now, then = (sum(seconds(n, x) for n in touching[values[0]]) for x in (types, ChainMap(other, types)))
            if then < now * (1 - GAIN):
                types.update(other)
                changed = True
        if not changed:
            break
    return {v: t for v, t in types.items() if t is not v.type}


def _groups(graph: Graph) -> list[list[Value]]:
    """Images that share an order, in the order of the graph; without those whose layout is given."""
    union: UnionFind[Value] = UnionFind()
    for node in graph.nodes:
        images = [v for v in _tied(node) if v.type.rank == 4]
        if images:
            union.union(*images)
    ends = {*graph.inputs, *graph.results}
    fixed = {union[v] for v in graph.values() if v.type.rank == 4 and (v in ends or v.type.layout is not None)}
    groups: dict[Value, list[Value]] = {}
    for v in (v for n in graph.nodes for v in n.outputs if v.type.rank == 4):
        if union[v] not in fixed:
            groups.setdefault(union[v], []).append(v)
    return [values for values in groups.values() if any(_differs(v.type) for v in values)]


def _tied(node: Node) -> Sequence[Value]:
    """The values of a node that are better off in one order: all of a nest, of a product those at its results."""
    op = node.op.lower([v.type for v in node.inputs], [v.type for v in node.outputs])
    if not isinstance(op, Gemm):
        return (*node.inputs, *node.outputs)
    read = {e.operand for view in op.phases for s in view.stores for e in loads(s.value)}
    return (*(v for i, v in enumerate(node.inputs) if i in read), *node.outputs)


def _differs(t: TensorType) -> bool:
    """Whether the two orders are different ones."""
    _, c, h, w = map(int, t.shape)
    return c > 1 and h * w > 1


def _seconds_of(target: Target) -> Callable[[Node, Order], float]:
    """The model's time for a node when some values have other types."""

    @cache
    def timed(op: Op, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> float:
        operands = tuple(Value(f"x{i}", t) for i, t in enumerate(inputs))
        results = tuple(Value(f"y{i}", t) for i, t in enumerate(outputs))
        graph = Graph("one", operands, (Node(op, operands, results),), results)
        graph = lower(graph)
        for step in (nest_products, order_axes, split_k, arrange_factors):
            graph = step(graph, target)
        return sum(
            best_seconds(n, target) if isinstance(n.op, Gemm) else nest_seconds(in_memory_order(n), target)
            for n in graph.nodes
        )

    def seconds(node: Node, types: Order) -> float:
        inputs, outputs = (tuple(types.get(v, v.type) for v in values) for values in (node.inputs, node.outputs))
        return timed(node.op, inputs, outputs)

    return seconds
