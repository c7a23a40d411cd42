"""Running compiled programs against the oracle: derived bounds, poisoned memory behind the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import convc
from convc.ir.core import Graph, Node, Role, Value
from convc.ir.interp import interpret
from convc.ir.ops.optim import Update
from convc.ir.ops.shape import Relayout
from convc.runtime.program import Program
from convc.testing import error_bound, guarded, random_inputs
from convc.testing.guarded import call as call
from tests.numerics.cases import Case

Array = npt.NDArray[Any]


def combined(cases: Sequence[Case]) -> Graph:
    """One graph that computes every case on inputs of its own: one compilation instead of many."""
    inputs: list[Value] = []
    nodes: list[Node] = []
    outputs: list[Value] = []
    roles: dict[str, Role] = {}
    for i, case in enumerate(cases):
        names = [f"c{i}.{name}" for name in _operand_names(case)]
        args = tuple(Value(name, t) for name, t in zip(names, case.inputs, strict=True))
        if isinstance(case.op, Update):
            roles |= {f"c{i}.{name}": "state" for name in case.op.state}
            roles |= {f"c{i}.{name}": "scalar" for name in case.op.scalars}
        inputs += args
        results = tuple(Value(f"{case.name}.{k}", t) for k, t in enumerate(case.outputs))
        nodes.append(Node(case.op, args, results, case.name))
        for v in results:
            outputs.append(v)
            if v.type.layout is not None:  # arrays are row-major: a result in another layout goes back to it
                outputs[-1] = Value(f"{v.name}.rows", v.type.logical())
                nodes.append(Node(Relayout(result=v.type.logical()), (v,), (outputs[-1],), case.name))
    return Graph("cases", tuple(inputs), tuple(nodes), tuple(outputs), roles)


def _operand_names(case: Case) -> list[str]:
    if isinstance(case.op, Update):
        return ["w", "g", *case.op.state, *case.op.scalars]
    return [f"x{k}" for k in range(len(case.inputs))]


def poison(program: Program, inputs: Mapping[str, Array], values: Sequence[float] = (np.nan, np.inf, -3e38)) -> None:
    """Run a full batch of such values: every padding lane of the arena then holds what comes of them.

    Parameters and state are as `inputs` has them, and are put back as they were.
    """
    graph = program.graph
    before = program.parameters.snapshot()
    full = random_inputs(program.trace.stages[0][1], None)
    for v in graph.inputs_of("parameter", "state", "constant"):
        program.parameters[v.name][...] = inputs[v.name]
    scalars = {v.name: float(inputs[v.name]) for v in graph.inputs_of("scalar")}
    for value in values:
        arrays = [
            np.full(full[v.name].shape, value, np.float32) if v.type.dtype == "f32" else full[v.name].astype(np.int32)
            for v in graph.inputs_of("data")
        ]
        program(*arrays, **scalars)
    program.parameters.restore(before)


def check(graph: Graph, rows: Iterable[int], program: Program | None = None, seed: int = 0) -> Program:
    """Compile the graph and compare each output, for each number of rows, with the float64 interpreter's.

    Each number must be as near as `error_bound` derives for the compiled kernels.
    """
    program = program or convc.compile(graph)
    for n in rows:
        inputs = random_inputs(graph, n, seed + n)
        poison(program, inputs)
        assert_within(program, graph, inputs, call(program, inputs, n), n)
    return program


def assert_within(program: Program, graph: Graph, inputs: Mapping[str, Array], found: Sequence[Array], n: int) -> None:
    """Each output as near to the interpreter's as the bounds of the compiled kernels say."""
    kernels = program.trace.after("schedule")
    exact, bound = interpret(graph, inputs), error_bound(kernels, inputs)
    triples = zip(graph.outputs, found, kernels.outputs, strict=True)
    wrong = [misfit(v.name, a, exact[v.name], bound[k.name]) for v, a, k in triples]
    assert not any(wrong), f"with {n} rows:\n" + "\n".join(filter(None, wrong))


def misfit(name: str, found: Array, exact: Array, bound: Array) -> str:
    """What is wrong with the array in words, or nothing; a bound is asked for nearly everywhere."""
    if np.isinf(bound).mean() > 0.02:
        return f"{name}: no bound for {int(np.isinf(bound).sum())} of {bound.size} numbers"
    return guarded.misfit(name, found, exact, bound)
