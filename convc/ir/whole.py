"""What whole numbers mean in a graph: labels, indices of a pool and random words, followed back to where they enter."""

from __future__ import annotations

from convc.ir.core import Graph, Value


def whole_limits(graph: Graph, trait: str = "") -> dict[Value, int]:
    """For each value that an operator reads as whole numbers 0 <= v < limit, the least such limit.

    It holds for what the value was moved from, too: labels may be reshaped first. With `trait`, only operators
    of that trait count as readers.
    """
    limits: dict[Value, int] = {}
    for node in reversed(graph.nodes):
        moved = limits.get(node.out) if "moves" in node.op.traits else None
        for number, v in enumerate(node.inputs):
            said = (
                node.op.whole_below(number, [x.type for x in node.inputs]) if trait in ("", *node.op.traits) else None
            )
            for limit in (moved, said):
                if limit is not None:
                    limits[v] = min(limit, limits.get(v, limit))
    return limits
