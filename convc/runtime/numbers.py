"""Run-time numbers: learning rates, seeds, counts of steps, as a program takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from convc.checks import real, seed_of, whole
from convc.errors import RunError
from convc.ir.core import Value
from convc.ir.ops.clip import ClipScale
from convc.ir.ops.optim import Update
from convc.ir.philox import fold_seed
from convc.passes.pipeline import Trace

Check = Callable[..., float]
CHECKS: Mapping[str, Check] = {
    "lr": partial(real, low=0.0),
    "weight_decay": partial(real, low=0.0),
    "momentum": partial(real, low=0.0, high=1.0),
    "beta1": partial(real, low=0.0, high=1.0),
    "beta2": partial(real, low=0.0, high=1.0),
    "alpha": partial(real, low=0.0, high=1.0),
    "eps": partial(real, low=0.0),
    "clip_norm": partial(real, low=0.0, above=True),
    "step": partial(whole, low=1, high=2**31 - 1, remedy="steps count from 1"),
}
"""By the name that an update rule, or clipping, has for it: what an optimizer's number may be."""


def optimizer_number(name: str, value: object, place: str = "") -> float:
    """The number of that name as an update rule takes it. Raises RunError, naming the place."""
    return CHECKS[name](value, f"{place}{name}")


def update_numbers(trace: Trace) -> dict[str, str]:
    """For each scalar input that an update rule, or clipping, reads, the name that it has there."""
    found: dict[str, str] = {}
    for _, graph in trace.stages:
        for node in graph.nodes:
            if isinstance(node.op, Update | ClipScale):
                first = len(node.inputs) - len(node.op.scalars)
                scalars = zip(node.inputs[first:], node.op.scalars)
                found.update((v.name, name) for v, name in scalars if name in CHECKS)
    return found


def run_time_number(v: Value, given: object, meaning: str | None = None) -> float:
    """The number as the scalar input holds it: a float, or for i32 an int. Raises RunError where it does not fit.

    `meaning`: what an update rule calls it.
    """
    if meaning == "step" and v.type.dtype == "f32":  # a graph in text form may count so
        return real(given, v.name, 1.0, remedy="steps count from 1")
    if meaning is not None:
        return optimizer_number(meaning, given, f"{v.name}, the rule's " if meaning != v.name else "")
    if v.type.dtype == "f32":
        return real(given, v.name)
    if v.type.dtype != "i32":
        raise RunError(f"a run-time number is f32 or i32, and {v.name} is {v.type}; declare it f32[] or i32[]")
    if v.name == "seed":
        return fold_seed(seed_of(given, remedy="give another seed="))
    return whole(given, v.name, -(2**31), 2**31 - 1)
