"""Operators of constants become constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convc.ir.core import Graph, Node, Value
from convc.ir.interp import run_shape
from convc.ir.ops.reduce import Full
from convc.passes.registry import register_pass


@register_pass
def fold_constants(graph: Graph) -> Graph:
    """op(full a, full b) -> full c, where the result is one number everywhere and does not depend on n"""
    constants: dict[Value, float] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Full):
            constants[node.out] = node.op.number
        elif (value := _folded(node, constants)) is not None:
            op = Full(value, result=node.out.type)
            node = replace(node, op=op, inputs=(), passes=node.made_by("fold_constants"))
            constants[node.out] = value
        nodes.append(node)
    return graph.with_nodes(nodes)


def _folded(node: Node, constants: dict[Value, float]) -> float | None:
    """The one number of the node's result, in f32, which the program computes in: what overflows there does here.

    Evaluated with one row and with two, to see that n does not matter.
    """
    if not node.inputs or len(node.outputs) != 1 or any(v not in constants for v in node.inputs):
        return None
    found: list[np.uint32] = []
    for rows in (1, 2):
        arrays = [np.full(run_shape(v.type, rows if v.type.rows else 1), constants[v], np.float32) for v in node.inputs]
        with np.errstate(all="ignore"):
            (result,) = node.op.execute(arrays, rows)
            bits = np.atleast_1d(np.asarray(result, np.float32)).view(np.uint32)  # 0.0 is not -0.0
        found += list(np.unique(bits))
    return float(found[0].view(np.float32)) if len(set(found)) == 1 else None
