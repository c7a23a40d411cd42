"""One spelling for one meaning, and no node that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from convc.ir.core import Graph, Node, Op, Value, fresh_builder
from convc.ir.fields import same
from convc.ir.ops.adaptive_pool import AdaptiveAvgPool, AdaptiveMaxPool
from convc.ir.ops.pointwise import Add, Mul, Relu
from convc.ir.ops.pool import AvgPool, MaxPool
from convc.ir.ops.reduce import Broadcast, Full
from convc.ir.ops.shape import Flatten, Reshape
from convc.passes.registry import register_pass

Producers = Mapping[Value, Node]
Outcome = Value | Op | tuple[Op, tuple[Value, ...]] | None
"""A rule's result: a value to use instead, another operator, an operator with operands, or no change."""


def _flatten_is_reshape(node: Node, made: Producers) -> Outcome:
    """flatten(x) -> reshape(x)"""
    return Reshape(result=node.out.type) if isinstance(node.op, Flatten) else None


def _reshape_to_same(node: Node, made: Producers) -> Outcome:
    """reshape(x) of x's own shape -> x"""
    same = isinstance(node.op, Reshape) and node.out.type == node.inputs[0].type
    return node.inputs[0] if same else None


def _reshape_of_reshape(node: Node, made: Producers) -> Outcome:
    """reshape(reshape(x)) -> reshape(x)"""
    inner = made.get(node.inputs[0]) if isinstance(node.op, Reshape) else None
    return (node.op, inner.inputs) if inner and isinstance(inner.op, Reshape) else None


def _relu_of_relu(node: Node, made: Producers) -> Outcome:
    """relu(relu(x)) -> relu(x)"""
    inner = made.get(node.inputs[0]) if isinstance(node.op, Relu) else None
    return node.inputs[0] if inner and isinstance(inner.op, Relu) else None


def _neutral_operand(node: Node, made: Producers) -> Outcome:
    """add(x, full -0) -> x, mul(x, full 1) -> x; not add(x, full 0), which is 0 for x = -0"""
    if not isinstance(node.op, Add | Mul):
        return None
    constant = made.get(node.inputs[1])
    neutral = -0.0 if isinstance(node.op, Add) else 1.0
    hit = constant and isinstance(constant.op, Full) and same(constant.op.value, neutral)
    return node.inputs[0] if hit else None


def _broadcast_nothing(node: Node, made: Producers) -> Outcome:
    """broadcast(x) {axes=[]} -> x"""
    nothing = isinstance(node.op, Broadcast) and not node.op.axes and node.out.type == node.inputs[0].type
    return node.inputs[0] if nothing else None


def _even_windows(node: Node, made: Producers) -> Outcome:
    """adaptive_avg_pool(x) -> avg_pool(x), and so for max, where the output divides x"""
    if not isinstance(node.op, AdaptiveAvgPool | AdaptiveMaxPool) or len(node.outputs) != 1:
        return None
    kernel = node.op.even_kernel(node.inputs[0].type)
    if kernel is None:
        return None
    return AvgPool(kernel) if isinstance(node.op, AdaptiveAvgPool) else MaxPool(kernel)


def _window_of_one(node: Node, made: Producers) -> Outcome:
    """max_pool(x) {kernel=[1, 1]} -> x; not avg_pool, whose sum of one number is 0 + x: 0 for x = -0"""
    if not isinstance(node.op, MaxPool) or len(node.outputs) != 1:
        return None
    alone = node.op.kernel == (1, 1) and node.out.type == node.inputs[0].type
    return node.inputs[0] if alone else None


RULES: tuple[Callable[[Node, Producers], Outcome], ...] = (
    _flatten_is_reshape, _reshape_to_same, _reshape_of_reshape, _relu_of_relu, _neutral_operand, _broadcast_nothing,
    _even_windows, _window_of_one,
)  # fmt: skip


@register_pass
def canonicalize(graph: Graph) -> Graph:
    """flatten -> reshape; reshape(reshape(x)) -> reshape(x); relu(relu(x)) -> relu(x); x + -0, x * 1 -> x

    Adaptive pooling whose windows are all alike becomes ordinary pooling, and the greatest of single pixels goes.
    """
    b = fresh_builder(graph, "canonicalize")
    renamed: dict[Value, Value] = {}
    made: dict[Value, Node] = {}
    nodes: list[Node] = []
    for original in graph.nodes:
        node = replace(original, inputs=tuple(renamed.get(v, v) for v in original.inputs))
        gone = False
        changed = True
        while changed and not gone:
            changed = False
            for rule in RULES:
                outcome = rule(node, made)
                if outcome is None:
                    continue
                if isinstance(outcome, Value):
                    renamed[original.out] = outcome
                    gone = True
                    break
                op, operands = (outcome, node.inputs) if isinstance(outcome, Op) else outcome
                node = replace(node, op=op, inputs=operands, passes=node.made_by(b.passes[0]))
                changed = True
        if not gone:
            nodes.append(node)
            made.update((v, node) for v in node.outputs)
    return graph.with_nodes(nodes, renamed)
