"""One case held against the float64 interpreter: after every pass, and what the target computes.

The arena is filled with NaN before each run, and what lies behind the n rows of an input is NaN.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from convc.build.cache import Cache
from convc.compiler import trace_of
from convc.errors import ConvcError
from convc.ir.core import Array, Graph
from convc.ir.interp import interpret
from convc.ir.text import parse_graph
from convc.passes.lower import lower
from convc.passes.pipeline import SIMPLIFY, Trace, pass_name
from convc.runtime import pool
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.runtime.targets import executable, passes_target
from convc.testing.bounds import error_bound
from convc.testing.fuzz.case import OPTIMIZERS, Case
from convc.testing.fuzz.inputs import draw_inputs
from convc.testing.guarded import call, misfit
from convc.testing.trial import trial

HUGE = 2.0**50
"""A product of two numbers up to this, and sums of many such products, are far from f32's largest."""
POISON = 0xFF  # a NaN in f32 and f64, -1 in i32
ROUNDING = ("fold_constants",)
"""Passes that compute in f32 what the program would: off by what the program could be, and the new measure of it."""
SIMPLIFYING = tuple(pass_name(p) for p in SIMPLIFY)
FLOAT = {"f32": np.float32}
IN_F64 = 2.0**-20
"""A graph that means the same gives the same numbers in float64 up to this part of what f32 may be off by; the ratio
of the roundings is 2^-29."""


Results = list[tuple[str, Array]]
"""The name of an output or update, and its numbers."""


