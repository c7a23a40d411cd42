"""Calls of compiled programs with watched memory around what they may touch, and how far results are off."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from convc.ir.core import Array, Value
from convc.ir.interp import run_shape
from convc.ir.types import DTYPES
from convc.runtime.program import Program

SENTINEL = 123
GUARD_ROWS = 2


def call(program: Program, inputs: Mapping[str, Array], rows: int) -> list[Array]:
    """Outputs in order, in float64. Behind the n rows of every input lies NaN (or -1 for integers), and behind
    those of every output a sentinel that must still be there afterwards. Stores are set from `inputs`."""
    graph = program.graph
    for v in graph.inputs_of("parameter", "state", "constant"):
        program.parameters[v.name][...] = inputs[v.name]
    data = [_with_poison_behind(v, inputs[v.name]) for v in graph.inputs_of("data")]
    scalars = {v.name: inputs[v.name].astype(DTYPES[v.type.dtype]).item() for v in graph.inputs_of("scalar")}
    whole, views = [], []
    for v in graph.outputs:
        shape = run_shape(v.type, rows)
        outer = (shape[0] + GUARD_ROWS, *shape[1:]) if v.type.rows is not None else shape
        whole.append(np.full(outer, SENTINEL, DTYPES[v.type.dtype]))
        views.append(whole[-1][: shape[0]] if v.type.rows is not None else whole[-1])
    program(*data, out=views, **scalars)
    for v, array in zip(graph.outputs, whole):
        if v.type.rows is not None:
            assert (array[rows:] == SENTINEL).all(), f"%{v.name} is written beyond its {rows} rows"
    return [a.astype(np.float64) for a in views]


def _with_poison_behind(v: Value, array: Array) -> Array:
    dtype = DTYPES[v.type.dtype]
    if v.type.rows is None:
        return np.asarray(array, dtype, "C")
    poison = {"f": np.nan, "i": -1, "u": 255}[dtype.kind]
    whole = np.full((int(v.type.rows) + GUARD_ROWS, *array.shape[1:]), poison, dtype)
    whole[: len(array)] = array
    return whole[: len(array)]


def misfit(name: str, found: Array, exact: Array, bound: Array, overflows: bool = False) -> str:
    """What is wrong with the array in words, or nothing.

    Where the bound is infinite any number is let pass; NaN and infinities only if it may be that f32 `overflows`.
    """
    with np.errstate(invalid="ignore"):
        off = np.asarray(np.abs(found - exact))
        off[found == exact] = 0  # infinities too
        off[np.isnan(found) & np.isnan(exact)] = 0
        bad = ~np.asarray(off <= bound * (1 + 1e-6) + 1e-13 * np.abs(np.nan_to_num(exact, posinf=np.inf)))
    if overflows:
        bad &= np.isfinite(bound)
    if not bad.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return (
        f"{name}: {int(bad.sum())} of {bad.size} numbers are wrong; at {list(at)} it is {found[at]:.9g},"
        f" should be {exact[at]:.9g}, may be off by {bound[at]:.3g}"
    )
