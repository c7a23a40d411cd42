"""What the fields of a dataclass may hold, read off their declared types: one check for text and Python alike."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from math import inf
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from convc.errors import IRError

WHOLE_LIMIT = 2**32
"""Integers of an attribute lie below this in magnitude: sizes and counts, a dropout's stream the largest."""
F32_MAX = float(np.finfo(np.float32).max)
Fitter = Callable[[Any], Any]
"""A value as a field holds it; raises ValueError where it is of another kind."""


_HINTS: dict[type, Mapping[str, Any]] = {}
_FITTERS: dict[type, Mapping[str, Fitter]] = {}


def hints(cls: type) -> Mapping[str, Any]:
    """The types of a dataclass' fields, by name."""
    if cls not in _HINTS:  # evaluating annotations is slow
        found = get_type_hints(cls)
        _HINTS[cls] = {f.name: found[f.name] for f in fields(cls)}
    return _HINTS[cls]


def _fitters(cls: type) -> Mapping[str, Fitter]:
    if cls not in _FITTERS:
        _FITTERS[cls] = {name: _fitter(hint) for name, hint in hints(cls).items()}
    return _FITTERS[cls]


def fit(cls: type, name: str, value: Any) -> Any:
    """`value` as the field `name` holds it: an integer for a float field becomes a float, a list a tuple, and
    NumPy's numbers become Python's.

    Raises IRError where the value is of another kind.
    """
    try:
        return _fitters(cls)[name](value)
    except ValueError:
        owner = getattr(cls, "name", "") or "a schedule"
        raise IRError(f"attribute '{name}' of {owner} must be {kind(hints(cls)[name])}, not {_shown(value)}") from None


def fit_all(instance: Any) -> None:
    """Every field of a frozen dataclass made to fit; raises IRError as `fit` does."""
    cls = type(instance)
    for name in _fitters(cls):
        given = getattr(instance, name)
        fitting = fit(cls, name, given)
        if fitting is not given:
            object.__setattr__(instance, name, fitting)


def same(a: Any, b: Any) -> bool:
    """Whether two attributes are the same to a program: 0.0 and -0.0 are not, and NaN is itself."""
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    return bool(a == b)


def _fitter(hint: Any) -> Fitter:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of([_fitter(a) for a in args])
    if origin is tuple:
        return _each(_fitter(args[0])) if args[-1] is Ellipsis else _each_by_place([_fitter(a) for a in args])
    return {int: _integer, float: _number, bool: _truth}.get(hint) or _instance(hint)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or abs(int(value)) >= WHOLE_LIMIT:
        raise ValueError
    return value if isinstance(value, int) else int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError
    try:
        number = float(value)
    except OverflowError:
        raise ValueError from None
    if F32_MAX < abs(number) < inf:  # to a target it would be infinite
        raise ValueError
    return number


def _truth(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError
    return bool(value)


def _instance(hint: Any) -> Fitter:
    def fitted(value: Any) -> Any:
        if not isinstance(hint, type) or not isinstance(value, hint):
            raise ValueError
        return value

    return fitted


def _each(inner: Fitter) -> Fitter:
    def fitted(value: Any) -> Any:
        if not isinstance(value, tuple | list):
            raise ValueError
        found = tuple([inner(v) for v in value])
        unchanged = isinstance(value, tuple) and all(a is b for a, b in zip(found, value))
        return value if unchanged else found

    return fitted


def _each_by_place(inner: list[Fitter]) -> Fitter:
    def fitted(value: Any) -> Any:
        if not isinstance(value, tuple | list) or len(value) != len(inner):
            raise ValueError
        return tuple([fits(v) for fits, v in zip(inner, value)])

    return fitted


def _any_of(alternatives: list[Fitter]) -> Fitter:
    def fitted(value: Any) -> Any:
        for fits in alternatives:
            try:
                return fits(value)
            except ValueError:
                continue
        raise ValueError

    return fitted


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
        float: "a number that f32 holds",
        bool: "True or False",
        str: 'a "string"',
        type(None): "None",
    }
    return words.get(hint, f"of kind {getattr(hint, '__name__', hint)}")


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, int) and abs(value) >= WHOLE_LIMIT:
        return "one of 2^32 or more in magnitude"
    return f'"{value}"' if isinstance(value, str) else str(value)
