"""Programs built with gcc's or clang's sanitizers and run by `driver.c`, every array in an allocation of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.build.toolchain import Compiler, Unit, build_shared, find_compiler
from convc.codegen.emit import emit_c
from convc.ir.core import Graph, Placement
from convc.ir.interp import interpret, run_shape
from convc.ir.types import DTYPES, TensorType
from convc.passes.pipeline import Trace
from convc.runtime.store import KINDS
from convc.testing import error_bound
from tests.numerics.helpers import misfit

Array = npt.NDArray[Any]
Edit = Callable[[str, str], str]
"""(file, text) -> text: a bug to plant in what was emitted."""
Results = tuple[list[Array], dict[str, Array]]
"""Outputs in order, and parameters and state by name."""
RED_ZONE = 256
"""Bytes between tensors of the arena, at least: four vectors of the widest kind."""
ALIGNMENT = 64
ALLOWED = 1e-4
"""Of a tensor's greatest update, as between a step and its interpretation: tests/numerics/test_train_step.py."""


@dataclass(frozen=True)
class Flavour:
    """A sanitizer: what the compiler is asked for besides its usual flags, and what the run is told."""

    name: str
    flags: tuple[str, ...]
    environment: Mapping[str, str]
    separate: bool = False
    """Whether tensors of the arena lie apart, or as the plan has them share bytes."""

    def compiler(self) -> Compiler:
        found = find_compiler()
        return replace(found, argv=(*found.argv, *self.flags))


ADDRESS = Flavour(
    "address",
    # A call for every access: it looks at all of a vector's bytes, inline code at its first and last alone.
    ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer",
     "--param=asan-instrumentation-with-call-threshold=0"),
    {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1", "UBSAN_OPTIONS": "halt_on_error=1"},
    separate=True,
)  # fmt: skip
PLAIN = Flavour("plain", (), {})
THREAD = Flavour("thread", ("-fsanitize=thread",), {"TSAN_OPTIONS": "halt_on_error=1"})


class Finding(AssertionError):
    """What a sanitizer said."""


@dataclass(frozen=True)
class Run:
    """One call: named inputs of every role, n, and the number of threads.

    `skew`: by how many bytes data inputs and outputs are off a 16-byte boundary.
    """

    inputs: Mapping[str, Array]
    rows: int
    threads: int = 1
    skew: int = 0


def driver(flavour: Flavour, folder: Path, edit: Callable[[str], str] = str) -> Path:
    """The driver and the thread pool, built with the sanitizer; `edit` plants a bug in the pool."""
    here = Path(__file__).parent
    pool = folder / "pool.c"
    pool.write_text(edit(resources.files("convc").joinpath("templates/c/pool.c").read_text(encoding="utf-8")))
    built = folder / f"driver_{flavour.name}"
    command = [*flavour.compiler().argv, "-O1", "-g", str(here / "driver.c"), str(pool), "-o", str(built), "-ldl"]
    done = subprocess.run([*command, "-pthread"], capture_output=True, text=True)
    assert done.returncode == 0, f"the sanitizer suites need gcc or clang with its sanitizers:\n{done.stderr}"
    return built


