"""From operators to kernels: every node becomes a `gemm` or a `loops` with its view."""

from __future__ import annotations

from dataclasses import replace

from convc.ir.core import Graph, Node, Op
from convc.ir.kernels import KernelOp
from convc.passes.registry import register_pass


@register_pass
def lower(graph: Graph) -> Graph:
    """conv2d(x, w) -> gemm(x, w) {phase {...}}; relu(x) -> loops(x) {...}: each operator's own `lower`"""
    nodes = [
        node
        if isinstance(node.op, KernelOp)
        else replace(
            node,
            op=_lowered(node),
            passes=node.made_by("lower"),
        )
        for node in graph.nodes
    ]
    return graph.with_nodes(nodes)


def _lowered(node: Node) -> Op:
    op = node.op.lower([v.type for v in node.inputs], [v.type for v in node.outputs])
    assert isinstance(op, KernelOp)
    return replace(op, title=node.op.label)
