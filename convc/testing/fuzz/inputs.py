"""Numbers for a graph's inputs, benign and hard."""

from __future__ import annotations

import zlib

import numpy as np

from convc.ir.core import Array, Graph, Value
from convc.ir.interp import run_shape
from convc.ir.ops.clip import ClipScale
from convc.ir.ops.optim import Update
from convc.testing.inputs import random_inputs

EQUAL = (1.0, 1e3, 1e6, 1e7, 1e8)


def draw_inputs(graph: Graph, rows: int, seed: int, kind: str) -> dict[str, Array]:
    """As `random_inputs`, and then the floats of data, parameters and constants changed to a kind:

    benign   normal
    large    normal times a power of ten up to 1e8, one for each input
    ties     few different numbers, often one alone: equal ones, zeros of both signs, up to 1e8
    powers   powers of two of both signs, between 2^-20 and 2^20
    special  normal, but for NaN and infinities here and there in the data

    There may be zeros of both signs among them. Scalars may be 0, 1, -1 or 2 where neither an optimizer nor clipping
    reads them; state stays in [0, 1).
    """
    found = random_inputs(graph, rows, seed)
    if kind == "benign":
        return found
    kept = {v for n in graph.nodes if isinstance(n.op, Update) for v in n.inputs[2:]}
    kept |= {v for n in graph.nodes if isinstance(n.op, ClipScale) for v in n.inputs[1:]}
    for v in graph.inputs:
        if v.type.dtype in ("f32", "f64") and graph.role(v) != "state" and v not in kept:
            found[v.name] = _hard(graph, v, rows, seed, kind)
    return found


def _hard(graph: Graph, v: Value, rows: int, seed: int, kind: str) -> Array:
    rng = np.random.default_rng([seed, zlib.crc32(v.name.encode()), 1])
    shape = run_shape(v.type, rows)
    if graph.role(v) == "scalar":
        return np.asarray(rng.choice((0.0, 1.0, -1.0, 2.0, 0.5)))
    drawn = rng.standard_normal(shape)
    if kind == "large":
        drawn = drawn * 10.0 ** rng.integers(0, 9)
    elif kind == "powers":
        drawn = np.sign(drawn) * 2.0 ** rng.integers(-20, 21, shape)
    elif kind == "ties":
        drawn = _ties(rng, shape)
    elif graph.role(v) == "data":
        special = rng.choice((np.nan, np.inf, -np.inf), shape)
        drawn = np.where(rng.random(shape) < 0.1, special, drawn)
    if rng.random() < 0.5:
        drawn = np.where(rng.random(shape) < 0.1, rng.choice((0.0, -0.0), shape), drawn)
    return np.asarray(drawn, np.float32).astype(np.float64)


def _ties(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    if rng.random() < 0.75:
        return np.full(shape, rng.choice(EQUAL))
    return rng.choice((0.0, -0.0, 1.0, -1.0, 2.0), shape)
