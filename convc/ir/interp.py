"""The interpreter: NumPy, float64, any graph at either level, after any pass. It is the oracle.

It ignores layouts and schedules (they say how, not what), but it obeys planned memory: where a graph has
placements, values live in one byte-addressed arena and updates are written over their inputs, so a plan
that lets two live values overlap gives wrong numbers here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Graph, Value
from convc.ir.types import TensorType


def interpret(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run the graph on named inputs (integers or floats; f64 inside) with n <= capacity rows.

    Returns outputs and updates by value name, an update under the name of the input it replaces. Raises
    IRError where an input is missing or its shape does not fit.
    """
    rows = batch_rows(graph, {k: np.shape(v) for k, v in inputs.items()})
    memory = _Memory(graph, rows)
    for v in graph.inputs:
        memory.write(v, np.asarray(inputs[v.name], np.float64).copy())
    for node in graph.nodes:
        results = node.op.execute([memory.read(v) for v in node.inputs], rows)
        for v, array in zip(node.outputs, results, strict=True):
            expected = run_shape(v.type, rows)
            if array.shape != expected:
                raise IRError(f"{node.op.name} gave shape {array.shape} for %{v.name}, whose shape is {expected}")
            memory.write(v, np.asarray(array, np.float64))
    found = {v.name: memory.read(v).copy() for v in graph.outputs}
    return found | {name: memory.read(v).copy() for name, v in graph.updates.items()}


def run_shape(t: TensorType, rows: int) -> tuple[int, ...]:
    """The shape in a run with n = rows."""
    return tuple(rows if i == 0 and t.rows is not None else int(e) for i, e in enumerate(t.shape))


def batch_rows(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """n, read off the inputs; every input must be there, have its shape, and agree on n."""
    rows: int | None = None
    for v in graph.inputs:
        if v.name not in shapes:
            raise IRError(f"input %{v.name}: {v.type} of graph @{graph.name} is missing")
        shape = shapes[v.name]
        if v.type.rows is not None and shape:
            if not 1 <= shape[0] <= v.type.rows:
                raise IRError(
                    f"rows must be between 1 and the capacity {int(v.type.rows)}, but %{v.name} has {shape[0]}"
                )
            if rows is not None and shape[0] != rows:
                raise IRError(
                    f"all inputs must have one number of rows, but there are {rows} and, in %{v.name}, {shape[0]}"
                )
            rows = shape[0]
        if shape != run_shape(v.type, rows or 1):
            raise IRError(f"%{v.name} must have shape {list(v.type.shape)}, not {list(shape)}")
    return rows or 1


class _Memory:
    """Values by identity, or in the planned arena with one float64 for each byte of it."""

    def __init__(self, graph: Graph, rows: int) -> None:
        self.rows = rows
        self.placements = graph.placements
        self.values: dict[Value, Array] = {}
        self.inputs = {v.name: v for v in graph.inputs}
        self.arena = np.full(graph.arena_bytes, np.nan) if graph.placements else np.empty(0)

    def read(self, v: Value) -> Array:
        place = self.placements.get(v.name)
        if place is None:
            return self.values[v]
        if place.inside is not None:
            return self.values[self.inputs[place.inside]]
        shape = run_shape(v.type, self.rows)
        return np.array(self._slots(v, place.offset)[: int(np.prod(shape))].reshape(shape))

    def write(self, v: Value, array: Array) -> None:
        place = self.placements.get(v.name)
        if place is None:
            self.values[v] = array
        elif place.inside is not None:
            self.values[self.inputs[place.inside]] = array
        else:
            slots = self._slots(v, place.offset)
            slots[:] = np.nan
            slots[: array.size] = array.reshape(-1)

    def _slots(self, v: Value, offset: int) -> Array:
        end = offset + v.type.nbytes
        if end > self.arena.size:
            raise IRError(
                f"%{v.name} is placed at {offset} and has {v.type.nbytes} bytes, but the arena has {self.arena.size}"
            )
        return self.arena[offset : end : v.type.itemsize]