@dataclass(frozen=True)
class Finding:
    """What is wrong: its kind, which shrinking keeps, and a message."""

    kind: str
    message: str

    @property
    def signature(self) -> str:
        """What shrinking keeps: the kind, and of a refusal the words of its message without names and numbers."""
        if self.kind not in ("refused", "ill-formed"):
            return self.kind
        return " ".join((self.kind, *re.findall(r"(?<![%\w])[a-z]+(?!\w)", self.message)))

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Stop(Exception):
    """Ends a check with a finding."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(kind, message)


def check(
    case: Case, cache: Cache | None = None, *, compiled: bool = True, witness: bool = False, text: bool = True
) -> Finding | None:
    """What is wrong with the case, or None. Nothing but a crash of the process leaves it otherwise.

    `compiled`: the program is built and run, after its passes were compared. `witness`: PyTorch judges how well its
    formulas are conditioned. `text`: the graph's text must read back.
    """
    try:
        if text and str(parse_graph(str(case.graph))) != str(case.graph):
            raise Stop("text", "the graph's text reads back as another")
        _check(case, cache, compiled, witness)
    except Stop as stop:
        return stop.finding
    except ConvcError as error:
        return _refusal(error)
    except AssertionError as error:
        return Finding("assertion", f"{error or _place(error)}")
    except Exception as error:
        return Finding(f"exception {type(error).__name__}", f"{error} ({_place(error)})")
    return None


def _check(case: Case, cache: Cache | None, compiled: bool, witness: bool) -> None:
    graph, settings = case.graph, case.settings
    target = passes_target(settings.target)
    trace = trace_of(graph, settings.mode, OPTIMIZERS[settings.optimizer], target)  # type: ignore[arg-type]
    measures = [measure(case, trace, n) for n in settings.rows]
    if not compiled:
        return
    pool.set_num_threads(settings.threads)
    program = Program(trace, executable(trace.stages[-1][1], settings.target, cache), ParameterStore(), {})
    for m in measures:
        found = run_program(program, m.inputs, m.n)
        if settings.kind != "special":
            _compare("wrong", found, m.exact, m.bounds, m.n, overflows=m.huge)
    if witness:
        from convc.testing.fuzz.judge import judge_conditioning  # here: PyTorch is an extra

        judge_conditioning(case, trace, program)
    # What `convc run --check` does goes to its end, too; it binds the executable to a store of its own.
    trial(trace, program.executable, settings.rows[0], settings.seed)


def tensor_graph(trace: Trace, mode: str) -> Graph:
    """The graph at the tensor level that has all inputs and results of the program."""
    return trace.after("apply_optimizer") if mode == "train" else trace.stages[0][1]


def inputs_of(case: Case, trace: Trace, n: int, seed: int) -> dict[str, Array]:
    """What the drawn graph says of its inputs goes before what simplification left of it to say."""
    graphs = (tensor_graph(trace, case.settings.mode), case.graph)
    drawn = [draw_inputs(g, n, seed, case.settings.kind) for g in dict.fromkeys(graphs)]
    return {name: a for found in drawn for name, a in found.items()}


@dataclass(frozen=True)
class Measure:
    """A run with n rows: what is given, what is right, how far f32 may be off, and if numbers are so `huge` that what
    is made of them may overflow on the way."""

    n: int
    inputs: dict[str, Array]
    exact: Results
    bounds: Results
    huge: bool


def measure(case: Case, trace: Trace, n: int) -> Measure:
    """By the interpreter; for the first n of a case it also judges every pass."""
    settings = case.settings
    first = tensor_graph(trace, settings.mode)
    inputs = inputs_of(case, trace, n, settings.seed + n)
    with np.errstate(all="ignore"):
        exact = results(interpret, first, inputs)
        bounds = results(error_bound, trace.after("schedule"), inputs)
        if n == settings.rows[0]:
            _compare_specials(trace, settings.mode, inputs, n)
        for name, before, graph in stages(trace, settings.mode):
            if name not in ROUNDING and n != settings.rows[0]:
                continue
            found = results(interpret, graph, inputs)
            if name not in ROUNDING:
                _compare(f"pass {name}", found, exact, bounds, n, IN_F64, overflows=True)
            elif graph is not before:
                run = results(error_bound, lower(before), inputs)
                _compare(f"pass {name}", found, exact, run, n, overflows=True)
                exact = found
        huge = any(np.abs(a[np.isfinite(a)]).max(initial=0.0) > HUGE for a in _all_values(first, inputs))
    return Measure(n, inputs, exact, bounds, huge)


def _all_values(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
    made = tuple(v for node in graph.nodes for v in node.outputs)
    return [*inputs.values(), *interpret(replace(graph, outputs=made, updates={}), inputs).values()]


def stages(trace: Trace, mode: str) -> Iterator[tuple[str, Graph, Graph]]:
    """(pass, graph before, graph after) of the stages whose results are those of `tensor_graph`."""
    names = [name for name, _ in trace.stages]
    start = names.index("apply_optimizer") if mode == "train" else 0
    for (_, before), (name, after) in pairwise(trace.stages[start:]):
        yield name, before, after


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


def _compare_specials(trace: Trace, mode: str, inputs: Mapping[str, Array], n: int) -> None:
    """Simplification keeps what is no number, what overflows f32, and the signs of zeros: both sides run in f32."""

    def run(graph: Graph) -> list[Array]:
        values = {v: np.asarray(inputs[v.name], FLOAT.get(v.type.dtype)) for v in graph.inputs}
        for node in graph.nodes:
            found = node.op.execute([values[v] for v in node.inputs], n)
            values.update((v, np.asarray(a, FLOAT.get(v.type.dtype))) for v, a in zip(node.outputs, found))
        return [values[v] for v in graph.results]

    wanted: list[Array] | None = None
    for name, before, after in stages(trace, mode):
        if name not in SIMPLIFYING:
            return
        wanted = run(before) if wanted is None else wanted
        found = run(after)
        for v, a, b in zip(before.results, wanted, found, strict=True):
            apart = (np.isfinite(a) != np.isfinite(b)) | ((a == 0) & (b == 0) & (np.signbit(a) != np.signbit(b)))
            if apart.any():
                at = tuple(int(i) for i in np.argwhere(apart)[0])
                raise Stop(f"pass {name}", f"with n={n}, %{v.name} at {list(at)} was {a[at]} in f32, and is {b[at]}")
        wanted = found


def _refusal(error: ConvcError) -> Finding:
    """A refusal is one line, and what a pass made is not the user's to be refused."""
    message = str(error)
    if "\n" in message:
        return Finding("several lines", message)
    return Finding("ill-formed" if "made an ill-formed graph" in message else "refused", message)


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rpartition('convc/')[2]}:{frame.lineno} in {frame.name}"
