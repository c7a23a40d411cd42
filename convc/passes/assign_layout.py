"""Which layout each tensor has: for vectors batch rows in blocks of lanes, for blocks of threads NCHW or NHWC.

With the batch innermost one vector holds one pixel of many rows, and every pixel, tap and channel of a network is
uniform across its lanes: no masks for padding, no strided loads in pooling, no transposes. It needs enough rows to
fill the lanes. Threads have no lanes to fill, and the order of channels and pixels is chosen by the model's time.
"""

from __future__ import annotations

from dataclasses import replace

from convc.ir.core import Graph, Node, Value, fresh_builder
from convc.ir.kernels import KernelOp
from convc.ir.ops.shape import Relayout, batch_blocked
from convc.passes.channel_order import choose_channel_order
from convc.passes.registry import register_pass
from convc.passes.target import CPU, Target

FEWEST_LANES = 4


@register_pass
def assign_layout(graph: Graph, target: Target = CPU) -> Graph:
    """%a: f32[n<=64,C,H,W] -> %a: f32[n<=64,C,H,W|0123.0x16], relayout at inputs and outputs; or f32[n<=64,C,H,W|0231]

    The first is for vectors: it fires for batch rows of capacity 4 and more; the width is the target's lanes or, for
    a small capacity, the greatest power of two that does not exceed it. The second, NHWC, is for blocks of threads: it
    fires where the model says that it takes less time, never for inputs and outputs, and copies no tensor.
    """
    if target.simt:
        return _images(graph, target) if target.rearranges else graph
    rows = next((v.type.rows for v in graph.values() if v.type.rows is not None), None)
    width = target.lanes
    while rows is not None and width > rows:
        width //= 2
    if rows is None or width < FEWEST_LANES:
        return graph
    b = fresh_builder(graph, "assign_layout")
    renamed: dict[Value, Value] = {}
    read = {v for n in graph.nodes if "relayout" not in n.op.traits for v in n.inputs}
    for v in graph.inputs:
        if v.type.rows is not None and v in read:
            renamed[v] = b(Relayout(result=batch_blocked(v.type, width)), v, name=f"{v.name}_blocked")
    entry, b.nodes = b.nodes, []
    nodes: list[Node] = []
    given, returned = set(graph.inputs), set(graph.outputs)
    for node in graph.nodes:
        placed = "relayout" in node.op.traits or any(v.type.layout is not None for v in node.outputs)
        if placed or all(v.type.rows is None for v in node.outputs):
            nodes.append(node)
            continue
        names = [b.fresh(f"{v.name}_blocked") if v in returned else v.name for v in node.outputs]
        outputs = tuple(_blocked(v, width, name) for v, name in zip(node.outputs, names))
        renamed.update(zip(node.outputs, outputs))
        nodes.append(replace(node, outputs=outputs, passes=node.made_by("assign_layout")))
    inner = graph.with_nodes(nodes, renamed)
    back: dict[Value, Node] = {}  # outputs keep their names and types
    for old, new in zip(graph.outputs, inner.outputs):
        if new is not old and old not in given and new not in back:
            op = Relayout(result=old.type)
            back[new] = Node(op, (new,), (Value(old.name, old.type),), passes=("assign_layout",))
    outputs = tuple(
        back[new].out if new in back else old if old in given else new for old, new in zip(graph.outputs, inner.outputs)
    )
    return replace(inner, nodes=(*entry, *inner.nodes, *back.values()), outputs=outputs)


def _images(graph: Graph, target: Target) -> Graph:
    if any(isinstance(n.op, KernelOp) for n in graph.nodes):
        return graph  # kernels were lowered for the layouts that they have
    types = choose_channel_order(graph, target)
    renamed = {v: Value(v.name, t) for v, t in types.items()}
    nodes = [
        replace(n, outputs=tuple(renamed.get(v, v) for v in n.outputs), passes=n.made_by("assign_layout"))
        if any(v in renamed for v in n.outputs)
        else n
        for n in graph.nodes
    ]
    return graph.with_nodes(nodes, renamed)


def _blocked(v: Value, width: int, name: str) -> Value:
    return v if v.type.rows is None else Value(name, batch_blocked(v.type, width))
