"""All gradients scaled together, so that their global norm is no greater than a run-time number."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from convc.ir.core import Builder, Graph, Value, fresh_builder
from convc.ir.ops.clip import ClipScale, Hypot, Norm
from convc.ir.ops.pointwise import Mul
from convc.ir.types import f32
from convc.passes.apply_optimizer import gradients_of
from convc.passes.registry import register_pass

LIMIT = "clip_norm"


@register_pass
def clip_gradients(graph: Graph) -> Graph:
    """return ..., %d_w -> return ..., %d_w * min(1, %clip_norm / norm of all gradients), where an optimizer clips

    The norm is that of all gradients together. The last outputs must be the gradients of the parameters in order, as
    autodiff leaves them. %clip_norm becomes an input, unless a scalar of that name is there already. The norm of a
    gradient is taken row by row, then over the rows, which many threads can share; its order is the tensors' own, the
    same on every machine. Source: Pascanu et al., 2013, algorithm 1, in the form of PyTorch's clip_grad_norm_.
    """
    gradients = gradients_of(graph)
    b = fresh_builder(graph, "clip_gradients")
    known = {v.name: v for v in graph.inputs_of("scalar")}
    limit = known.get(LIMIT) or Value(b.fresh(LIMIT), f32())
    paths = [p.name for p in graph.inputs_of("parameter")]
    norm = reduce(lambda x, y: b(Hypot(), x, y), [_norm(b, path, g) for path, g in zip(paths, gradients)])
    b.path = ""
    scale = b(ClipScale(), norm, limit)
    clipped = []
    for b.path, g in zip(paths, gradients):
        clipped.append(b(Mul(), g, scale))
    return replace(
        graph,
        inputs=graph.inputs if limit in graph.inputs else (*graph.inputs, limit),
        nodes=(*graph.nodes, *b.nodes),
        outputs=(*graph.outputs[: -len(gradients)], *clipped),
        roles={**graph.roles, limit.name: "scalar"},
    )


def _norm(b: Builder, path: str, x: Value) -> Value:
    b.path = path
    rows = b(Norm(tuple(range(1, x.type.rank))), x) if x.type.rank > 1 else x
    return b(Norm(tuple(range(rows.type.rank))), rows)
