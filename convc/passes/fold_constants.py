"""Operators of constants become constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convc.ir.core import Graph, Node, Value
from convc.ir.ops.reduce import Full
from convc.passes.registry import register_pass


@register_pass
def fold_constants(graph: Graph) -> Graph:
    """op(full a, full b) -> full c, where the result is one number everywhere and does not depend on n"""
    constants: dict[Value, float] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Full):
            constants[node.out] = node.op.value
        elif (value := _folded(node, constants)) is not None:
            op = Full(value, result=node.out.type)
            node = replace(node, op=op, inputs=(), passes=node.made_by("fold_constants"))
            constants[node.out] = value
        nodes.append(node)
    return graph.with_nodes(nodes)


def _folded(node: Node, constants: dict[Value, float]) -> float | None:
    """The one number of the node's result; evaluated with one row and with two, to see that n does not matter."""
    if not node.inputs or len(node.outputs) != 1 or any(v not in constants for v in node.inputs):
        return None
    found: set[float] = set()
    for rows in (1, 2):
        arrays = [
            np.full([rows if i == 0 and v.type.rows else int(e) for i, e in enumerate(v.type.shape)], constants[v])
            for v in node.inputs
        ]
        (result,) = node.op.execute(arrays, rows)
        found.update(np.unique(result).tolist())
    return found.pop() if len(found) == 1 else None
