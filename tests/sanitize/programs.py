"""What runs under sanitizers: every operator, and the models of the zoo that fit a small machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import convc
from convc.compiler import model_graph, trace_of
from convc.ir.core import Graph
from convc.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from convc.passes.pipeline import Trace
from convc.runtime import cpu
from convc.testing import random_inputs
from tests.sanitize.harness import Array, Run

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
    "clipped": RMSprop(momentum=0.9, clip_norm=0.5),
}
SMALL_STEP = {"lr": 1e-3, "weight_decay": 1e-2}


def of_graph(graph: Graph) -> Trace:
    return trace_of(graph, "infer", SGD(), cpu.target())


def of_model(name: str, capacity: int, mode: str, optimizer: str = "sgd") -> tuple[Trace, dict[str, Array]]:
    """The model's program, and its parameters' first values."""
    make, image = convc.models.ZOO[name]
    model, rule = make(), OPTIMIZERS[optimizer]
    g, graph = model_graph(model, (capacity, *image), mode, "cross_entropy")  # type: ignore[arg-type]
    model.initialise(g, 0)
    return trace_of(graph, mode, rule, cpu.target()), model.store.snapshot()  # type: ignore[arg-type]


def model_run(trace: Trace, parameters: dict[str, Array], rows: int, seed: int) -> dict[str, Array]:
    """Inputs of every role: parameters with their first values, images and labels at random, steps small."""
    graph = trace.stages[-1][1]
    drawn = random_inputs(trace.stages[0][1], rows, seed) | random_inputs(graph, rows, seed)
    labels = random_inputs(trace.stages[0][1], rows, seed)
    drawn |= {v.name: labels[v.name] for v in trace.stages[0][1].inputs_of("data")}
    numbers = {k: np.asarray(np.float32(x), np.float64) for k, x in SMALL_STEP.items() if k in drawn}
    return drawn | {k: a.astype(np.float64) for k, a in parameters.items()} | numbers


def runs(inputs: Sequence[dict[str, Array]], rows: Sequence[int], threads: Sequence[int]) -> list[Run]:
    """One run for each number of rows, on different numbers of threads, arrays on and off a boundary by turns."""
    return [
        Run(given, n, threads[i % len(threads)], 4 * (i % 2))
        for i, (given, n) in enumerate(zip(inputs, rows, strict=True))
    ]
