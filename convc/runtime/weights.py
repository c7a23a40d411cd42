"""Weights out of a safetensors file, brought to a model's dtypes, and refused by name where they do not fit it.

Floats of 16 bits (F16, BF16) become float32 exactly; those of 64 are rounded to the nearest float32, ties to even.
Integers never become floats, nor floats integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.errors import DataError

Array = npt.NDArray[Any]
FLOATS = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
"""The dtypes of a file that become float32, and how NumPy reads their bytes; it knows no BF16."""
WHOLE = {"I32": "<i4"}
MAX_NAMED = 3


@dataclass(frozen=True)
class Stored:
    """A tensor as a file holds it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray


@dataclass(frozen=True)
class Loaded:
    """What `load` did: the names of arrays that were written, and of those that were not.

    `missing`: the model has them, and the file has not: they stay as they were. `unexpected`: the file has them, and
    the model has not. `converted`: those of `loaded` that the file holds in another dtype, with that dtype. `reshaped`:
    the file has them in another shape, and they stay as they were.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    converted: Mapping[str, str]
    reshaped: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} arrays loaded"]
        named_apart = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.reshaped,
            "converted": self.converted,
        }
        for what, names in named_apart.items():
            if names:
                parts.append(f"{what}: {named(names)}")
        return "; ".join(parts)


def named(names: Iterable[str]) -> str:
    """The first few names, and how many more."""
    names = list(names)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def parse(raw: bytes) -> dict[str, Stored]:
    """The tensors of a safetensors file; raises what safetensors raises for a file that is none."""
    from safetensors import deserialize  # here: a program that runs needs no file format

    return {name: Stored(t["dtype"], tuple(t["shape"]), t["data"]) for name, t in deserialize(raw)}  # type: ignore[no-untyped-call]


def fit(
    stored: Mapping[str, Stored],
    held: Mapping[str, Array],
    needed: Iterable[str],
    path: Path,
    *,
    strict: bool = True,
    finite: bool = True,
    shapes: bool = True,
) -> tuple[dict[str, Array], Loaded]:
    """The arrays to write, and what of the file they are; nothing is written here.

    `held`: the model's arrays, for their shapes and dtypes. `needed`: those that the file must have; with `strict`
    False it may lack any, and have others. `finite`: whether NaN and infinities are refused. `shapes`: whether another
    shape is; with False such an array is left out. Raises DataError, naming the array.
    """
    missing = tuple(n for n in needed if n not in stored)
    unexpected = tuple(sorted(n for n in stored if n not in held))
    if not held:
        raise DataError(f"weights go into a model's arrays, and it has none yet: compile it, then load {path}")
    if strict and (missing or unexpected):
        what = f"lacks {named(missing)}" if missing else f"has {named(unexpected)}, which the model has not"
        raise DataError(
            f"weights must be those of the model, but {path} {what}; use the model they were saved from, or load with "
            "strict=False"
        )
    other = tuple(n for n, a in held.items() if n in stored and stored[n].shape != a.shape and not shapes)
    arrays = {n: _array(n, stored[n], a, path, finite) for n, a in held.items() if n in stored and n not in other}
    if not arrays:
        raise DataError(
            f"{path} has none of the model's arrays, but {named(sorted(stored)) or 'nothing'}; load other weights"
        )
    converted = {n: stored[n].dtype for n in arrays if stored[n].dtype not in ("F32", "I32")}
    return arrays, Loaded(tuple(arrays), missing, unexpected, converted, other)


def _array(name: str, t: Stored, held: Array, path: Path, finite: bool) -> Array:
    if t.shape != held.shape:
        raise DataError(
            f"{path}: {name} must have shape {list(held.shape)}, not {list(t.shape)}; use the model it was saved from"
        )
    known = FLOATS if held.dtype.kind == "f" else WHOLE
    if t.dtype not in known:
        raise DataError(f"{path}: {name} must be {', '.join(known)}, not {t.dtype}; convert it before")
    numbers = np.frombuffer(t.data, known[t.dtype]).reshape(t.shape)
    if t.dtype == "BF16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if held.dtype.kind != "f":
        return numbers
    if finite:
        _check(
            np.isfinite(numbers), numbers, name, path, "must be finite", "take weights of a run that did not diverge"
        )
    with np.errstate(over="ignore"):
        result = numbers.astype(held.dtype)
    overflown = np.isinf(result) & np.isfinite(numbers)
    limit = f"must fit float32, at most {np.finfo(np.float32).max:.4g}"
    _check(~overflown, numbers, name, path, limit, "scale the weights")
    return result


def _check(right: Array, numbers: Array, name: str, path: Path, rule: str, remedy: str) -> None:
    """Raises DataError with the first number that is not right."""
    if right.all():
        return
    at = int(np.argmin(right))
    place = ", ".join(str(int(i)) for i in np.unravel_index(at, numbers.shape))
    count = int(right.size - np.count_nonzero(right))
    more = f" (and {count - 1} more)" if count > 1 else ""
    what = f"{name}[{place}]" if place else name
    raise DataError(f"{path}: weights {rule}, but {what} is {numbers.reshape(-1)[at]:.5g}{more}; {remedy}")
