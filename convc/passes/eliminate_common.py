"""Two nodes that compute the same become one."""

from __future__ import annotations

from dataclasses import replace

from convc.ir.core import Graph, Node, Op, Value
from convc.passes.registry import register_pass


@register_pass
def eliminate_common(graph: Graph) -> Graph:
    """%a = op(x); %b = op(x) -> %a = op(x), every reader of %b reads %a"""
    seen: dict[tuple[Op, tuple[Value, ...], tuple[str, ...]], Node] = {}
    renamed: dict[Value, Value] = {}
    nodes: list[Node] = []
    for original in graph.nodes:
        node = replace(original, inputs=tuple(renamed.get(v, v) for v in original.inputs))
        key = (node.op, node.inputs, tuple(str(v.type) for v in node.outputs))
        if (first := seen.setdefault(key, node)) is not node:
            renamed.update(zip(node.outputs, first.outputs))
            continue
        nodes.append(node)
    return graph.with_nodes(nodes, renamed)
