"""Graphs with something wrong: each is refused by one line, or it is no mistake and computes right.

A mutation changes a drawn graph as a program that builds graphs may get it wrong: an attribute, a declared type, an
operand, a role, an update, a name, a result; or a character of the text.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import Any

from convc.build.cache import Cache
from convc.errors import ConvcError
from convc.ir.core import ROLES, Graph, Node, Op, Value
from convc.ir.text import parse_graph
from convc.ir.types import DTYPES, Layout, Rows, TensorType
from convc.testing.fuzz.case import Case, Settings
from convc.testing.fuzz.draw import draw_graph
from convc.testing.fuzz.oracle import Finding, check

NODES = 4
ODD: tuple[Any, ...] = (-1, 0, 1, 2, 7, 1.5, 0.5, -0.5, 1e30, float("nan"), float("inf"), True, None, "x", "nc,kc->nk")
ODD += ((), (1,), (0, 0), (1, 1), (-1, 2), (5,), (1.5, 1), (0.5, 0.5), (1, 1, 1), ("x", 1), [1, 1], (True, 1))
LEFT_ALONE = ("fused", "gemm", "loops")
"""Operators whose attributes are operators and kernels: only the rest of their nodes is changed."""
Mutation = Callable[[Random, Graph], "Graph | None"]


def attribute(rng: Random, graph: Graph) -> Graph | None:
    """One attribute of one operator is anything."""
    nodes = [i for i, n in enumerate(graph.nodes) if fields(n.op) and n.op.name not in LEFT_ALONE]
    if not nodes:
        return None
    at = rng.choice(nodes)
    op = graph.nodes[at].op
    name = rng.choice(fields(op)).name
    old, value = getattr(op, name), rng.choice(ODD)
    if isinstance(old, TensorType):
        value = _other_type(rng, old)
    if isinstance(old, tuple) and old and rng.random() < 0.6:  # nearly right
        value = rng.choice(((*old, old[0]), (*old, 9), (*old, -1), old[:-1], list(old), tuple(map(float, old))))
    return _with_op(graph, at, replace(op, **{name: value}))


def _with_op(graph: Graph, at: int, op: Op) -> Graph:
    """The node's operator exchanged, its results declared as the operator infers, where it does."""
    node = graph.nodes[at]
    types = op.infer(*[v.type for v in node.inputs])
    return _with_results(graph, at, replace(node, op=op), types)


def _with_results(graph: Graph, at: int, node: Node, types: tuple[TensorType, ...]) -> Graph:
    outputs = tuple(Value(v.name, t) for v, t in zip(node.outputs, types))
    renamed = dict(zip(graph.nodes[at].outputs, outputs))
    nodes = list(graph.nodes)
    nodes[at] = replace(node, outputs=outputs)
    return graph.with_nodes(nodes, renamed)


def declared_type(rng: Random, graph: Graph) -> Graph:
    at = rng.randrange(len(graph.nodes))
    node = graph.nodes[at]
    return _with_results(graph, at, node, tuple(_other_type(rng, v.type) for v in node.outputs))


def input_type(rng: Random, graph: Graph) -> Graph | None:
    if not graph.inputs:
        return None
    old = rng.choice(graph.inputs)
    new = Value(old.name, _other_type(rng, old.type))
    inputs = tuple(new if v is old else v for v in graph.inputs)
    return replace(graph, inputs=inputs).with_nodes(graph.nodes, {old: new})


def _other_type(rng: Random, t: TensorType) -> TensorType:
    """Another extent, dtype, rank, layout or kind of rows."""
    shape = list(t.shape)
    what = rng.choice(("dtype", "extent", "extent", "rank", "rows", "layout"))
    if what == "dtype" or not shape:
        return TensorType(rng.choice([d for d in DTYPES if d != t.dtype]), t.shape, t.layout)
    if what == "extent":
        at = rng.randrange(len(shape))
        shape[at] = type(shape[at])(max(0, int(shape[at]) + rng.choice((-1, 1, 2))))
    if what == "rank":
        shape = shape[:-1] if rng.random() < 0.5 else [*shape, rng.choice((1, 2))]
    if what == "rows":
        at = rng.randrange(len(shape))
        shape[at] = int(shape[at]) if isinstance(shape[at], Rows) else Rows(shape[at])
    if what == "layout":
        order = rng.sample(range(len(shape)), len(shape))
        return t.with_layout(Layout(tuple(order), rng.choice((None, order[0])), 4))
    return TensorType(t.dtype, tuple(shape))


