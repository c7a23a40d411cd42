"""The table of passes: a pass is a function `graph -> graph`; module, function and name are one word."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeVar

from convc.errors import IRError
from convc.ir.core import Graph
from convc.ir.lexer import did_you_mean, printable
from convc.passes.target import CPU, Target

P = TypeVar("P", bound=Callable[..., Graph])
PASSES: dict[str, Callable[..., Graph]] = {}
ENTRY_POINTS = "convc.passes"


def register_pass(function: P) -> P:
    """Decorator: makes the function known to `convc opt` and `convc passes` under its own name."""
    name = function.__name__
    if name in PASSES:
        raise IRError(f"pass '{name}' is defined twice: in {PASSES[name].__module__} and {function.__module__}")
    PASSES[name] = function
    return function


def find_pass(name: str) -> Callable[..., Graph]:
    """A registered pass, or one that an installed package offers under the entry point group `convc.passes`."""
    if name in PASSES:
        return PASSES[name]
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            found: Callable[..., Graph] = entry.load()
            return found
    raise IRError(f"unknown pass '{printable(name)}'{did_you_mean(name, PASSES)}")


def apply(function: Callable[..., Graph], graph: Graph, target: Target = CPU) -> Graph:
    """Run a pass, handing the target to those that ask for it."""
    if "target" in inspect.signature(function).parameters:
        return function(graph, target=target)
    return function(graph)


def summary(function: Callable[..., Graph]) -> str:
    """The first line of the pass' docstring, which is its rewrite."""
    return (inspect.getdoc(function) or "").partition("\n")[0]
