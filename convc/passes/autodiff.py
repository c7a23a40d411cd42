"""Reverse-mode differentiation: the graph's own gradient nodes, appended to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from convc.errors import IRError
from convc.ir.core import Graph, Node, Value, fresh_builder
from convc.ir.ops.pointwise import Add
from convc.ir.ops.reduce import Full
from convc.passes.registry import register_pass

PREFIX = "d_"
"""The gradient that the graph starts from, that of the first output %loss, is %d_loss."""


@register_pass
def autodiff(graph: Graph) -> Graph:
    """return %loss -> return %loss, and its gradient by every parameter in order (by every f32 input if none is one)

    The first output is differentiated. If it is not f32[], its gradient becomes an input, %d_<output>.
    Operators that save something for their gradient (pool indices) are replaced by their augmented form.
    """
    if not graph.outputs:
        raise IRError(f"graph @{graph.name} returns nothing to differentiate")
    wanted = graph.inputs_of("parameter") or tuple(v for v in graph.inputs if v.type.dtype == "f32")
    needed = _depends_on(graph, wanted)
    loss = graph.outputs[0]
    if loss not in needed:
        names = ", ".join(f"%{v.name}" for v in wanted)
        raise IRError(f"%{loss.name} depends on none of {names or 'the inputs'}: there is nothing to differentiate by")

    b = fresh_builder(graph, "autodiff")
    nodes = [_augmented(n, b.fresh) if needed.intersection(n.outputs) else n for n in graph.nodes]
    inputs = graph.inputs
    if loss.type.rank == 0:
        seed = b(Full(1.0, result=loss.type), name=PREFIX + loss.name)
    else:
        seed = Value(b.fresh(PREFIX + loss.name), loss.type)
        inputs = (*inputs, seed)
    gradient: dict[Value, Value] = {loss: seed}
    for node in reversed(nodes):
        grads = [gradient.get(v) for v in node.outputs]
        if needed.isdisjoint(node.outputs) or all(g is None for g in grads):
            continue
        b.path = node.path
        for v, dv in zip(node.inputs, node.op.vjp(b, node, grads), strict=True):
            if dv is not None and v in needed:
                gradient[v] = b(Add(), gradient[v], dv) if v in gradient else dv
    b.path = ""
    for v in wanted:
        if v not in gradient:
            gradient[v] = b(Full(0.0, result=v.type))
    outputs = (*graph.outputs, *(gradient[v] for v in wanted))
    return replace(graph, inputs=inputs, nodes=(*nodes, *b.nodes), outputs=outputs)


def _depends_on(graph: Graph, wanted: tuple[Value, ...]) -> set[Value]:
    needed = set(wanted)
    for node in graph.nodes:
        if not needed.isdisjoint(node.inputs):
            needed.update(v for v in node.outputs if v.type.dtype == "f32")
    return needed


def _augmented(node: Node, fresh: Callable[[str], str]) -> Node:
    op = node.op.augmented()
    if op == node.op:
        return node
    types = op.infer(*[v.type for v in node.inputs])
    extra = [Value(fresh(f"{node.out.name}_saved"), t) for t in types[len(node.outputs) :]]
    return replace(node, op=op, outputs=(*node.outputs, *extra), passes=node.made_by("autodiff"))
