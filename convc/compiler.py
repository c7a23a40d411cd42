"""`convc.compile`: from a model or a graph to a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from convc.build.cache import Cache
from convc.errors import IRError, RunError
from convc.ir import ops
from convc.ir.core import Graph, Value
from convc.ir.types import TensorType
from convc.nn import GraphBuilder, Module
from convc.optim import SGD, Optimizer
from convc.passes import pipeline
from convc.passes.pipeline import Trace
from convc.passes.target import Target
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.runtime.targets import TARGETS as TARGETS
from convc.runtime.targets import executable, passes_target, resolve_target

Mode = Literal["infer", "eval", "train"]
MODES = ("infer", "eval", "train")
LOSSES = ("cross_entropy", "mse")


def compile(
    model: Module | Graph,
    input_shape: Sequence[int] | None = None,
    *,
    target: str = "auto",
    mode: Mode = "infer",
    loss: str = "cross_entropy",
    optimizer: Optimizer | None = None,
    seed: int = 0,
    cache: Cache | None = None,
) -> Program:
    """Compile a model, or a graph as it stands.

    `input_shape` is (N, C, H, W) or (N, features); N is the batch capacity: the program runs any n <= N rows.
    Modes: `infer` returns the model's output; `eval` takes labels (or targets) too and returns the loss and,
    for cross-entropy, the number of right answers; `train` returns the loss and updates the parameters. A
    model's parameters get their first values from `seed` on its first compilation, and all its programs
    share them; dropout draws from `seed` too. `target`: auto, cpu, cuda (`cuda:1`: the GPU of that number) or
    emulator. A graph needs no shape. Raises IRError on a model or shape that
    does not fit together.
    """
    target = resolve_target(target)
    if mode not in MODES:
        raise RunError(f"unknown mode '{mode}'; known are {', '.join(MODES)}")
    optimizer = optimizer or SGD(momentum=0.9)
    if isinstance(model, Graph):
        trace = trace_of(model, mode, optimizer, passes_target(target))
        return _finish(trace, target, ParameterStore(), known_numbers(mode, optimizer, seed), cache)
    if input_shape is None:
        raise RunError("a model needs input_shape=(N, C, H, W); only a graph carries its shapes")
    g, graph = model_graph(model, input_shape, mode, loss)
    trace = trace_of(graph, mode, optimizer, passes_target(target))
    model.initialise(g, seed)
    return _finish(trace, target, model.store, known_numbers(mode, optimizer, seed), cache)


def model_graph(model: Module, input_shape: Sequence[int], mode: Mode, loss: str) -> tuple[GraphBuilder, Graph]:
    """The model's graph with the outputs of `mode`, before any pass."""
    if not input_shape or any(int(e) < 1 for e in input_shape):
        raise IRError(f"input_shape must be numbers of at least 1, not {list(input_shape)}")
    g, y = model.forward_graph(input_shape, training=mode == "train")
    if mode == "infer":
        return g, g.graph(y)
    if loss not in LOSSES:
        raise RunError(f"unknown loss '{loss}'; known are {', '.join(LOSSES)}")
    g.builder.path = "loss"
    if loss == "mse":
        target = g.input("target", y.type)
        return g, g.graph(g.op(ops.loss.Mse(), y, target, name="loss"))
    labels = g.input("labels", TensorType("i32", y.type.shape[:1]))
    mean = g.op(ops.reduce.Sum((0,), mean=True), g.op(ops.loss.CrossEntropy(), y, labels), name="loss")
    return g, g.graph(mean, *([] if mode == "train" else [_correct(g, y, labels)]))


def _correct(g: GraphBuilder, y: Value, labels: Value) -> Value:
    return g.op(ops.reduce.Sum((0,)), g.op(ops.loss.Correct(), y, labels), name="correct")


def trace_of(graph: Graph, mode: Mode, optimizer: Optimizer, target: Target) -> Trace:
    """All passes of the mode, each stage kept."""
    return pipeline.run(graph, pipeline.pipeline(mode == "train", optimizer.rule), target)


def known_numbers(mode: Mode, optimizer: Optimizer, seed: int) -> dict[str, float]:
    """The run-time numbers that a program knows by itself; a call may give any of them anew."""
    return {"seed": seed} | (optimizer.scalars if mode == "train" else {})


def _finish(
    trace: Trace, target: str, store: ParameterStore, known: Mapping[str, float], cache: Cache | None
) -> Program:
    return Program(trace, executable(trace.stages[-1][1], target, cache), store, known)
