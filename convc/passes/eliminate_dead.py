"""Nodes whose results nobody reads go away."""

from __future__ import annotations

from convc.ir.core import Graph, Node, Value
from convc.passes.registry import register_pass


@register_pass
def eliminate_dead(graph: Graph) -> Graph:
    """%a = op(...) with no reader and not returned -> nothing"""
    live: set[Value] = set(graph.results)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if live.isdisjoint(node.outputs):
            continue
        kept.append(node)
        live.update(node.inputs)
    return graph.with_nodes(reversed(kept))
