"""PyTorch as the judge of a case: in float64 of what the interpreter means, in float32 of the formula's conditioning.

A derived bound holds for the formula that was chosen, so it cannot say that another would have been far better. Here
convc's error may be at most `MULTIPLE` times PyTorch's on the same numbers, or `FLOOR` roundings of the largest one:
PyTorch sums pairwise where convc sums in line, which for a few thousand terms is within this; a formula that cancels
is off by thousands.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from convc.ir.core import Array, Graph
from convc.ir.interp import interpret
from convc.ir.kernels import KernelOp
from convc.passes.autodiff import autodiff
from convc.passes.lower import lower
from convc.passes.pipeline import Trace
from convc.runtime.program import Program
from convc.testing.bounds import UNIT, error_bound
from convc.testing.fuzz.case import Case
from convc.testing.fuzz.inputs import draw_inputs
from convc.testing.fuzz.oracle import Finding, Results, Stop, inputs_of, results, run_program, tensor_graph
from convc.testing.guarded import misfit
from convc.testing.witness import WITNESSES, run_graph, to_tensor

MULTIPLE = 100.0
FLOOR = 100 * UNIT["f32"]
DRAWS = 8
IN_F64 = 2.0**-20
CANCELLED = 2.0**-44
"""Of the largest number there is: PyTorch's own formulas lose digits in f64, such as softmax - 1 near the label."""


def can_judge(graph: Graph) -> bool:
    """Whether PyTorch has each operator: kernels are nobody else's, and it computes with floats only."""
    known = all(n.op.name in WITNESSES and not isinstance(n.op, KernelOp) for n in graph.nodes)
    return known and all(n.inputs[0].type.dtype == "f32" for n in graph.nodes if n.inputs)


def torch_inputs(graph: Graph, inputs: Mapping[str, Array], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    whole = ("i32", "u8")
    return {v.name: to_tensor(inputs[v.name], torch.int64 if v.type.dtype in whole else dtype) for v in graph.inputs}


def torch_results(graph: Graph, inputs: Mapping[str, Array], n: int, dtype: torch.dtype) -> Results:
    values = run_graph(graph, torch_inputs(graph, inputs, dtype), n, dtype)
    named = [(f"%{v.name}", v) for v in graph.outputs]
    named += [(f"the update of %{name}", v) for name, v in graph.updates.items()]
    return [(name, values[v].detach().to(torch.float64).numpy()) for name, v in named]


def judge_meaning(case: Case) -> Finding | None:
    """The interpreter against PyTorch in float64, NaN and infinities too; for a loss also its gradients."""
    graph, settings = case.graph, case.settings
    if not can_judge(graph):
        return None
    if settings.mode == "train":
        graph = autodiff(graph)
    for n in settings.rows:
        inputs = draw_inputs(graph, n, settings.seed + n, settings.kind)
        with np.errstate(all="ignore"):
            exact = dict(results(interpret, graph, inputs))
            bound = dict(results(error_bound, lower(graph), inputs))
        seen = dict(torch_results(graph, inputs, n, torch.float64))
        if settings.mode == "train":
            seen |= _autograd(case, graph, inputs, n)
        floor = CANCELLED * max(_largest(a) for a in (*inputs.values(), *exact.values()))
        for name, wanted in exact.items():
            if wrong := misfit(name, wanted, seen[name], bound[name] * IN_F64 + floor, overflows=True):
                return Finding("meaning", f"with n={n}, by PyTorch: {wrong}")
            if (apart := np.isfinite(wanted) != np.isfinite(seen[name])).any():
                at = tuple(int(i) for i in np.argwhere(apart)[0])
                return Finding(
                    "meaning", f"with n={n}, {name} at {list(at)} is {wanted[at]}, by PyTorch {seen[name][at]}"
                )
    return None


def _largest(a: Array) -> float:
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def _autograd(case: Case, differentiated: Graph, inputs: Mapping[str, Array], n: int) -> dict[str, Array]:
    """The gradients by PyTorch's own differentiation of the graph before `autodiff`."""
    graph = case.graph
    tensors = torch_inputs(graph, inputs, torch.float64)
    parameters = [tensors[v.name].requires_grad_() for v in graph.inputs_of("parameter")]
    loss = run_graph(graph, tensors, n, torch.float64)[graph.outputs[0]]
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    names = [f"%{v.name}" for v in differentiated.outputs[len(graph.outputs) :]]
    arrays = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads)]
    return {name: a.detach().numpy() for name, a in zip(names, arrays, strict=True)}


def judge_conditioning(case: Case, trace: Trace, program: Program) -> None:
    """Errors of several draws of the program and of PyTorch in float32. Raises Stop."""
    first = tensor_graph(trace, case.settings.mode)
    if not can_judge(first) or case.settings.kind == "special":
        return
    n = max(case.settings.rows)
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for draw in range(DRAWS):
        inputs = inputs_of(case, trace, n, case.settings.seed + 1000 + draw)
        with np.errstate(all="ignore"):
            exact = results(interpret, first, inputs)
            bounds = results(error_bound, trace.after("schedule"), inputs)
        found = run_program(program, inputs, n)
        seen = torch_results(first, inputs, n, torch.float32)
        for (name, e), (_, b), (_, f), (_, s) in zip(exact, bounds, found, seen, strict=True):
            if not (np.isfinite(e).all() and np.isfinite(s).all() and np.isfinite(b).all()) or not np.abs(e).max():
                continue
            largest = np.abs(e).max()
            ours[name] = max(ours.get(name, 0.0), float(np.abs(f - e).max() / largest))
            theirs[name] = max(theirs.get(name, 0.0), float(np.abs(s - e).max() / largest))
    for name, off in ours.items():
        if not off <= MULTIPLE * theirs[name] + FLOOR:
            raise Stop(
                "conditioning",
                f"with n={n}, {name} is off by {off:.3g} of its largest number, PyTorch in f32 by {theirs[name]:.3g}",
            )
