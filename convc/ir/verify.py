"""The verifier: what holds of every well-formed graph. It runs before and after every pass."""

from __future__ import annotations

from convc.errors import IRError
from convc.ir.core import ROLES, Graph, Node, Role, Value, checked_infer


def verify(graph: Graph) -> Graph:
    """Returns the graph, or raises IRError naming the node, the rule and what was found."""
    defined: dict[str, Value] = {}

    def define(v: Value, where: str) -> None:
        if v.name in defined:
            raise IRError(f"{where}: %{v.name} is defined twice")
        defined[v.name] = v

    def used(v: Value, where: str) -> None:
        if defined.get(v.name) is not v:
            raise IRError(f"{where}: %{v.name} is used before it is defined")

    for v in graph.inputs:
        define(v, f"graph @{graph.name}")
    for node in graph.nodes:
        where = describe(node)
        for v in node.inputs:
            used(v, where)
        inferred = checked_infer(node.op, [v.type for v in node.inputs])
        declared = tuple(v.type for v in node.outputs)
        if tuple(t.logical() for t in inferred) != tuple(t.logical() for t in declared):
            names = " and ".join(", ".join(map(str, types)) for types in (inferred, declared))
            raise IRError(f"{where}: inferred and declared types must agree, but they are {names}")
        for v in node.outputs:
            define(v, where)
    for v in graph.results:
        used(v, f"return of graph @{graph.name}")
    _verify_tables(graph)
    return graph


KEPT: tuple[Role, ...] = ("parameter", "state")
"""Roles whose inputs are kept between runs, and may be updated."""


def _verify_tables(graph: Graph) -> None:
    inputs = {v.name: v for v in graph.inputs}
    place = f"graph @{graph.name}"
    for name, role in graph.roles.items():
        if name not in inputs or role not in ROLES:
            raise IRError(f"{place}: role {role} of %{name} needs an input of that name and one of {', '.join(ROLES)}")
        t = inputs[name].type
        if role == "scalar" and (t.rank != 0 or t.layout is not None):
            raise IRError(f"{place}: an input of role scalar is one number, f32[] or i32[], but %{name} is {t}")
        if role != "data" and t.rows is not None:
            raise IRError(f"{place}: only data have batch rows, but %{name}: {t} has role {role}")
    for name, v in graph.updates.items():
        if name not in inputs:
            raise IRError(f"{place}: update of %{name}, which is no input")
        if graph.role(name) not in KEPT:
            role = graph.role(name)
            raise IRError(
                f"{place}: an update is the new value of a parameter or of state, but %{name} has role {role}"
            )
        if inputs[name].type != v.type:
            raise IRError(f"{place}: the update of %{name}: {inputs[name].type} has type {v.type}")
    rows = dict.fromkeys(v.type.rows for v in graph.values() if v.type.rows is not None)
    if len(rows) > 1:
        raise IRError(f"{place}: batch rows must have one capacity, but there are {', '.join(map(str, rows))}")


def describe(node: Node) -> str:
    """A node in one line, for messages."""
    place = f" at {node.path}" if node.path else ""
    outputs, inputs = (", ".join(f"%{v.name}" for v in values) for values in (node.outputs, node.inputs))
    return f"{outputs} = {node.op.name}({inputs}){place}"
