"""Reads a graph: first all nodes as they are written, then their operands, so that a cycle can be named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import networkx as nx

from convc.errors import IRError
from convc.ir.core import ROLES, Graph, Node, Placement, Role, Value, checked_infer
from convc.ir.lexer import Cursor, did_you_mean, quoted
from convc.ir.operator_parser import parse_operator, parse_operator_name
from convc.ir.type_parser import parse_type
from convc.ir.verify import verify


@dataclass(frozen=True)
class _Ref:
    """A value's name and the offset where it stands."""

    name: str
    pos: int

    def __str__(self) -> str:
        return f"%{quoted(self.name)}"


@dataclass(frozen=True, eq=False)
class _Written:
    """A node whose operands are names still."""

    node: Node  # without inputs
    operands: tuple[_Ref, ...]
    pos: int
    op_pos: int


class GraphParser:
    """One text, one graph; see convc.ir.text for the grammar."""

    def __init__(self, text: str) -> None:
        self.c = Cursor(text)
        self.values: dict[str, Value] = {}
        self.defined_at: dict[str, int] = {}
        self.roles: dict[str, Role] = {}
        self.written: list[_Written] = []
        self.updates: dict[str, tuple[_Ref, _Ref]] = {}
        self.placed: dict[str, tuple[_Ref, Placement, _Ref | None]] = {}
        self.returned: list[_Ref] | None = None
        self.arena_bytes = 0

    def parse(self) -> Graph:
        c = self.c
        if c.done:
            raise c.error("the text is empty; a graph starts with 'graph @name(...) {'", 0)
        start = c.pos
        c.expect("graph", "at the start")
        c.expect("@", "and the graph's name")
        name = c.name("a graph's name")
        inputs = tuple(self.input() for _ in c.items("(", ")", "in the graph's inputs"))
        opened = c.open("{", "and the graph's nodes")
        while c.looking_at("%"):
            self.node()
        self.tail()
        if self.returned is None and c.looking_at("}"):
            raise c.error(f"graph @{quoted(name)} has no return; add 'return %value' before its '}}'")
        c.close("}", opened, "or a node, return, update, place or arena")
        if not c.done:
            raise c.expected("the end of the text", f"after graph @{quoted(name)}")
        graph = Graph(
            name=name,
            inputs=inputs,
            nodes=self.nodes(inputs),
            outputs=tuple(self.known(r) for r in self.returned or ()),
            roles=self.roles,
            updates=self.checked_updates(inputs),
            placements=self.checked_placements(inputs),
            arena_bytes=self.arena_bytes,
        )
        return c.attempt(start, verify, graph)

    # Values

    def ref(self) -> _Ref:
        start = self.c.pos
        self.c.expect("%", "and a value's name")
        return _Ref(self.c.name("a value's name"), start)

    def declaration(self) -> Value:
        """`%name: type`, a new value."""
        ref = self.ref()
        if ref.name in self.values:
            line, column = self.c.place(self.defined_at[ref.name])
            message = f"{ref} is defined twice, first in line {line}, column {column}; rename one"
            raise self.c.error(message, ref.pos)
        self.c.expect(":", f"and the type of {ref}")
        value = Value(ref.name, parse_type(self.c))
        self.values[ref.name], self.defined_at[ref.name] = value, ref.pos
        return value

    def input(self) -> Value:
        value = self.declaration()
        at = self.c.pos
        role = self.c.peek_word()
        if not role:
            return value
        if role not in ROLES:
            raise self.c.error(f"unknown role '{role}'{did_you_mean(role, ROLES)}", at)
        self.c.accept(role)
        if role != "data":
            self.roles[value.name] = cast(Role, role)
        return value

    # Nodes

    def node(self) -> None:
        c, start = self.c, self.c.pos
        outputs = [self.declaration()]
        while c.accept(","):
            outputs.append(self.declaration())
        c.expect("=", "and an operator")
        op_pos = c.pos
        cls = parse_operator_name(c)
        operands = tuple(self.ref() for _ in c.items("(", ")", "in the operands"))
        op = parse_operator(c, cls, tuple(v.type for v in outputs), op_pos)
        path, passes = self.loc()
        self.written.append(_Written(Node(op, (), tuple(outputs), path, passes), operands, start, op_pos))

    def loc(self) -> tuple[str, tuple[str, ...]]:
        """`loc(path: pass, pass)`, either part empty."""
        c = self.c
        if not c.accept("loc"):
            return "", ()
        opened = c.open("(", "and the node's place")
        path = "" if c.looking_at(":", ")") else c.name("a path")
        passes: list[str] = []
        if c.accept(":"):
            while not passes or c.accept(","):
                passes.append(c.name("a pass' name"))
        c.close(")", opened, "at the end of loc")
        return path, tuple(passes)

    # The lines after the nodes

    def tail(self) -> None:
        c = self.c
        while True:
            start = c.pos
            keyword = c.accept("return", "update", "place", "arena")
            if keyword == "return":
                self.return_(start)
            elif keyword == "update":
                target = self.ref()
                c.expect("=", "and the new value")
                if target.name in self.updates:
                    raise c.error(f"{target} is updated twice; keep one", target.pos)
                self.updates[target.name] = (target, self.ref())
            elif keyword == "place":
                self.place()
            elif keyword == "arena":
                self.arena_bytes = c.integer("the arena's size")
                c.expect("bytes", "after the arena's size")
            else:
                break
        if c.looking_at("%"):
            raise c.error("a node may not follow return, update, place or arena; move it up")

    def return_(self, start: int) -> None:
        if self.returned is not None:
            raise self.c.error("the graph returns twice; keep one return", start)
        self.returned = [self.ref()] if self.c.looking_at("%") else []
        while self.returned and self.c.accept(","):
            self.returned.append(self.ref())

    def place(self) -> None:
        c, ref = self.c, self.ref()
        if ref.name in self.placed:
            raise c.error(f"{ref} is placed twice; keep one", ref.pos)
        if c.accept("inside"):
            inside = self.ref()
            self.placed[ref.name] = (ref, Placement(inside=inside.name), inside)
            return
        c.expect("at", "or 'inside' after the placed value")
        c.expect("arena", "and '+ offset'")
        c.expect("+", "and the offset in bytes")
        self.placed[ref.name] = (ref, Placement(c.integer("an offset in bytes")), None)

    # What names refer to

    def known(self, ref: _Ref) -> Value:
        if ref.name not in self.values:
            raise self.c.error(f"{ref} is not defined{did_you_mean(ref.name, self.values)}", ref.pos)
        return self.values[ref.name]

    def nodes(self, inputs: Sequence[Value]) -> tuple[Node, ...]:
        """The nodes with their operands, each checked against its declared types."""
        ready = set(inputs)
        nodes = []
        for w in self.written:
            for ref in w.operands:
                if self.known(ref) not in ready:
                    raise self.out_of_order(w, ref)
            node = replace(w.node, inputs=tuple(self.known(r) for r in w.operands))
            self.check_types(node, w)
            ready.update(node.outputs)
            nodes.append(node)
        return tuple(nodes)

    def out_of_order(self, user: _Written, ref: _Ref) -> IRError:
        """`user` reads a value that is defined later: a cycle, or just a wrong order."""
        producers = {v.name: w for w in self.written for v in w.node.outputs}
        uses: nx.DiGraph[_Written] = nx.DiGraph()
        uses.add_edges_from((producers[r.name], w) for w in self.written for r in w.operands if r.name in producers)
        if nx.has_path(uses, user, producers[ref.name]):
            path = nx.shortest_path(uses, user, producers[ref.name])
            names = [f"%{quoted(w.node.out.name)}" for w in (*path, user)]
            return self.c.error(f"a graph may have no cycle, but there is {' -> '.join(names)}; cut it", ref.pos)
        line, _ = self.c.place(self.defined_at[ref.name])
        return self.c.error(f"{ref} is used before its definition in line {line}; move that line up", ref.pos)

    def check_types(self, node: Node, w: _Written) -> None:
        types = tuple(v.type for v in node.inputs)
        names = node.op.operands()
        if names is not None and len(types) != len(names):
            takes = f"{node.op.name} takes ({', '.join(names)})"
            message = f"wrong number of operands: {takes}, but the list has {len(types)}; correct it"
            raise self.c.error(message, w.op_pos)
        inferred = self.c.attempt(w.op_pos, checked_infer, node.op, types)
        declared = tuple(v.type for v in node.outputs)
        if [t.logical() for t in inferred] != [t.logical() for t in declared]:
            both = [", ".join(map(str, t)) for t in (declared, inferred)]
            message = f"{node.op.name} gives {both[1]}, but the declared type is {both[0]}; correct one of them"
            raise self.c.error(message, w.pos)

    def checked_updates(self, inputs: Sequence[Value]) -> dict[str, Value]:
        known = {v.name: v for v in inputs}
        for target, new in self.updates.values():
            if target.name not in known:
                raise self.c.error(
                    f"update of {target}, which is no input{did_you_mean(target.name, known)}", target.pos
                )
            wanted, given = known[target.name].type, self.known(new).type
            if wanted.logical() != given.logical():
                message = f"an update keeps its input's type, but {target} is {wanted}, {new} {given}; correct one"
                raise self.c.error(message, new.pos)
        return {name: self.known(new) for name, (_, new) in self.updates.items()}

    def checked_placements(self, inputs: Sequence[Value]) -> dict[str, Placement]:
        known = {v.name for v in inputs}
        for ref, _, inside in self.placed.values():
            self.known(ref)
            if inside is not None and inside.name not in known:
                message = f"{ref} is placed inside {inside}, which is no input{did_you_mean(inside.name, known)}"
                raise self.c.error(message, inside.pos)
        return {name: placement for name, (_, placement, _) in self.placed.items()}
