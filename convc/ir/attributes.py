"""An operator's attributes as its dataclass declares them: which there are, and which are its result types."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

from convc.errors import IRError
from convc.ir.core import Op
from convc.ir.fields import hints
from convc.ir.kernels import KernelOp
from convc.ir.types import TensorType

BLOCK = ("phases", "schedules", "nest", "schedule")
"""The fields of a kernel that have a syntax of their own."""


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
