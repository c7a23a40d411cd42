"""Products with almost no sides become loop nests: a tile of sums would be mostly empty.

A depthwise convolution is a batch of products, one for each channel, with one row each. As a nest a thread sums the
taps of its own pixel, neighbours read neighbours, and nothing is computed for rows that are not there.
"""

from __future__ import annotations

from dataclasses import replace

from convc.ir.core import Graph, Node
from convc.ir.gemm_view import ACC, GemmView
from convc.ir.index import Axis
from convc.ir.kernels import Gemm, Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce
from convc.ir.types import Rows
from convc.passes.registry import register_pass
from convc.passes.target import CPU, Target

NARROW = 2
"""Rows or columns up to which a product is nested: the smallest tile has eight."""


@register_pass
def nest_products(graph: Graph, target: Target = CPU) -> Graph:
    """gemm: batch(g:32) m(k:1) n(n, p, q) k(r, s) -> loops: for(n, g:32, p, q) reduce(r, s) acc = sum(a * b)

    Fires for blocks of threads, for a batch of products of which each has at most two rows or columns.
    """
    if not target.simt:
        return graph
    return graph.with_nodes(_nested(n) if isinstance(n.op, Gemm) and _narrow(n.op) else n for n in graph.nodes)


def _narrow(op: Gemm) -> bool:
    if len(op.phases) != 1:
        return False  # a nest has one domain
    groups, m, n, k = op.phases[0].extents
    return groups > 1 and min(m, n) <= NARROW and k > 0


def _nested(node: Node) -> Node:
    assert isinstance(node.op, Gemm)
    (view,) = node.op.phases
    reduce = Reduce(view.k, "sum", (ACC.name,), (view.a * view.b,))
    nest = LoopNest(_axes(view), (reduce, Map((), view.stores)))
    op = Loops(nest, results=node.op.results, title=node.op.title)
    return replace(node, op=op, passes=node.made_by("nest_products"))


def _axes(view: GemmView) -> tuple[Axis, ...]:
    """Batch rows, groups, then the sides: as results of convolutions lie in memory."""
    axes = (*view.batch, *view.m, *view.n)
    return tuple(sorted(axes, key=lambda a: not isinstance(a.extent, Rows)))
