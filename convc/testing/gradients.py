"""Gradients against finite differences whose step shrinks: a right one closes in, a wrong one stays off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from convc.checks import instance, seed_of
from convc.ir.core import Array, Graph, Node, Op, Value, checked_infer
from convc.ir.interp import interpret
from convc.ir.types import TensorType
from convc.passes.autodiff import PREFIX, autodiff
from convc.testing.inputs import random_inputs

STEPS = tuple(2.0**-k for k in range(7, 16))
LEAST_FALL = 3.0
"""Halving the step divides the error of a central difference by 4; this is order 1.6, short of 2 by noise."""
NOISE = 64 * 2.0**-53
"""Rounding of a sum, in parts of the sum of its terms' magnitudes."""


def check_gradients(
    subject: Graph | Op,
    types: Sequence[TensorType] = (),
    *,
    rows: int | None = None,
    inputs: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Compare autodiff's gradients of a graph, or of one operator on `types`, with central differences.

    For each f32 input (each parameter, where there are any) a random direction d: the error of
    (L(x + h d) - L(x - h d)) / 2h against the gradient's product with d must fall at least threefold (in
    theory fourfold, order 2) each time that h halves, from 2^-7 to 2^-15, until it is below the rounding
    of L. L is the first output, weighted by random numbers where it is no scalar. All is float64. Inputs
    should lie apart from kinks (relu at 0). Returns the errors by input; raises AssertionError with them.
    """
    instance(subject, (Graph, Op), "gradients are those of a graph or an operator, such as convc.parse_graph(text)")
    seed = seed_of(seed)
    graph = subject if isinstance(subject, Graph) else graph_of(subject, types)
    full = autodiff(graph)
    values = {**random_inputs(full, rows, seed), **(inputs or {})}
    result = interpret(full, values)
    wanted = graph.inputs_of("parameter") or tuple(v for v in graph.inputs if v.type.dtype == "f32")
    gradients = full.outputs[len(full.outputs) - len(wanted) :]
    weights = _seed_of(graph, full, values)
    errors: dict[str, list[float]] = {}
    rng = np.random.default_rng(seed)
    for v, d_v in zip(wanted, gradients, strict=True):
        direction = rng.standard_normal(values[v.name].shape)
        slope = float((result[d_v.name] * direction).sum())
        errors[v.name] = _errors(graph, v, values, weights, direction, slope)
    return errors


def graph_of(op: Op, types: Sequence[TensorType]) -> Graph:
    """A graph of one operator: inputs %x0, %x1, ...; outputs %y0, %y1, ..."""
    args = tuple(Value(f"x{i}", t) for i, t in enumerate(types))
    results = tuple(Value(f"y{i}", t) for i, t in enumerate(checked_infer(op, types)))
    return Graph(op.name, args, (Node(op, args, results),), results)


def _seed_of(graph: Graph, full: Graph, values: Mapping[str, Array]) -> Array:
    """What the first output is weighted by."""
    if graph.outputs[0].type.rank == 0:
        return np.asarray(1.0)
    known = {v.name for v in graph.inputs}
    (added,) = (v.name for v in full.inputs if v.name not in known and v.name.startswith(PREFIX))
    return values[added]


def _errors(
    graph: Graph, v: Value, values: Mapping[str, Array], weights: Array, direction: Array, slope: float
) -> list[float]:
    loss = graph.outputs[0].name
    errors: list[float] = []
    for h in STEPS:
        ends = [
            interpret(graph, {**values, v.name: values[v.name] + sign * h * direction})[loss] * weights
            for sign in (1, -1)
        ]
        error = abs(float((ends[0] - ends[1]).sum()) / (2 * h) - slope)
        rounding = NOISE * (float(np.abs(ends[0]).sum() + np.abs(ends[1]).sum()) / (2 * h) + abs(slope))
        errors.append(error)
        falls = len(errors) == 1 or error <= max(rounding, errors[-2] / LEAST_FALL)
        if not falls:
            shown = ", ".join(f"{e:.2e}" for e in errors)
            raise AssertionError(
                f"the gradient by %{v.name} is wrong: halving the step from 2^-7 on, finite differences are off by"
                f" {shown}; rounding explains {rounding:.2e}"
            )
    return errors
