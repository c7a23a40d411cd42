"""Graphs, nodes and kernels as text, in the one canonical spelling that the parser reads back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from convc.errors import IRError
from convc.ir.attributes import attribute_fields, required
from convc.ir.core import Graph, Node, Op, Placement, Value
from convc.ir.fields import fit
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Index
from convc.ir.kernels import AnyGemmSchedule, AnyLoopSchedule, Gemm, Loops
from convc.ir.lexer import is_word, quoted
from convc.ir.loop_nest import Map, Reduce, Stage
from convc.ir.ops.fused import Step
from convc.ir.scalar import (
    BINARY,
    COMPARE,
    UNARY,
    Binary,
    Const,
    IndexValue,
    Load,
    Local,
    Next,
    Random,
    RowCount,
    Scalar,
    Select,
    Store,
    Unary,
)
from convc.ir.types import TensorType

WIDTH = 110
INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}
"""Operator and precedence; a unary minus binds tighter (3), everything else is one word (4)."""
COMPARISON = dict(zip(COMPARE, (">", ">=", "<", "<=", "==", "!=")))
KEYWORDS = frozenset(
    {*UNARY, *BINARY, "select", "random", "next", "rows", "inf", "nan", "none", "in"}
    | {"phase", "for", "reduce", "map", "store", "schedule"}
)
"""Words that name no axis and no local result."""


def print_graph(graph: Graph) -> str:
    """The graph in its text form, no line break at the end. Raises IRError where it cannot be written."""
    lines = [_header(graph)]
    lines += [_indent(print_node(node)) for node in graph.nodes]
    lines.append(f"  return {', '.join(map(_ref, graph.outputs))}".rstrip())
    lines += [f"  update %{quoted(name)} = {_ref(v)}" for name, v in graph.updates.items()]
    lines += [f"  place %{quoted(name)} {_place(p)}" for name, p in graph.placements.items()]
    if graph.arena_bytes:
        lines.append(f"  arena {graph.arena_bytes} bytes")
    return "\n".join([*lines, "}"])


def _header(graph: Graph) -> str:
    inputs = [_declaration(v) + (f" {graph.role(v)}" if graph.role(v) != "data" else "") for v in graph.inputs]
    start = f"graph @{quoted(graph.name)}("
    line = f"{start}{', '.join(inputs)}) {{"
    if len(line) <= WIDTH:
        return line
    return start + ",".join(f"\n  {text}" for text in inputs) + "\n) {"


def _place(p: Placement) -> str:
    return f"at arena + {p.offset}" if p.inside is None else f"inside %{quoted(p.inside)}"


def print_node(node: Node) -> str:
    """One line for a tensor-level node, a block for a kernel."""
    results = ", ".join(map(_declaration, node.outputs))
    declared = tuple(v.type for v in node.outputs)
    call = f"{results} = {node.op.name}({', '.join(map(_ref, node.inputs))})"
    return f"{call}{_body(node.op, declared)}{_loc(node)}"


def _declaration(v: Value) -> str:
    return f"{_ref(v)}: {_type(v.type)}"


def _ref(v: Value) -> str:
    return f"%{quoted(v.name)}"


def _type(t: TensorType) -> str:
    if t.layout is not None and t.rank > 10:
        raise IRError(f"a layout is written with one digit an axis, but {t} has {t.rank}; use at most 10")
    return str(t)


def _loc(node: Node) -> str:
    if not node.path and not node.passes:
        return ""
    path = quoted(node.path) if node.path else ""
    passes = f": {', '.join(map(quoted, node.passes))}" if node.passes else ""
    return f" loc({path}{passes})"


def _body(op: Op, declared: tuple[TensorType, ...]) -> str:
    if isinstance(op, Gemm):
        return _block([*_settings(op, declared), *_gemm(op)])
    if isinstance(op, Loops):
        return _block([*_settings(op, declared), *_loops(op)])
    return _attributes(op, declared)


def _block(lines: Iterable[str]) -> str:
    return "\n".join([" {", *map(_indent, lines), "}"])


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


# Attributes


def _attributes(op: Op, declared: tuple[TensorType, ...]) -> str:
    shown = _settings(op, declared)
    return f" {{{', '.join(shown)}}}" if shown else ""


def _settings(op: Op, declared: tuple[TensorType, ...]) -> list[str]:
    return [
        f"{f.name}={_value(getattr(op, f.name), declared)}"
        for f in attribute_fields(type(op))
        if required(f) or f.name in op.attributes()
    ]


def _value(value: Any, declared: tuple[TensorType, ...]) -> str:
    match value:
        case Op():
            return f"{value.name}{_inner(value, declared)}"
        case Step(op, operands):
            return f"{op.name}({', '.join(f'${i}' for i in operands)}){_inner(op, declared)}"
        case tuple():
            return f"[{', '.join(_value(v, declared) for v in value)}]"
        case str():
            return json.dumps(value)
    return repr(value)


def _inner(op: Op, declared: tuple[TensorType, ...]) -> str:
    """The rest of an operator inside a node: its attributes, and its result where it is not the node's."""
    text = _attributes(op, declared)
    for f in fields(op):
        result = getattr(op, f.name)
        if not f.metadata.get("result") or not isinstance(result, TensorType):
            continue
        if [result.logical()] != [t.logical() for t in declared]:
            return f"{text}: {_type(result)}"
    return text


