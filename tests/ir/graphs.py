"""Graphs of one node, and what a graph says, for the tests of the text form."""

from __future__ import annotations

from typing import Any

from convc.ir.core import Graph, Node, Op, Value
from convc.ir.text import parse_graph, print_graph
from convc.ir.types import TensorType


def graph_of(op: Op, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...], **kwargs: Any) -> Graph:
    args = tuple(Value(f"x{i}", t) for i, t in enumerate(inputs))
    results = tuple(Value(str(i), t) for i, t in enumerate(outputs))
    return Graph("g", args, (Node(op, args, results, **kwargs),), results)


def structure(g: Graph) -> list[Any]:
    """All that a graph says, with names in place of identities."""

    def names(values: Any) -> list[str]:
        return [v.name for v in values]

    return [
        [g.name, [(v.name, v.type, g.role(v)) for v in g.inputs], names(g.outputs)],
        [[n.op, names(n.inputs), [(v.name, v.type) for v in n.outputs], n.path, n.passes] for n in g.nodes],
        [[(k, v.name) for k, v in g.updates.items()], dict(g.placements), g.arena_bytes],
    ]


def round_trip(g: Graph) -> str:
    text = print_graph(g)
    again = parse_graph(text)
    assert structure(again) == structure(g)
    assert print_graph(again) == text
    return text
