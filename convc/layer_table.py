"""The table of a network, a row a layer: its output, parameters and work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from convc.codegen.names import count
from convc.ir.core import Graph, Node, Value
from convc.ir.kernels import Gemm, Loops
from convc.table import Table

HEADINGS = ("layer", "is", "output", "parameters", "FLOP")
NUMBERS = ("parameters", "FLOP")
UNKNOWN = "?"


@dataclass(frozen=True)
class Named:
    """A module at its place in the model; `parameters` is None where only a graph can tell."""

    path: str
    text: str
    parameters: int | None


def table_of_layers(name: str, layers: Sequence[Named], note: str = "") -> Table:
    """What is known without an input shape: the layers and, of convc's own, the parameters."""
    rows = [(x.path, x.text, _number(x.parameters)) for x in layers]
    known = [x.parameters for x in layers if x.parameters is not None]
    total = f"{'' if len(known) == len(layers) else 'at least '}{sum(known):,} parameters"
    return Table(f"{name}: {total}{note}", (HEADINGS[0], HEADINGS[1], "parameters"), rows, NUMBERS)


def table_of_graph(name: str, layers: Sequence[Named], graph: Graph) -> Table:
    """The same of a model on a shape, its `graph` of mode infer: outputs and FLOP for the whole batch too.

    A node that lies at none of the layers' paths, as those of a model's own `build`, has its operators as its text.
    """
    texts = {x.path: x.text for x in layers}
    rows: list[tuple[str, ...]] = []
    seen: set[Value] = set()  # only asked, never iterated over
    x = graph.inputs_of("data")[0]
    out, total, work = x, 0, 0
    waiting = [layer.path for layer in layers]
    for path, group in groupby(graph.nodes, key=lambda n: n.path):
        nodes = list(group)
        while path in waiting and waiting[0] != path:  # layers that do nothing when the model is not trained
            rows.append((waiting[0], texts[waiting.pop(0)], _shape(out), "0", "0 "))
        if waiting and waiting[0] == path:
            waiting.pop(0)
        read = dict.fromkeys(v for n in nodes for v in n.inputs if graph.role(v) == "parameter")
        own = [v for v in read if v not in seen]
        seen.update(own)
        parameters, flops = sum(v.type.elements for v in own), sum(map(_flops, nodes))
        out, total, work = nodes[-1].out, total + parameters, work + flops
        text = texts.get(path) or ", ".join(n.op.name for n in nodes)
        rows.append((path, text, _shape(out), f"{parameters:,}", count(flops)))
    inside = {n.path for n in graph.nodes}
    rows += [
        (path, texts[path], _shape(out), "0", "0 ")
        for path in waiting
        if path not in inside and not any(p.startswith(f"{path}.") for p in inside)
    ]
    rows_of_batch = int(x.type.shape[0])
    images = f"{rows_of_batch} input{'s' if rows_of_batch > 1 else ''} of {_extents(x)}"
    return Table(f"{name}: {total:,} parameters, {count(work)}FLOP for {images}", HEADINGS, rows, NUMBERS)


def _flops(node: Node) -> int:
    types = [v.type for v in node.inputs]
    lowered = node.op.lower(types, [v.type for v in node.outputs])
    assert isinstance(lowered, Gemm | Loops)
    return lowered.flops(types)


def _shape(v: Value) -> str:
    """Of one row of the batch: 6x28x28."""
    return _extents(v) or "1"


def _extents(v: Value) -> str:
    return "x".join(str(int(e)) for e in v.type.shape[1:])


def _number(parameters: int | None) -> str:
    return UNKNOWN if parameters is None else f"{parameters:,}"