# Kernels


def _gemm(op: Gemm) -> list[str]:
    if len(op.schedules) not in (0, len(op.phases)):
        raise IRError(f"a gemm has one schedule a phase or none, not {len(op.schedules)} for {len(op.phases)} phases")
    schedules: Sequence[AnyGemmSchedule | None] = op.schedules or [None] * len(op.phases)
    return [f"phase{_block(_phase(view, schedule))}" for view, schedule in zip(op.phases, schedules)]


def _phase(view: GemmView, schedule: AnyGemmSchedule | None) -> list[str]:
    return [
        f"batch({_axes(view.batch)}) m({_axes(view.m)}) n({_axes(view.n)}) k({_axes(view.k)})",
        f"a = {scalar_text(view.a)}",
        f"b = {scalar_text(view.b)}",
        *map(_store, view.stores),
        *_schedule(schedule),
    ]


def _loops(op: Loops) -> list[str]:
    return [f"for({_axes(op.nest.axes)})", *map(_stage, op.nest.stages), *_schedule(op.schedule)]


def _stage(stage: Stage) -> str:
    match stage:
        case Reduce(axes, monoid, results, values):
            names = ", ".join(_identifier(r, "result") for r in results)
            return f"reduce({_axes(axes)}) {names} = {monoid}({', '.join(map(scalar_text, values))})"
        case Map(axes, stores):
            line = f"map({_axes(axes)}) {{ {'; '.join(map(_store, stores))} }}"
            if len(line) <= WIDTH - 4 or len(stores) < 2:
                return line
            return f"map({_axes(axes)}){_block(map(_store, stores))}"


def _axes(axes: Sequence[Axis]) -> str:
    return ", ".join(f"{_identifier(a.name, 'axis')}:{a.extent}" for a in axes)


def _identifier(name: str, what: str) -> str:
    if not is_word(name) or name in KEYWORDS:
        raise IRError(f"{what} name {name!r} must be letters, digits and _ and no keyword; rename it")
    return name


def _store(s: Store) -> str:
    return f"store {s.output}[{_coords(s.coords)}] = {scalar_text(s.value)}"


def _coords(coords: Sequence[Index]) -> str:
    return ", ".join(map(str, coords))


def _schedule(schedule: AnyGemmSchedule | AnyLoopSchedule | None) -> list[str]:
    if schedule is None:
        return []
    given = [f for f in fields(schedule) if getattr(schedule, f.name) != f.default]
    settings = {f.name: fit(type(schedule), f.name, getattr(schedule, f.name)) for f in given}
    return [f"schedule {{{', '.join(f'{k}={_setting(v)}' for k, v in settings.items())}}}"]


def _setting(value: Any) -> str:
    if isinstance(value, tuple):
        return ":".join(map(_setting, value))
    return "none" if value in (None, "") else str(value)


def scalar_text(e: Scalar, level: int = 0) -> str:
    """The expression, in parentheses where it binds less tightly than `level`."""
    match e:
        case Const(value):
            return repr(float(value))
        case Load():
            return f"${e.operand}[{_access(e)}]"
        case Local(name):
            return _identifier(name, "local")
        case IndexValue(index):
            return f"#({index})"
        case RowCount():
            return "rows"
        case Random(index, stream, seed, step):
            return f"random({index}, {stream}, {scalar_text(seed)}, {scalar_text(step)})"
        case Next(x):
            return f"next({scalar_text(x)})"
        case Unary("neg", Const() as x):
            return f"-({scalar_text(x)})"  # without them it would be a negative constant
        case Unary("neg", x):
            return f"-{scalar_text(x, 3)}"
        case Unary(fn, x):
            return f"{fn}({scalar_text(x)})"
        case Binary(fn, x, y) if fn in INFIX:
            symbol, binds = INFIX[fn]
            text = f"{scalar_text(x, binds)} {symbol} {scalar_text(y, binds + 1)}"
            return f"({text})" if binds < level else text
        case Binary(fn, x, y):
            return f"{fn}({scalar_text(x)}, {scalar_text(y)})"
        case Select(fn, a, b, then, otherwise):
            test = f"{scalar_text(a)} {COMPARISON[fn]} {scalar_text(b)}"
            return f"select({test}, {scalar_text(then)}, {scalar_text(otherwise)})"
    raise AssertionError(f"no text for {type(e).__name__}")


def _access(e: Load) -> str:
    guards = f" | {', '.join(map(str, e.guards))}" if e.guards else ""
    fill = f" ; {float(e.fill)!r}" if repr(float(e.fill)) != "0.0" else ""  # -0.0 differs from 0.0
    return f"{_coords(e.coords)}{guards}{fill}"
