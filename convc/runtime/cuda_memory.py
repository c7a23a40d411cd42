"""A program's memory on a device: one allocation, and pinned host memory that copies to and from it go through."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.codegen.storage import Place
from convc.ir.core import Graph, Value
from convc.ir.types import DTYPES
from convc.runtime.cuda_device import Device, driver

Array = npt.NDArray[Any]
ALIGNMENT = 256
CELL = 4
"""Bytes of a run-time number; the batch rows are one more, the last."""


class Workspace:
    """Run-time numbers, inputs, outputs and arena, in this order; all but the arena have their twin on the host.

    Raises RunError where the device has too little memory, with the batch capacity that would fit.
    """

    def __init__(self, graph: Graph, device: Device) -> None:
        self.graph, self.device = graph, device
        self.scalars = graph.inputs_of("scalar")
        self.inputs = graph.inputs_of("data")
        self.cells = len(self.scalars) + 1
        self.capacity = int(next((v.type.rows for v in self.inputs if v.type.rows is not None), 1))
        end = self.cells * CELL
        self._input_offsets: list[int] = []
        self._output_offsets: list[int] = []
        for offsets, values in ((self._input_offsets, self.inputs), (self._output_offsets, graph.outputs)):
            for v in values:
                # Numbers lie side by side, so that all results of a train step are one small copy.
                offsets.append(_up(end, ALIGNMENT if v.type.rank else CELL))
                end = offsets[-1] + v.type.nbytes
        self._arena = end = _up(end, ALIGNMENT)
        self.size = end + max(graph.arena_bytes, 1)
        row_bytes = self.size // self.capacity if self.capacity > 1 else 0
        what = f"the arena, inputs and outputs of {graph.name} for batches of {self.capacity}"
        self._memory = device.allocate(self.size, what, row_bytes, "take a smaller model or device")
        self._host = device.pinned(end)
        self._staged = [self._view(o, v) for o, v in zip(self._input_offsets, self.inputs)]
        self._fetched = [self._view(o, v) for o, v in zip(self._output_offsets, graph.outputs)]
        self._numbers = self._host[: self.cells * CELL].view(np.int32)

    def _view(self, offset: int, v: Value) -> Array:
        part: Array = self._host[offset : offset + v.type.nbytes]
        return part.view(DTYPES[v.type.dtype])

    @property
    def start(self) -> int:
        """The address of the run-time numbers."""
        return int(self._memory)

    def input_address(self, number: int) -> int:
        return self.start + self._input_offsets[number]

    @property
    def results(self) -> tuple[int, int]:
        """Address and bytes of all outputs together."""
        first = self._output_offsets[0]
        return self.start + first, self._output_offsets[-1] + self.graph.outputs[-1].type.nbytes - first

    def results_in(self, row: Array) -> list[Array]:
        """Outputs of rank 0 out of a copy of `results`."""
        first = self._output_offsets[0]
        return [
            row[o - first : o - first + v.type.nbytes].view(DTYPES[v.type.dtype]).reshape(())
            for o, v in zip(self._output_offsets, self.graph.outputs)
        ]

    def address(self, place: Place) -> int:
        """Where a launch finds a value that does not lie in a store."""
        if place.kind == "arena":
            return self.start + self._arena + place.start
        if place.kind == "input":
            return self.input_address(place.number)
        if place.kind == "output":
            return self.start + self._output_offsets[place.number]
        return self.start + CELL * (place.number if place.kind == "scalar" else self.cells - 1)

    def numbers(self, scalars: Sequence[float], rows: int, cells: Array) -> None:
        """Write a step's run-time numbers and batch rows as the device reads them: int32 [cells], the bits of each."""
        for i, (v, x) in enumerate(zip(self.scalars, scalars, strict=True)):
            cells[i : i + 1].view(DTYPES[v.type.dtype])[0] = x
        cells[-1] = rows

    def send(self, inputs: Sequence[Array], scalars: Sequence[float], rows: int) -> None:
        """Enqueue copies of numbers and inputs; what was sent before must be done with."""
        self.numbers(scalars, rows, self._numbers)
        ends = []
        for staged, a in zip(self._staged, inputs, strict=True):
            staged[: a.size] = a.reshape(-1)
            ends.append(a.nbytes)
        if rows == self.capacity:  # one copy of everything
            parts = [(0, (self._input_offsets[-1] + ends[-1]) if ends else self.cells * CELL)]
        else:
            parts = [(0, self.cells * CELL), *zip(self._input_offsets, ends)]
        with self.device.doing(f"copying the inputs of {self.graph.name} to {self.device.name}"):
            for start, size in parts:
                part = self._host[start : start + size]
                driver().memcpy_htod_async(self.start + start, part, self.device.stream)

    def fetch(self, outputs: Sequence[Array]) -> None:
        """Copy the outputs, of which there are as many rows as the arrays have, and wait for them."""
        what = f"copying the outputs of {self.graph.name} from {self.device.name}"
        with self.device.doing(what):
            for offset, a in zip(self._output_offsets, outputs, strict=True):
                if a.size:
                    part = self._host[offset : offset + a.nbytes]
                    driver().memcpy_dtoh_async(part, self.start + offset, self.device.stream)
        self.device.wait(what)
        for fetched, a in zip(self._fetched, outputs):
            a[...] = fetched[: prod(a.shape)].reshape(a.shape)


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
