"""The schedule of every loop nest: which axis fills the vector's lanes, or how many threads share a point."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from convc.ir.core import Graph, Node
from convc.ir.kernels import Loops, LoopSchedule
from convc.ir.loop_nest import ACROSS_LANES, Reduce
from convc.ir.scalar import loads
from convc.passes.lanes import Access, choose
from convc.passes.registry import register_pass
from convc.passes.target import CPU, Target
from convc.passes.teams import team_for
from convc.passes.transpose import transposed


@register_pass
def schedule(graph: Graph, target: Target = CPU) -> Graph:
    """loops {for(n:n<=64) ...} -> loops {for(n:n<=64) ... schedule {lanes=n, width=16}}

    For blocks of threads: schedule {threads=128, team=32}, or schedule {reads=c:32, stores=n:32, threads=128}
    """
    return graph.with_nodes(_scheduled(n, target) if isinstance(n.op, Loops) else n for n in graph.nodes)


def _scheduled(node: Node, target: Target) -> Node:
    assert isinstance(node.op, Loops)
    if target.simt:
        blocks = transposed(node) or team_for(node, target)
        return replace(node, op=replace(node.op, schedule=blocks), passes=node.made_by("schedule"))
    nest = node.op.nest
    accesses = []
    for stage in nest.stages:
        weight = float(prod(int(a.extent) for a in stage.axes))
        accesses += [Access(e.coords, node.inputs[e.operand].type, weight) for e in loads(*stage.roots)]
        if not isinstance(stage, Reduce):
            accesses += [Access(s.coords, node.outputs[s.output].type, weight) for s in stage.stores]
    reduces = [stage for stage in nest.stages if isinstance(stage, Reduce)]
    across = all(stage.monoid in ACROSS_LANES for stage in reduces)
    inner = [a for stage in reduces for a in stage.axes if across]
    shared = [a for a in inner if all(a in s.axes for s in reduces)]
    lanes = choose((*nest.axes, *dict.fromkeys(shared)), target.lanes, accesses)
    found = LoopSchedule(lanes[0].name, lanes[1]) if lanes else LoopSchedule(None, 1)
    return replace(node, op=replace(node.op, schedule=found), passes=node.made_by("schedule"))
