"""Makes a failing case small: fewer results, nodes, extents and settings, as long as the same is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, replace
from typing import Any

from convc.errors import ConvcError
from convc.ir.attributes import attribute_fields
from convc.ir.core import Graph, Node, Op, Role, Value, checked_infer
from convc.ir.kernels import KernelOp
from convc.ir.types import Rows, TensorType
from convc.ir.verify import verify
from convc.testing.fuzz.case import Case, capacity

MOST_CHECKS = 250


def shrink(case: Case, fails: Callable[[Case], bool], most: int = MOST_CHECKS) -> Case:
    """The smallest case found that still `fails`, which is asked at most so many times."""
    left, seen = most, {case.text}
    progress = True
    while progress:
        progress = False
        for smaller in simpler(case):
            if smaller.text in seen:
                continue
            seen.add(smaller.text)
            if left <= 0:
                return case
            left -= 1
            if fails(smaller):
                case, progress = smaller, True
                break
    return case


def simpler(case: Case) -> Iterator[Case]:
    """Cases that are simpler by one thing, the greatest steps first; all are well-formed."""
    graph = case.graph
    for smaller in (*_halves(graph), *_results(graph), *_cuts(graph), *_bypasses(graph)):
        yield from _checked(case, smaller)
    s = case.settings
    changes: list[dict[str, Any]] = [{"threads": 1}, {"kind": "benign"}, {"optimizer": "sgd"}, {"seed": 0}]
    changes += (
        [{"rows": (n,)} for n in s.rows] if len(s.rows) > 1 else [{"rows": (n,)} for n in (1, 2) if n < s.rows[0]]
    )
    if s.mode != "train":
        changes.append({"mode": "infer"})
    for change in changes:
        if any(getattr(s, k) != v for k, v in change.items()):
            yield Case(graph, replace(s, **change))
    for smaller in (*_extents(graph), *_attributes(graph), *_roles(graph)):
        yield from _checked(case, smaller)


def _checked(case: Case, graph: Graph | None) -> Iterator[Case]:
    if graph is None:
        return
    try:
        yield case.with_graph(verify(graph))
    except ConvcError:
        return


def _halves(graph: Graph) -> Iterator[Graph]:
    """The first or the last half of the results."""
    results = graph.outputs
    if len(results) > 2:
        yield live(replace(graph, outputs=results[: len(results) // 2], updates={}))
        yield live(replace(graph, outputs=results[len(results) // 2 :], updates={}))


def _results(graph: Graph) -> Iterator[Graph]:
    if graph.updates:
        yield live(replace(graph, updates={}))
    for i in range(len(graph.outputs)):
        if len(graph.outputs) > 1 or graph.updates:
            yield live(replace(graph, outputs=graph.outputs[:i] + graph.outputs[i + 1 :]))
    for name in graph.updates:
        yield live(replace(graph, updates={k: v for k, v in graph.updates.items() if k != name}))


def _cuts(graph: Graph) -> Iterator[Graph]:
    """A node's results become inputs."""
    for i, node in enumerate(graph.nodes):
        if any(v.type.layout is not None for v in node.outputs):
            continue
        inputs = tuple(Value(v.name, v.type) for v in node.outputs)
        renamed = dict(zip(node.outputs, inputs))
        kept = replace(graph, inputs=(*graph.inputs, *inputs))
        yield live(kept.with_nodes((*graph.nodes[:i], *graph.nodes[i + 1 :]), renamed))


def _bypasses(graph: Graph) -> Iterator[Graph]:
    """A node's first result becomes an operand of its type."""
    for i, node in enumerate(graph.nodes):
        for operand in dict.fromkeys(node.inputs):
            if operand.type == node.out.type and len(node.outputs) == 1:
                rest = (*graph.nodes[:i], *graph.nodes[i + 1 :])
                yield live(graph.with_nodes(rest, {node.out: operand}))


def _extents(graph: Graph) -> Iterator[Graph]:
    """One extent made smaller wherever it stands."""
    found = {e for v in graph.values() for e in v.type.shape}
    for extent in sorted(found, key=lambda e: (-int(e), isinstance(e, Rows))):
        for smaller in sorted({1, 2, 3, int(extent) // 2, int(extent) - 1}):
            if 1 <= smaller < int(extent):
                new = Rows(smaller) if isinstance(extent, Rows) else smaller
                yield from _rebuilt(graph, lambda t, e=extent, n=new: _with_extent(t, e, n))  # type: ignore[misc]
    if capacity(graph) > 1:
        rows = Rows(capacity(graph))
        yield from _rebuilt(graph, lambda t: _with_extent(t, rows, int(rows)))


def _with_extent(t: TensorType, old: int, new: int) -> TensorType:
    alike = [new if type(e) is type(old) and e == old else e for e in t.shape]
    return TensorType(t.dtype, tuple(alike), t.layout)


def _attributes(graph: Graph) -> Iterator[Graph]:
    """One attribute at its default."""
    for i, node in enumerate(graph.nodes):
        if isinstance(node.op, KernelOp):
            continue
        for f in attribute_fields(type(node.op)):
            if f.default is not MISSING and getattr(node.op, f.name) != f.default:
                try:
                    op = replace(node.op, **{f.name: f.default})
                except ConvcError:
                    continue
                yield from _rebuilt(graph, lambda t: t, {i: op})


def _roles(graph: Graph) -> Iterator[Graph]:
    for name in graph.roles:
        if name not in graph.updates:
            roles: dict[str, Role] = {k: r for k, r in graph.roles.items() if k != name}
            yield replace(graph, roles=roles)


def _rebuilt(
    graph: Graph, change: Callable[[TensorType], TensorType], ops: dict[int, Op] | None = None
) -> Iterator[Graph]:
    """The graph with changed input types and declared types, all others inferred anew; nothing where that fails."""
    new: dict[Value, Value] = {}
    nodes: list[Node] = []
    try:
        new.update((v, Value(v.name, change(v.type))) for v in graph.inputs)
        for i, node in enumerate(graph.nodes):
            op = (ops or {}).get(i, node.op)
            if isinstance(op, KernelOp):
                if any(change(v.type) != v.type for v in (*node.inputs, *node.outputs)):
                    return
                types: tuple[TensorType, ...] = op.results
            else:
                declared = {f.name: change(getattr(op, f.name)) for f in fields(op) if f.metadata.get("result")}
                op = replace(op, **declared) if declared else op
                types = checked_infer(op, [new[v].type for v in node.inputs])
            if len(types) != len(node.outputs):
                return
            outputs = tuple(Value(v.name, t) for v, t in zip(node.outputs, types))
            new.update(zip(node.outputs, outputs))
            nodes.append(replace(node, op=op, inputs=tuple(new[v] for v in node.inputs), outputs=outputs))
    except (ConvcError, AttributeError):  # a field that declares several types
        return
    yield replace(
        graph,
        inputs=tuple(new[v] for v in graph.inputs),
        nodes=tuple(nodes),
        outputs=tuple(new[v] for v in graph.outputs),
        updates={k: new[v] for k, v in graph.updates.items()},
    )


def live(graph: Graph) -> Graph:
    """Only the nodes and inputs that a result needs."""
    needed = set(graph.results)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            nodes.append(node)
    inputs = tuple(v for v in graph.inputs if v in needed or v.name in graph.updates)
    roles: dict[str, Role] = {v.name: graph.roles[v.name] for v in inputs if v.name in graph.roles}
    return replace(graph, inputs=inputs, nodes=tuple(reversed(nodes)), roles=roles)
