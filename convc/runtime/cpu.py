"""The C target: build the program's units, load them, run the step on the thread pool."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.build.cache import Cache
from convc.build.log import build_logged
from convc.build.shared_library import load_library
from convc.build.toolchain import cpu_features
from convc.codegen.emit import CSource, emit_c
from convc.errors import ToolchainError
from convc.ir.core import Graph
from convc.ir.types import DTYPES
from convc.passes.target import CPU, Target
from convc.runtime import pool
from convc.runtime.memory import aligned_zeros
from convc.runtime.store import KINDS, ParameterStore, Use

Array = npt.NDArray[Any]


def target() -> Target:
    """The C target on this machine: 64-byte vectors, and as many as its registers hold."""
    return Target(CPU.name, CPU.lanes, cpu_features().vector_registers)


class _Call(ctypes.Structure):
    """convc_call of convc.h."""

    _fields_ = [
        ("inputs", ctypes.POINTER(ctypes.c_void_p)),
        ("outputs", ctypes.POINTER(ctypes.c_void_p)),
        ("stores", ctypes.POINTER(ctypes.c_void_p)),
        ("scalars", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
    ]


class CpuExecutable:
    """A built program: `run` takes arrays that are already of the right dtype, shape and contiguity.

    `edited`: text by the name of each .c and .h file, built instead of what is emitted, with the same kernels.
    """

    target = CPU.name

    def __init__(self, graph: Graph, cache: Cache | None = None, *, edited: Mapping[str, str] | None = None) -> None:
        self.graph = graph
        self.source: CSource = emit_c(graph)
        self.edited = edited
        self.library = build_logged(graph.name, self.source, cache, edited)
        self.module = load_library(self.library)
        if not hasattr(self.module, self.source.entry):
            raise ToolchainError(f"no file defines {self.source.entry}, which runs the kernels: keep its name")
        self._entry = ctypes.cast(getattr(self.module, self.source.entry), ctypes.c_void_p).value or 0
        self._arena = aligned_zeros(max(graph.arena_bytes, 64))
        scalars = graph.inputs_of("scalar")
        self._scalars = np.zeros(max(len(scalars), 1), np.int32)
        self._cells = [self._scalars[i : i + 1].view(DTYPES[v.type.dtype]) for i, v in enumerate(scalars)]
        self._inputs = (ctypes.c_void_p * max(len(graph.inputs_of("data")), 1))()
        self._outputs = (ctypes.c_void_p * max(len(graph.outputs), 1))()
        self._stores = (ctypes.c_void_p * max(len(graph.inputs_of(*KINDS)), 1))()
        self._call = _Call(
            self._inputs, self._outputs, self._stores, self._scalars.ctypes.data, self._arena.ctypes.data, 1
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(CpuExecutable, edited=self.edited), (self.graph,)

    def bind(self, store: ParameterStore) -> None:
        """The store of parameters, state and constants."""
        self._use = Use(store, self.graph)
        self._stores[: len(self._use.slots)] = [s.array.ctypes.data for s in self._use.slots]

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], scalars: Sequence[float], rows: int) -> None:
        with self._use.run():
            self._inputs[: len(inputs)] = [a.ctypes.data for a in inputs]
            self._outputs[: len(outputs)] = [a.ctypes.data for a in outputs]
            for cell, value in zip(self._cells, scalars, strict=True):
                cell[0] = value
            self._call.rows = rows
            pool.run(self._entry, ctypes.addressof(self._call), pool.get_num_threads())
