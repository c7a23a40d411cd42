"""One case held against the float64 interpreter: after every pass, and what the target computes.

The arena is filled with NaN before each run, and what lies behind the n rows of an input is NaN.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from convc.build.cache import Cache
from convc.compiler import trace_of
from convc.errors import ConvcError
from convc.ir.core import Array, Graph
from convc.ir.interp import interpret
from convc.ir.text import parse_graph
from convc.passes.pipeline import Trace
from convc.runtime import pool
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.runtime.targets import executable, passes_target
from convc.testing.bounds import error_bound
from convc.testing.fuzz.case import OPTIMIZERS, Case
from convc.testing.fuzz.inputs import draw_inputs
from convc.testing.guarded import call, misfit

POISON = 0xFF  # a NaN in f32 and f64, -1 in i32
IN_F64 = 2.0**-20
"""A graph that means the same gives the same numbers in float64 up to this part of what f32 may be off by; the ratio
of the roundings is 2^-29."""


@dataclass(frozen=True)
class Finding:
    """What is wrong: its kind, which shrinking keeps, and a message."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Stop(Exception):
    """Ends a check with a finding."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(kind, message)


def check(case: Case, cache: Cache | None = None, witness: bool = False, text: bool = True) -> Finding | None:
    """What is wrong with the case, or None. Nothing but a crash of the process leaves it otherwise.

    `witness`: PyTorch judges how well the formulas are conditioned. `text`: the graph's text must read back.
    """
    try:
        if text and str(parse_graph(str(case.graph))) != str(case.graph):
            raise Stop("text", "the graph's text reads back as another")
        _check(case, cache, witness)
    except Stop as stop:
        return stop.finding
    except ConvcError as error:
        return _refusal(error)
    except AssertionError as error:
        return Finding("assertion", f"{error or _place(error)}")
    except Exception as error:
        return Finding(f"exception {type(error).__name__}", f"{error} ({_place(error)})")
    return None


def _check(case: Case, cache: Cache | None, witness: bool) -> None:
    graph, settings = case.graph, case.settings
    pool.set_num_threads(settings.threads)
    trace = trace_of(graph, settings.mode, OPTIMIZERS[settings.optimizer], passes_target(settings.target))  # type: ignore[arg-type]
    program = Program(trace, executable(trace.stages[-1][1], settings.target, cache), ParameterStore(), {})
    for n in settings.rows:
        run_once(case, trace, program, n)
    if witness:
        from convc.testing.fuzz.judge import judge_conditioning  # here: PyTorch is an extra

        judge_conditioning(case, trace, program)


def tensor_graph(trace: Trace, mode: str) -> Graph:
    """The graph at the tensor level that has all inputs and results of the program."""
    return trace.after("apply_optimizer") if mode == "train" else trace.stages[0][1]


def run_once(case: Case, trace: Trace, program: Program, n: int) -> None:
    """One run with n rows against the interpreter; the first of a case also compares each stage with it."""
    kind = case.settings.kind
    first = tensor_graph(trace, case.settings.mode)
    inputs = draw_inputs(first, n, case.settings.seed + n, kind)
    with np.errstate(all="ignore"):
        exact = results(interpret, first, inputs)
        bounds = results(error_bound, trace.after("schedule"), inputs)
        for name, graph in stages(trace, case.settings.mode) if n == case.settings.rows[0] else ():
            _compare(f"pass {name}", results(interpret, graph, inputs), exact, bounds, n, IN_F64, True)
    found = run_program(program, inputs, n)
    if kind != "special":
        _compare("wrong", found, exact, bounds, n, overflows=kind == "large")


def stages(trace: Trace, mode: str) -> Iterator[tuple[str, Graph]]:
    """(pass, graph) of the stages whose results are those of `tensor_graph`."""
    names = [name for name, _ in trace.stages]
    start = names.index("apply_optimizer") if mode == "train" else 0
    yield from trace.stages[start + 1 :]


Results = list[tuple[str, Array]]


def results(
    function: Callable[[Graph, Mapping[str, Array]], Mapping[str, Array]], graph: Graph, inputs: Mapping[str, Array]
) -> Results:
    """(name, what `function`, as interpret does, says of it) of outputs and then updates.

    An output may be the input that an update replaces: then one name stands for two values, which are asked for apart.
    """
    if graph.updates.keys().isdisjoint(v.name for v in graph.outputs):
        outputs = updates = function(graph, inputs)
    else:
        outputs = function(replace(graph, updates={}), inputs)
        updates = function(replace(graph, outputs=()), inputs)
    found = [(f"%{v.name}", outputs[v.name]) for v in graph.outputs]
    return found + [(f"the update of %{name}", updates[name]) for name in graph.updates]


def run_program(program: Program, inputs: Mapping[str, Array], n: int) -> Results:
    """Results of one call, its arena poisoned."""
    graph = program.graph
    program.executable._arena[...] = POISON  # type: ignore[attr-defined]
    found = [(f"%{v.name}", a) for v, a in zip(graph.outputs, call(program, inputs, n), strict=True)]
    return found + [(f"the update of %{k}", program.parameters[k].astype(np.float64)) for k in graph.updates]


def _compare(
    kind: str, found: Results, exact: Results, bounds: Results, n: int, share: float = 1.0, overflows: bool = False
) -> None:
    for (_, array), (name, wanted), (_, bound) in zip(found, exact, bounds, strict=True):
        if array.shape != wanted.shape:
            raise Stop(kind, f"{name} has shape {array.shape}, not {wanted.shape}")
        if wrong := misfit(name, array, wanted, bound * share, overflows):
            raise Stop(kind, f"with n={n}: {wrong}")


def _refusal(error: ConvcError) -> Finding:
    """A refusal is one line, and what a pass made is not the user's to be refused."""
    message = str(error)
    if "\n" in message:
        return Finding("several lines", message)
    return Finding("ill-formed" if "made an ill-formed graph" in message else "refused", message)


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rpartition('convc/')[2]}:{frame.lineno} in {frame.name}"
