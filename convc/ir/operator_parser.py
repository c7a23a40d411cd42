"""Reads an operator's attributes, as its dataclass declares them, or a kernel's block."""

from __future__ import annotations

from typing import Any

from convc.ir.attributes import attribute_fields, required, result_fields
from convc.ir.core import OPS, Op
from convc.ir.fields import fit
from convc.ir.kernel_parser import parse_loops, parse_phases
from convc.ir.kernels import Gemm, KernelOp
from convc.ir.lexer import Cursor, did_you_mean
from convc.ir.ops.fused import Step
from convc.ir.type_parser import parse_type
from convc.ir.types import TensorType

Types = tuple[TensorType, ...]
CONSTANTS = {"True": True, "False": False, "None": None}


def parse_operator_name(c: Cursor) -> type[Op]:
    at = c.pos
    name = c.word("an operator")
    if name not in OPS:
        raise c.error(f"unknown operator '{name}'{did_you_mean(name, OPS)}", at)
    return OPS[name]


def parse_operator(c: Cursor, cls: type[Op], declared: Types, at: int) -> Op:
    """The operator with what its braces say; `at` is where its name stands, `declared` its result types."""
    read = _kernel if issubclass(cls, KernelOp) else _attributes
    return c.attempt(at, _construct, cls, read(c, cls, declared, at), declared)


def _construct(cls: type[Op], attributes: dict[str, Any], declared: Types) -> Op:
    return cls(**attributes, **result_fields(cls, declared))


def _kernel(c: Cursor, cls: type[Op], declared: Types, at: int) -> dict[str, Any]:
    """`{ title="..."  phase {..} }`: plain attributes first, then what the kernel computes."""
    opened = c.open("{", f"and the block of {cls.name}")
    found: dict[str, Any] = {}
    while c.peek_word() in {f.name for f in attribute_fields(cls)}:
        _attribute(c, cls, declared, found)
    if issubclass(cls, Gemm):
        found["phases"], found["schedules"] = parse_phases(c)
    else:
        found["nest"], found["schedule"] = parse_loops(c)
    c.close("}", opened, f"at the end of the block of {cls.name}")
    return found


def _attributes(c: Cursor, cls: type[Op], declared: Types, at: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in c.items("{", "}", f"in the attributes of {cls.name}") if c.looking_at("{") else ():
        _attribute(c, cls, declared, found)
    missing = [f.name for f in attribute_fields(cls) if required(f) and f.name not in found]
    if missing:
        raise c.error(f"{cls.name} needs the attribute '{missing[0]}'; add {{{missing[0]}=...}}", at)
    return found


def _attribute(c: Cursor, cls: type[Op], declared: Types, found: dict[str, Any]) -> None:
    """`name=value`, added to `found`."""
    at = c.pos
    known = [f.name for f in attribute_fields(cls)]
    name = c.word("an attribute")
    if name not in known:
        raise c.error(f"{cls.name} has no attribute '{name}'{did_you_mean(name, known)}", at)
    if name in found:
        raise c.error(f"attribute '{name}' is given twice; keep one", at)
    c.expect("=", f"and the value of '{name}'")
    value_at = c.pos
    found[name] = c.attempt(value_at, fit, cls, name, _value(c, declared))


def _value(c: Cursor, declared: Types) -> Any:
    """A number, True, False, None, a "string", a list, an operator, or one applied to `$` operands."""
    if c.looking_at("["):
        with c.nested():
            return tuple([_value(c, declared) for _ in c.items("[", "]", "in the list")])
    if c.looking_at('"'):
        return c.string()
    if constant := c.accept(*CONSTANTS):
        return CONSTANTS[constant]
    negative = c.accept("-")
    number = c.number()
    if number is not None:
        return -number if negative else number
    if negative or not c.peek_word():
        raise c.expected('an attribute\'s value: a number, True, False, None, a "string", a [list] or an operator')
    with c.nested():
        return _inner_operator(c, declared)


def _inner_operator(c: Cursor, declared: Types) -> Op | Step:
    """`conv2d {padding=[2, 2]}` or `bias_add($3, $2)`; a `: type` after it overrides the node's."""
    at = c.pos
    cls = parse_operator_name(c)
    if issubclass(cls, KernelOp):
        raise c.error(f"{cls.name} is a kernel and cannot be an attribute; use a tensor operator", at)
    operands = _step_operands(c) if c.looking_at("(") else None
    if operands == ():
        raise c.error(f"a step has at least one operand; write {cls.name}($0)", at)
    attributes = _attributes(c, cls, declared, at)
    if c.accept(":"):
        declared = (parse_type(c),)
    op = c.attempt(at, _construct, cls, attributes, declared)
    return op if operands is None else Step(op, operands)


def _step_operands(c: Cursor) -> tuple[int, ...]:
    operands = []
    for _ in c.items("(", ")", "in the operands"):
        c.expect("$", "and an operand's number")
        operands.append(c.integer("an operand's number"))
    return tuple(operands)
