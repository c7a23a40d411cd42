"""An operator's attributes as its dataclass declares them: which there are, and which values fit."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints

from convc.errors import IRError
from convc.ir.core import Op
from convc.ir.kernels import KernelOp
from convc.ir.types import TensorType

BLOCK = ("phases", "schedules", "nest", "schedule")
"""The fields of a kernel that have a syntax of their own."""
_HINTS: dict[type, Mapping[str, Any]] = {}


def hints(cls: type) -> Mapping[str, Any]:
    """The types of a dataclass' fields, by name."""
    if cls not in _HINTS:  # evaluating annotations is slow
        found = get_type_hints(cls)
        _HINTS[cls] = {f.name: found[f.name] for f in fields(cls)}
    return _HINTS[cls]


def attribute_fields(cls: type[Op]) -> tuple[Field[Any], ...]:
    """The fields written as `name=value`: all but declared result types and a kernel's view and schedule."""
    block = BLOCK if issubclass(cls, KernelOp) else ()
    return tuple(f for f in fields(cls) if not f.metadata.get("result") and f.name not in block)


def required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def result_fields(cls: type[Op], declared: tuple[TensorType, ...]) -> dict[str, Any]:
    """The fields that hold the declared result types, filled.

    Raises IRError where the operator has one result, but several types are declared.
    """
    filled: dict[str, Any] = {}
    for f in fields(cls):
        if not f.metadata.get("result"):
            continue
        if hints(cls)[f.name] is not TensorType:
            filled[f.name] = declared
        elif len(declared) == 1:
            filled[f.name] = declared[0]
        else:
            raise IRError(f"{cls.name} has one result, but {len(declared)} types are declared; declare one")
    return filled


def fit(cls: type, name: str, value: Any) -> Any:
    """`value` as the field `name` holds it: an integer for a float field becomes a float, a list a tuple.

    Raises IRError where the value is of another kind.
    """
    hint = hints(cls)[name]
    try:
        return _fit(value, hint)
    except ValueError:
        owner = cls.name if issubclass(cls, Op) else "a schedule"
        raise IRError(f"attribute '{name}' of {owner} must be {kind(hint)}, not {_shown(value)}") from None


def _fit(value: Any, hint: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _fit_any(value, args)
    if origin is tuple and isinstance(value, (tuple, list)):
        if args[-1] is Ellipsis:
            return tuple(_fit(v, args[0]) for v in value)
        return tuple(_fit(v, a) for v, a in zip(value, args, strict=True))
    if origin is None and isinstance(value, bool) == (hint is bool):
        if hint is int and isinstance(value, Integral):
            return int(value)
        if hint is float and isinstance(value, Real):
            return float(value)
        if isinstance(hint, type) and isinstance(value, hint):
            return value
    raise ValueError


def _fit_any(value: Any, alternatives: tuple[Any, ...]) -> Any:
    for hint in alternatives:
        try:
            return _fit(value, hint)
        except ValueError:
            continue
    raise ValueError


def kind(hint: Any) -> str:
    """What a field holds, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(kind(a) for a in args)
    if origin is tuple and args[-1] is Ellipsis:
        return f"a list, each {kind(args[0])}"
    if origin is tuple:
        kinds = list(dict.fromkeys(map(kind, args)))
        return f"a list of {len(args)}, {f'each {kinds[0]}' if len(kinds) == 1 else ' and '.join(kinds)}"
    words = {
        int: "an integer",
        float: "a number",
        bool: "True or False",
        str: 'a "string"',
        type(None): "None",
    }
    return words.get(hint, f"of kind {getattr(hint, '__name__', hint)}")


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_shown, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