def apart(graph: Graph) -> Graph:
    """The planned graph with a red zone behind every tensor of the arena, and one before the first."""
    places, end = {}, RED_ZONE
    types = {v.name: v.type for v in graph.values()}
    for name, place in graph.placements.items():
        places[name] = place if place.inside is not None else Placement(end)
        if place.inside is None:
            end += -(-(types[name].nbytes + RED_ZONE) // ALIGNMENT) * ALIGNMENT
    return replace(graph, placements=places, arena_bytes=end)


def touched(t: TensorType, rows: int) -> int:
    """How many of a tensor's bytes, from its first, a run of so many rows may touch."""
    if t.rows is None or rows == t.rows:
        return int(t.nbytes)
    if t.layout is None:
        return int(t.nbytes) // int(t.rows) * rows
    if t.layout.order[0] != 0:
        return int(t.nbytes)
    width = t.layout.width if t.layout.blocked == 0 else 1
    blocks = -(-int(t.rows) // width)
    return int(t.nbytes) // blocks * -(-rows // width)


def gaps(graph: Graph, rows: int) -> list[tuple[int, int]]:
    """The parts of the arena, tensors apart, that a run of so many rows has no business with."""
    types = {v.name: v.type for v in graph.values()}
    used = sorted(
        (p.offset, p.offset + touched(types[name], rows)) for name, p in graph.placements.items() if p.inside is None
    )
    ends = [0, *(end for _, end in used)]
    starts = [*(start for start, _ in used), graph.arena_bytes]
    return [(end, start) for end, start in zip(ends, starts, strict=True) if start > end]


@dataclass(frozen=True)
class Built:
    """A program of a flavour, and the driver that runs it."""

    flavour: Flavour
    driver: Path
    graph: Graph
    library: Path
    entry: str

    def __call__(self, runs: Sequence[Run], folder: Path) -> list[Results]:
        """The results of every run. Raises Finding."""
        file, results = folder / "runs.bin", folder / "results.bin"
        with file.open("wb") as f:
            for part in self._parts(runs):
                f.write(part)
        environment = {**os.environ, **self.flavour.environment}
        command = [str(self.driver), str(self.library), self.entry, str(file), str(results)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
        if done.returncode != 0:
            raise Finding(f"{self.graph.name}, exit status {done.returncode}:\n{done.stderr}")
        return self._read(runs, results.read_bytes())

    def _parts(self, runs: Sequence[Run]) -> list[bytes]:
        graph = self.graph
        data, scalars, stores = graph.inputs_of("data"), graph.inputs_of("scalar"), graph.inputs_of(*KINDS)
        header = (len(data), len(graph.outputs), len(stores), len(scalars), max(graph.arena_bytes, 64), len(runs))
        parts = [np.array(header, np.int64).tobytes()]
        for run in runs:
            holes = gaps(graph, run.rows) if self.flavour.separate else []
            arrays = [np.asarray(run.inputs[v.name], DTYPES[v.type.dtype]).tobytes() for v in (*data, *stores)]
            sizes = [len(a) for a in arrays]
            out = [_bytes(v.type, run.rows) for v in graph.outputs]
            numbers = (run.rows, run.threads, run.skew, len(holes), *(n for hole in holes for n in hole))
            order = (*numbers, *sizes[: len(data)], *out, *sizes[len(data) :])
            parts.append(np.array(order, np.int64).tobytes())
            parts += [np.asarray(run.inputs[v.name], DTYPES[v.type.dtype]).tobytes() for v in scalars]
            parts += arrays
        return parts

    def _read(self, runs: Sequence[Run], written: bytes) -> list[Results]:
        found, at = [], 0
        values = (*self.graph.outputs, *self.graph.inputs_of(*KINDS))
        for run in runs:
            arrays = []
            for v in values:
                size = _bytes(v.type, run.rows)
                array = np.frombuffer(written[at : at + size], DTYPES[v.type.dtype])
                arrays.append(array.reshape(run_shape(v.type, run.rows)).astype(np.float64))
                at += size
            outputs = arrays[: len(self.graph.outputs)]
            found.append((outputs, dict(zip([v.name for v in values[len(outputs) :]], arrays[len(outputs) :]))))
        assert at == len(written)
        return found


def _bytes(t: TensorType, rows: int) -> int:
    return int(np.prod(run_shape(t, rows), dtype=np.int64)) * t.itemsize


def build(graph: Graph, flavour: Flavour, driver: Path, edit: Edit = lambda file, text: text) -> Built:
    """The planned graph's program, its flags the product's and the sanitizer's; `edit` plants a bug in its text."""
    graph = apart(graph) if flavour.separate else graph
    source = emit_c(graph)
    units = [Unit(name, edit(f"{name}.c", text)) for name, text in source.compile_units()]
    headers = {"convc.h": edit("convc.h", source.header)}
    library = build_shared(units, compiler=flavour.compiler(), headers=headers)
    return Built(flavour, driver, graph, library, source.entry)


def assert_right(trace: Trace, stage: str, run: Run, outputs: Sequence[Array], stores: Mapping[str, Array]) -> None:
    """Outputs and updates as near to those of the stage's interpretation as the kernels' bounds say."""
    kernels, graph = trace.after("schedule"), trace.after(stage)
    exact, bound = interpret(graph, run.inputs), error_bound(kernels, run.inputs)
    triples = zip(graph.outputs, outputs, kernels.outputs, strict=True)
    wrong = [misfit(v.name, a, exact[v.name], bound[k.name]) for v, a, k in triples]
    wrong += [misfit(name, stores[name], exact[name], bound[name]) for name in graph.updates]
    assert not any(wrong), f"with {run.rows} rows:\n" + "\n".join(filter(None, wrong))


def assert_same(run: Run, updates: Sequence[str], one: Results, other: Results) -> None:
    """Outputs and updates of two builds of one program: what differs is where a multiply-add rounds once or twice.

    Compared are the updates themselves: the arrays would agree to many digits whatever was added to them. Each
    build rounds what it stores once, by 2^-24 of the number at most.
    """
    for a, b in zip(one[0], other[0], strict=True):
        assert np.abs(a - b).max() <= ALLOWED * np.abs(b).max()
    for name in updates:
        before = np.asarray(run.inputs[name])
        a, b = one[1][name] - before, other[1][name] - before
        stored = 2 * 2.0**-24 * np.abs(other[1][name]).max()
        assert np.abs(a - b).max() <= ALLOWED * np.abs(b).max() + stored, name
        assert np.abs(b).max() > 0, name