def operand(rng: Random, graph: Graph) -> Graph | None:
    """An operand too few, too many, another one, or one that is defined nowhere or later."""
    nodes = [i for i, n in enumerate(graph.nodes) if n.inputs]
    if not nodes:
        return None
    at = rng.choice(nodes)
    node = graph.nodes[at]
    inputs = list(node.inputs)
    place = rng.randrange(len(inputs))
    choice = rng.choice(("drop", "again", "other", "nowhere"))
    if choice == "drop":
        del inputs[place]
    elif choice == "again":
        inputs.insert(place, inputs[place])
    elif choice == "other":
        inputs[place] = rng.choice([v for v in graph.values() if v.type.dtype == inputs[place].type.dtype])
    else:
        inputs[place] = Value(rng.choice(("nowhere", inputs[place].name)), inputs[place].type)
    nodes_ = list(graph.nodes)
    nodes_[at] = replace(node, inputs=tuple(inputs))
    return replace(graph, nodes=tuple(nodes_))


def role(rng: Random, graph: Graph) -> Graph | None:
    if not graph.inputs:
        return None
    roles: dict[str, Any] = dict(graph.roles)
    name = rng.choice([*(v.name for v in graph.inputs), "nothing"])
    roles[name] = rng.choice([*ROLES, "weight"])
    return replace(graph, roles=roles)


def update(rng: Random, graph: Graph) -> Graph | None:
    """Anything is the new value of anything."""
    values = list(graph.values())
    names = [v.name for v in (rng.choice(graph.inputs or (values[0],)), values[-1])]
    updates = {**graph.updates, rng.choice(names): rng.choice(values)}
    return replace(graph, updates=updates)


def name(rng: Random, graph: Graph) -> Graph:
    """A value is called as another one."""
    at = rng.randrange(len(graph.nodes))
    node = graph.nodes[at]
    other = rng.choice(list(graph.values())).name
    outputs = tuple(Value(other, v.type) for v in node.outputs)
    nodes = list(graph.nodes)
    nodes[at] = replace(node, outputs=outputs)
    return graph.with_nodes(nodes, dict(zip(node.outputs, outputs)))


def outputs(rng: Random, graph: Graph) -> Graph:
    t = rng.choice(list(graph.values())).type
    choices = [(), (Value("nowhere", t),), graph.outputs * 2]
    return replace(graph, outputs=rng.choice(choices))


def order(rng: Random, graph: Graph) -> Graph:
    return replace(graph, nodes=tuple(rng.sample(graph.nodes, len(graph.nodes))))


def text(rng: Random, graph: Graph) -> Graph:
    """A character more, less or another."""
    old = str(graph)
    at = rng.randrange(len(old))
    new = rng.choice(["", *"0129-+.,:%$[](){}=x\"'\n\\ é\0"])
    return parse_graph(old[:at] + new + old[at + rng.choice((0, 1)) :])


MUTATIONS: tuple[Mutation, ...] = (
    *(attribute, attribute, attribute, declared_type, input_type, operand, role, update, name, outputs, order, text),
)


def check_invalid(seed: int, cache: Cache | None = None) -> tuple[Finding | None, str]:
    """What is wrong with how the graph of that seed is treated, and the name of its mutation."""
    rng = Random(f"{seed} invalid")
    while True:
        graph = draw_graph(rng, NODES)
        mutation = rng.choice(MUTATIONS)
        try:
            mutated = mutation(rng, graph)
        except ConvcError as error:
            return _of_error(error, mutation), mutation.__name__
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.filename.rpartition('convc/')[2]}:{frame.lineno}"
            message = f"{mutation.__name__}: {error} ({where})\n{graph}"
            return Finding(f"exception {type(error).__name__}", message), mutation.__name__
        if mutated is not None:
            break
    finding = check(Case(mutated, _settings(rng, mutated)), cache, text=False)
    if finding is None or (finding.kind == "refused" and "\n" not in finding.message):
        return None, mutation.__name__
    return Finding(finding.kind, f"{mutation.__name__}: {finding.message}\n{_shown(mutated)}"), mutation.__name__


def _of_error(error: ConvcError, mutation: Mutation) -> Finding | None:
    return Finding("several lines", f"{mutation.__name__}: {error}") if "\n" in str(error) else None


def _settings(rng: Random, graph: Graph) -> Settings:
    data = [v for v in graph.inputs if graph.roles.get(v.name, "data") == "data" and v.type.rows is not None]
    most = max((int(v.type.rows or 1) for v in data), default=1)
    return Settings(rows=(rng.randint(1, most),), seed=rng.randrange(10**6), threads=rng.randint(1, 3))


def _shown(graph: Graph) -> str:
    try:
        return str(graph)
    except Exception as error:  # what is wrong may be that it cannot be printed
        return f"(which cannot be printed: {error})"
