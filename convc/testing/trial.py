"""One run of a program on random inputs, held against the interpreter: numbers within the derived bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convc.ir.core import Array, Graph
from convc.ir.interp import interpret
from convc.ir.types import DTYPES
from convc.passes.pipeline import Trace
from convc.runtime.executable import Executable
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.testing.bounds import error_bound
from convc.testing.inputs import random_inputs

LOOSE = 0.01
"""Where a rounding may change which of two near-equal things is chosen, there is no bound: such numbers may be off by
this part of the largest one, which tells a wrong kernel from an unlucky choice."""


@dataclass(frozen=True)
class Comparison:
    """An output or update: its numbers, how many are wrong, how many have no bound.

    `share`: the largest error over its bound, `off`: the largest of all over the largest number.
    """

    name: str
    numbers: int
    wrong: int
    unbounded: int
    share: float
    off: float

    def __str__(self) -> str:
        off = f"off by up to {self.off:.2g} of the largest"
        if self.wrong:
            return f"%{self.name}: {self.wrong} of {self.numbers} numbers are wrong, {off}"
        if self.unbounded:
            return f"%{self.name}: {off}; no bound for {self.unbounded} of {self.numbers}"
        return f"%{self.name}: {off}, {self.share:.2g} of what rounding may do"


def trial(trace: Trace, executable: Executable, rows: int | None = None, seed: int = 0) -> list[Comparison]:
    """Runs the executable once, on `rows` rows, and compares every output and update with float64.

    The inputs depend on the seed and on names and shapes alone. Raises RunError where the run itself fails.
    """
    inputs, found = random_run(trace, executable, rows, seed)
    return _compare(trace.after("schedule"), inputs, found)


def random_run(
    trace: Trace, executable: Executable, rows: int | None = None, seed: int = 0
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Runs the executable once: its inputs by name, and its outputs and updates. Raises RunError where it fails."""
    first = trace.stages[0][1]
    program = Program(trace, executable, ParameterStore())
    graph = program.graph
    # what an input means, the first graph says: to a kernel, labels are numbers like any
    inputs = random_inputs(graph, rows, seed) | random_inputs(first, rows, seed)
    for v in graph.inputs_of("parameter", "state", "constant"):
        program.parameters[v.name][...] = inputs[v.name]
    data = [np.asarray(inputs[v.name], DTYPES[v.type.dtype]) for v in graph.inputs_of("data")]
    scalars = {v.name: _number(inputs[v.name], v.type.dtype) for v in graph.inputs_of("scalar")}
    results = program(*data, **scalars)
    found = dict(zip([v.name for v in graph.outputs], results if isinstance(results, tuple) else (results,)))
    return inputs, found | {name: program.parameters[name] for name in graph.updates}


def _number(value: Array, dtype: str) -> float | int:
    return int(value) if dtype == "i32" else float(value)


def _compare(kernels: Graph, inputs: dict[str, Array], found: dict[str, Array]) -> list[Comparison]:
    exact, bounds = interpret(kernels, inputs), error_bound(kernels, inputs)
    names = [v.name for v in kernels.outputs]
    named = {**dict(zip(list(found)[: len(names)], names)), **{n: n for n in kernels.updates}}
    return [comparison(name, found[name], exact[other], bounds[other]) for name, other in named.items()]


def comparison(name: str, found: Array, exact: Array, bound: Array) -> Comparison:
    """How a tensor that was computed compares with the exact one, each number with its bound."""
    numbers = np.asarray(found, np.float64)
    off = np.array(np.abs(numbers - exact))
    off[(numbers == exact) | (np.isnan(numbers) & np.isnan(exact))] = 0  # infinities too
    largest = np.abs(exact[np.isfinite(exact)]).max(initial=0.0)
    free = np.isinf(bound)
    allowed = np.where(free, LOOSE * largest, bound * (1 + 1e-6) + 1e-13 * np.abs(exact))
    wrong = np.logical_not(off <= allowed)
    share = np.divide(off, allowed, out=np.zeros_like(off), where=(allowed > 0) & ~free & ~wrong)
    worst = float(off.max(initial=0.0) / largest) if largest else float(off.max(initial=0.0))
    return Comparison(name, exact.size, int(wrong.sum()), int(free.sum()), float(share.max(initial=0.0)), worst)
