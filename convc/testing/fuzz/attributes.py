"""Draws an operator's attributes from the types of its dataclass' fields."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import fields
from random import Random
from typing import Any, Union, get_args, get_origin

from convc.errors import IRError
from convc.ir.attributes import attribute_fields, required
from convc.ir.core import Op
from convc.ir.fields import hints
from convc.ir.types import TensorType

WHOLE = (0, 1, 1, 2, 2, 3, 3, 4, 5)
NUMBERS = (0.0, 1e-4, 0.01, 0.25, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, -0.5)
AT_DEFAULT = 0.4


def draw_attributes(cls: type[Op], rng: Random, result: Callable[[], TensorType]) -> dict[str, Any]:
    """Values of the right kind for every field; `result` draws a declared type. Whether they fit, `infer` says."""
    declared = {f.name for f in fields(cls) if f.metadata.get("result")}
    found = {
        f.name: draw_value(hints(cls)[f.name], rng)
        for f in attribute_fields(cls)
        if required(f) or rng.random() >= AT_DEFAULT
    }
    return found | {name: result() for name in declared}


def draw_value(hint: Any, rng: Random) -> Any:
    """A value of the annotated type; raises IRError where none can be drawn of it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return draw_value(rng.choice(args), rng)
    if origin is tuple and args[-1] is Ellipsis:
        return tuple(draw_value(args[0], rng) for _ in range(rng.choice((0, 1, 2, 2, 2, 3, 4))))
    if origin is tuple:
        return tuple(draw_value(a, rng) for a in args)
    if hint is bool:
        return rng.random() < 0.5
    if hint is int:
        return rng.choice(WHOLE)
    if hint is float:
        return rng.choice(NUMBERS)
    if hint is type(None):
        return None
    raise IRError(f"nothing is known about values of type {hint}")
