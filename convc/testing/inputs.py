"""Random inputs that a graph can run on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from math import prod

import numpy as np

from convc.checks import seed_of, whole
from convc.ir.core import Array, Graph, Value
from convc.ir.interp import run_shape
from convc.ir.ops.adaptive_pool import AdaptiveMaxPoolGrad
from convc.ir.ops.dropout import Dropout
from convc.ir.ops.loss import Labelled
from convc.ir.ops.pool import MaxPoolGrad

WHOLE_BELOW = 2
"""Where no operator says what an i32 input may hold: 0 and 1."""


def random_inputs(graph: Graph, rows: int | None = None, seed: int = 0) -> dict[str, Array]:
    """One float64 array for each input, every number exact in the input's dtype.

    `rows` is n (the capacity where left out). Data and parameters are normal; state is in [0, 1), as second
    moments are; scalars are in [1/4, 3/4), but one called `step` is 3; labels and pool indices are in range.
    An input's numbers depend on the seed, its name and its shape alone. Raises RunError for a seed or a number of rows
    that is none.
    """
    seed = seed_of(seed)
    if rows is not None:
        rows = whole(rows, "rows", 1)
    limits = whole_limits(graph)
    return {v.name: _draw(graph, v, limits.get(v, WHOLE_BELOW), rows, seed) for v in graph.inputs}


def whole_limits(graph: Graph) -> Mapping[Value, int]:
    """For each value that is read as labels, pool indices or random words, the number of different ones."""
    limits: dict[Value, int] = {}
    for node in graph.nodes:
        if isinstance(node.op, Labelled):
            classes = node.inputs[node.op.label_operand - 1].type.shape[1]
            limits[node.inputs[node.op.label_operand]] = int(classes)
        if isinstance(node.op, MaxPoolGrad):
            limits[node.inputs[1]] = node.op.kernel[0] * node.op.kernel[1]
        if isinstance(node.op, AdaptiveMaxPoolGrad):
            limits[node.inputs[1]] = prod(node.op.result.shape[2:])
        if isinstance(node.op, Dropout):
            limits.update((v, 2**31) for v in node.inputs[1:])
    return limits


def _draw(graph: Graph, v: Value, whole: int, rows: int | None, seed: int) -> Array:
    rng = np.random.default_rng([seed, zlib.crc32(v.name.encode())])
    shape = run_shape(v.type, rows or int(v.type.rows or 1))
    role = graph.role(v)
    if role == "scalar" and v.name.rpartition(".")[2] == "step":
        return np.asarray(3.0)
    if v.type.dtype in ("i32", "u8"):
        return rng.integers(0, whole, shape).astype(np.float64)
    if role == "scalar":
        drawn = rng.uniform(0.25, 0.75, shape)
    else:
        drawn = rng.uniform(0, 1, shape) if role == "state" else rng.standard_normal(shape)
    return np.asarray(drawn, np.float32).astype(np.float64)
