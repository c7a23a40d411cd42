"""Random inputs that a graph can run on."""

from __future__ import annotations

import zlib

import numpy as np

from convc.checks import instance, seed_of, whole
from convc.ir.core import Array, Graph, Value
from convc.ir.interp import run_shape
from convc.ir.kernels import KernelOp
from convc.ir.whole import whole_limits

IN_KERNELS = 2
"""Where kernels read an i32 input, nobody says what it means: 0 and 1 then."""
ANY = 2**31
"""Where an i32 input is moved and no more, its numbers are any, below 0 too."""


def random_inputs(graph: Graph, rows: int | None = None, seed: int = 0) -> dict[str, Array]:
    """One float64 array for each input, every number exact in the input's dtype.

    `rows` is n (the capacity where left out). Data and parameters are normal; state is in [0, 1), as second
    moments are; scalars are in [1/4, 3/4), but one called `step` is 3; labels and pool indices are in range, and
    whole numbers that nobody computes with are any.
    An input's numbers depend on the seed, its name and its shape alone. Raises RunError for a seed or a
    number of rows that is none.
    """
    instance(graph, Graph, "random inputs are drawn for a graph, such as convc.parse_graph(text)")
    seed = seed_of(seed)
    if rows is not None:
        rows = whole(rows, "rows", 1, 2**31 - 1)
    limits = whole_limits(graph)
    kernels = {v for n in graph.nodes if isinstance(n.op, KernelOp) for v in n.inputs}
    ranges = {v: (0, limits.get(v, IN_KERNELS)) if v in limits or v in kernels else (-ANY, ANY) for v in graph.inputs}
    return {v.name: _draw(graph, v, ranges[v], rows, seed) for v in graph.inputs}


def _draw(graph: Graph, v: Value, whole: tuple[int, int], rows: int | None, seed: int) -> Array:
    rng = np.random.default_rng([seed, zlib.crc32(v.name.encode())])
    shape = run_shape(v.type, rows or int(v.type.rows or 1))
    role = graph.role(v)
    if role == "scalar" and v.name.rpartition(".")[2] == "step":
        return np.asarray(3.0)
    if v.type.dtype == "i32":
        return rng.integers(*whole, shape).astype(np.float64)
    if role == "scalar":
        drawn = rng.uniform(0.25, 0.75, shape)
    else:
        drawn = rng.uniform(0, 1, shape) if role == "state" else rng.standard_normal(shape)
    return np.asarray(drawn, np.float32).astype(np.float64)
