"""Target `emulator`: the program's CUDA, compiled to PTX and executed on the CPU, with every access checked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.build.archs import DEFAULT_ARCH
from convc.build.cache import Cache
from convc.build.cuda import build_ptx, check_kernels, units_of
from convc.build.threads import side_by_side
from convc.codegen.cuda.emit import CudaSource, Launch, emit_cuda
from convc.codegen.source import Parameter
from convc.codegen.storage import Place
from convc.emulator import Buffer, Module, Report, Result
from convc.errors import RunError
from convc.ir.core import Graph
from convc.ir.types import DTYPES
from convc.runtime.memory import aligned_zeros
from convc.runtime.store import ParameterStore, Use
from convc.runtime.traffic import traffic_of

Array = npt.NDArray[Any]


class EmulatorExecutable:
    """A program whose launches run in the emulator, one after the other.

    Each launch may touch the bytes of the buffers that it names and no others. `check`: races, reads of what
    nobody wrote, accesses outside and the like end the run with a RunError; `reports` holds them all, `results`
    what each launch found and counted. `source`: the graph's, where it is written already; `text`: CUDA to run
    instead of it, with the same kernels. `collect`: keep the findings and raise nothing.
    """

    target = "emulator"

    def __init__(
        self,
        graph: Graph,
        cache: Cache | None = None,
        *,
        check: bool = True,
        arch: str = DEFAULT_ARCH,
        source: CudaSource | None = None,
        text: str | None = None,
        collect: bool = False,
    ) -> None:
        self.graph = graph
        self.source: CudaSource = source or emit_cuda(graph)
        self.check = check
        self.collect = collect
        self.reports: list[Report] = []
        self.instructions = 0
        self.results: dict[str, Result] = {}
        self._rows = 0
        self._again = partial(EmulatorExecutable, check=check, arch=arch, text=text, collect=collect)
        self._text = text or self.source.text
        texts = units_of(self.source, text)
        built = side_by_side(lambda unit: build_ptx(unit, self.source.entry, arch, cache), texts)
        self._modules = {name: module for module in map(Module, built) for name in module.names}
        check_kernels(self.source, self._modules)
        self._arena = aligned_zeros(max(graph.arena_bytes, 64))
        self._written = np.zeros(self._arena.size, np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again, (self.graph,)

    def bind(self, store: ParameterStore) -> None:
        """The store of parameters, state and constants."""
        self._use = Use(store, self.graph)
        self._stores = [_bytes(s.array) for s in self._use.slots]

    def counted(self) -> CudaSource:
        """The source, what its kernels moved in the last run on their cards; as it is where none went to its end.

        What is not checked is not counted.
        """
        with self._use.store.locked():
            if not self.check or len(self.results) < len(self.source.launches):
                return self.source
            rows = self._rows if any(v.type.rows is not None for v in self.graph.inputs) else None
            return self.source.with_counts(traffic_of(self.source, self._text, self.results, rows))

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], scalars: Sequence[float], rows: int) -> None:
        """One run; raises RunError where the check found something."""
        with self._use.run():
            self._run(inputs, outputs, scalars, rows)

    def _run(self, inputs: Sequence[Array], outputs: Sequence[Array], scalars: Sequence[float], rows: int) -> None:
        self.reports = []
        self.results = {}
        self.instructions = 0
        self._rows = rows
        kinds = [DTYPES[v.type.dtype] for v in self.graph.inputs_of("scalar")]
        memory = {
            "input": [_bytes(a) for a in inputs],
            "output": [_bytes(a) for a in outputs],
            "store": self._stores,
            "scalar": [_bytes(np.asarray([x], kind)) for x, kind in zip(scalars, kinds, strict=True)],
            "rows": [_bytes(np.asarray([rows], np.int32))],
        }
        self._arena[...] = 0xFF
        self._written[...] = 0
        for launch in self.source.launches:
            self._launch(launch, memory)
        if self.reports and not self.collect:
            first = next(x for x in self.source.launches if self.results[x.name].reports)
            more = f" ({len(self.reports)} findings in all)" if len(self.reports) > 1 else ""
            raise RunError(f"the emulator's check found, in {first.title_of_nodes}: {self.reports[0]}{more}")

    def _launch(self, launch: Launch, memory: dict[str, list[Array]]) -> None:
        fresh = [p.place for p in launch.parameters if p.written and p.place.kind == "arena"]
        for place in fresh:
            self._written[place.start : place.end] = 0
        arguments = [self._buffer(p, memory) for p in launch.parameters]
        kernel = self._modules[launch.name][launch.name]
        if len(kernel.parameters) != len(arguments):
            raise RunError(
                f"{launch.name} has {len(kernel.parameters)} parameters in {self.source.file}, but is launched with "
                f"{len(arguments)} ({', '.join(p.pointer for p in launch.parameters)}): keep those that were emitted"
            )
        grid, block = (launch.blocks, 1, 1), (launch.threads, 1, 1)
        result = kernel.launch(grid, block, arguments, launch.dynamic_bytes, check=self.check)
        self.results[launch.name] = result
        self.reports += result.reports
        self.instructions += result.instructions

    def _buffer(self, p: Parameter, memory: dict[str, list[Array]]) -> Buffer:
        place: Place = p.place
        if place.kind == "arena":
            cut = slice(place.start, place.end)
            return Buffer(p.pointer, self._arena[cut], p.written, self._written[cut])
        return Buffer(p.pointer, memory[place.kind][place.number], p.written)


def _bytes(a: Array) -> Array:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8)
