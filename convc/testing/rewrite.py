"""A pass is right where its text is what was written down and its graph computes what it did before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import unified_diff
from textwrap import dedent

import numpy as np

from convc.checks import instance
from convc.ir.core import Array, Graph
from convc.ir.interp import interpret
from convc.ir.text import parse_graph, print_graph
from convc.ir.verify import verify
from convc.passes.registry import apply
from convc.passes.target import CPU, Target
from convc.testing.inputs import random_inputs

ROUNDING = 1e-10
"""How far a rewrite may move a number, in parts of its tensor's largest: float64 sums of up to half a million
terms in another order. A rewrite that computes something else is off by far more."""


def check_rewrite(
    before: str | Graph,
    pass_: Callable[..., Graph],
    after: str | None = None,
    *,
    target: Target = CPU,
    outputs: int | None = None,
    inputs: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> Graph:
    """Run `pass_` on `before`, assert that the result reads `after`, and that both compute the same.

    `before` and `after` are graphs' texts, indented as you like; `after=None` says that the pass must leave
    the graph as it is. Both graphs are verified, the result's text must parse to itself, and the interpreter
    must give the same outputs and updates (to 1e-10 of a tensor's largest number; NaN where there was NaN)
    for a full batch, for one row and for some number between. `outputs`: how many of the first outputs to
    compare, for a pass that adds or takes some (by default all, and there must be as many). `inputs`
    replaces some of the random inputs, at full capacity; rows are cut as needed. Returns the new graph.

    Raises AssertionError with a diff of the texts, or the name and numbers of the value that changed, and
    IRError where a text or a graph is ill-formed.
    """
    instance(before, (str, Graph), "a rewrite begins with a graph or its text")
    old = verify(parse_graph(dedent(before)) if isinstance(before, str) else before)
    new = verify(apply(pass_, old, target))
    expected = print_graph(old if after is None else parse_graph(dedent(after)))
    assert_same_text(expected, print_graph(new))
    assert_same_text(print_graph(new), print_graph(parse_graph(print_graph(new))))
    assert_same_numbers(old, new, outputs=outputs, inputs=inputs, seed=seed)
    return new


def assert_same_text(expected: str, found: str) -> None:
    """Raises AssertionError with a diff, line by line."""
    if expected != found:
        diff = unified_diff(expected.splitlines(), found.splitlines(), "expected", "found", lineterm="", n=1)
        raise AssertionError("the graph reads differently:\n" + "\n".join(diff))


def assert_same_numbers(
    before: Graph,
    after: Graph,
    *,
    outputs: int | None = None,
    inputs: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> None:
    """Both graphs interpreted on the same inputs, for several numbers of rows; see `check_rewrite`."""
    if outputs is None:
        assert len(after.outputs) == len(before.outputs), "the graph has another number of outputs"
    for rows in some_rows(before):
        drawn = {**random_inputs(after, rows, seed), **random_inputs(before, rows, seed)}
        for v in before.inputs:
            if inputs is not None and v.name in inputs:
                drawn[v.name] = inputs[v.name][:rows] if v.type.rows is not None else inputs[v.name]
        old, new = interpret(before, drawn), interpret(after, drawn)
        pairs = [(a.name, old[a.name], new[b.name]) for a, b in zip(before.outputs[:outputs], after.outputs)]
        pairs += [(name, old[name], new[name]) for name in before.updates]
        for name, a, b in pairs:
            assert_close(a, b, f"%{name} with {rows} rows")


def some_rows(graph: Graph) -> tuple[int, ...]:
    """Numbers of rows to try: all, one, and one that fills no power of two; for a fixed batch just one run."""
    capacity = next((int(v.type.rows) for v in graph.values() if v.type.rows is not None), 1)
    return tuple(dict.fromkeys((capacity, 1, max(1, capacity * 2 // 3))))


def assert_close(a: Array, b: Array, what: str, allowed: float = ROUNDING) -> None:
    """|a - b| <= allowed * max|a|, NaN and infinities in the same places."""
    assert a.shape == b.shape, f"{what} has shape {b.shape}, not {a.shape}"
    finite = np.isfinite(a)
    assert np.array_equal(a[~finite], b[~finite], equal_nan=True), f"{what} differs in NaN or infinity"
    assert np.isfinite(b[finite]).all(), f"{what} is no longer finite"
    if finite.any():
        off, largest = np.abs(a - b)[finite].max(), np.abs(a[finite]).max()
        assert off <= allowed * largest, f"{what} is off by {off:.3g}, and its largest number is {largest:.3g}"
