"""Pointwise operators that follow a matrix product move into its epilogue, forward and backward.

The sum is still in registers when the kernel ends: a bias, an activation, a residual or an activation's
gradient applied there costs no trip through memory.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from convc.ir.core import Graph, Node, Value
from convc.ir.gemm_view import ACC
from convc.ir.index import Index
from convc.ir.loop_nest import axes_of
from convc.ir.ops.fused import ANCHOR_OPERANDS, Fused, Step
from convc.ir.ops.pointwise import Pointwise
from convc.ir.scalar import Scalar, load
from convc.passes.compose import moderate
from convc.passes.registry import register_pass


@register_pass
def fuse_epilogue(graph: Graph) -> Graph:
    """relu(bias_add(conv2d(x, w), b)) -> fused(x, w, b) {anchor=conv2d, steps=[bias_add($3, $2), relu($4)]}

    Fires for every operator with the trait `matmul` and a chain of pointwise operators, so long as each
    result in between has one reader and is not returned, and the expression stays moderate. The fused node stands
    where the last of the chain did; no path can leave the chain and come back, for each of its values has one reader,
    the next.
    """
    users = graph.users()
    returned = set(graph.results)
    chains = {n: _chain(n, users, returned) for n in graph.nodes if "matmul" in n.op.traits}
    taken: set[Node] = set()
    replaced: dict[Node, Node] = {}  # last of the chain -> fused node
    for anchor, chain in chains.items():
        chain = list(takewhile(lambda n: n not in taken, chain))
        if chain:
            taken.update(chain)
            replaced[chain[-1]] = _fuse(anchor, chain)
            taken.add(anchor)
    nodes = [replaced.get(n, n) for n in graph.nodes if n in replaced or n not in taken]
    return graph.with_nodes(nodes)


def _chain(anchor: Node, users: dict[Value, list[Node]], returned: set[Value]) -> list[Node]:
    chain: list[Node] = []
    last = anchor
    value: Scalar = ACC
    while len(last.outputs) == 1 and last.out not in returned and len(users[last.out]) == 1:
        (user,) = users[last.out]
        if not isinstance(user.op, Pointwise) or user.out.type.shape != anchor.out.type.shape:
            break
        if any(user.inputs[i] is last.out and not _reads_its_point(user, i) for i in range(len(user.inputs))):
            break
        value = _applied(user, last.out, value)
        if not moderate(value):
            break
        chain.append(user)
        last = user
    return chain


def _applied(user: Node, operand: Value, value: Scalar) -> Scalar:
    """The operator's scalar function of the value; all else that it reads is an operand, here any."""
    assert isinstance(user.op, Pointwise)
    point = [Index.of(a) for a in axes_of(user.out.type)]
    return user.op.scalar_at(point, user.out.type.shape, *(value if v is operand else load(0) for v in user.inputs))


def _reads_its_point(user: Node, operand: int) -> bool:
    return user.inputs[operand].type.shape == user.out.type.shape


def _fuse(anchor: Node, chain: list[Node]) -> Node:
    inside = {v for n in (anchor, *chain) for v in n.outputs}
    extra = tuple(dict.fromkeys(v for n in chain for v in n.inputs if v not in inside))
    inputs = (*anchor.inputs[:ANCHOR_OPERANDS], *extra)
    number: dict[Value, int] = {v: ANCHOR_OPERANDS + i for i, v in enumerate(extra)}
    number[anchor.out] = len(inputs)
    steps = []
    for n in chain:
        steps.append(Step(n.op, tuple(number[v] for v in n.inputs)))
        number[n.out] = len(number) + ANCHOR_OPERANDS
    passes = tuple(dict.fromkeys((*anchor.passes, *(p for n in chain for p in n.passes), "fuse_epilogue")))
    return replace(anchor, op=Fused(anchor.op, tuple(steps)), inputs=inputs, outputs=chain[-1].outputs, passes=passes)
