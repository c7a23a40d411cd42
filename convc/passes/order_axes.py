"""The axes of a product in the order in which its factors lie in memory, so that neighbours read neighbours.

A convolution sums over channels and taps, in the order c, r, s. Where channels lie innermost, that walk jumps from
tap to tap through memory, while the order r, s, c goes along it; likewise the columns of a weight gradient. The sum is
the same but for rounding, and its order still depends on nothing but the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from convc.ir.core import Graph, Node
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis
from convc.ir.kernels import Gemm
from convc.ir.scalar import Load, Scalar
from convc.ir.types import Rows, TensorType
from convc.passes.block_tile import best_seconds
from convc.passes.registry import register_pass
from convc.passes.target import CPU, Target


@register_pass
def order_axes(graph: Graph, target: Target = CPU) -> Graph:
    """gemm: m(k) n(n, p, q) k(c, r, s) b = $0[n, c, p + r, q + s] -> gemm: m(k) n(n, p, q) k(r, s, c)

    Fires for blocks of threads, where a factor has channels innermost and the model says that it takes less time.
    """
    if not target.rearranges:
        return graph
    return graph.with_nodes(_ordered(n, target) if isinstance(n.op, Gemm) else n for n in graph.nodes)


def _ordered(node: Node, target: Target) -> Node:
    found = {node: best_seconds(node, target)} if len(options := list(_options(node))) > 1 else {}
    for other in options[1:]:
        found[other] = best_seconds(other, target)
    best = min(found, key=found.__getitem__, default=node)  # the first of equals
    return best if best is node else replace(best, passes=node.made_by("order_axes"))


def _options(node: Node) -> Iterator[Node]:
    """The node as it is, then with its lines, its sum or both in the order of a factor's memory, each once."""
    assert isinstance(node.op, Gemm)
    inputs = [v.type for v in node.inputs]
    seen = []
    for lines in (False, True):
        for sum_of in ("", "a", "b"):
            phases = tuple(_view(p, lines, sum_of, inputs) for p in node.op.phases)
            if phases not in seen:
                seen.append(phases)
                yield node if phases == node.op.phases else replace(node, op=replace(node.op, phases=phases))


def _view(view: GemmView, lines: bool, sum_of: str, inputs: Sequence[TensorType]) -> GemmView:
    if lines:
        m, n = _in_memory(view.m, view.a, inputs), _in_memory(view.n, view.b, inputs)
        view = replace(view, m=m, n=n)
    return replace(view, k=_in_memory(view.k, getattr(view, sum_of), inputs)) if sum_of else view


def _in_memory(axes: tuple[Axis, ...], factor: Scalar, inputs: Sequence[TensorType]) -> tuple[Axis, ...]:
    """The axes, batch rows first, then those of long strides; as they are where a stride is not constant."""
    if not isinstance(factor, Load):
        return axes
    offset = inputs[factor.operand].offset(factor.coords)
    strides = {a: offset.coefficient(a) for a in axes if a.extent > 1}
    if None in strides.values():
        return axes
    moving = sorted(strides, key=lambda a: (not isinstance(a.extent, Rows), -abs(strides[a] or 0)))
    ordered = iter(moving)
    return tuple(next(ordered) if a.extent > 1 else a for a in axes)
