"""`convc.compile`: from a model or a graph to a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from convc.build.cache import Cache
from convc.checks import choice, instance, seed_of, shape_of, shown
from convc.errors import IRError, RunError
from convc.ir import ops
from convc.ir.core import Graph, Value
from convc.ir.types import TensorType
from convc.models import ZOO
from convc.nn import GraphBuilder, Module
from convc.optim import Optimizer, optimizer_of
from convc.passes import pipeline
from convc.passes.pipeline import Trace
from convc.passes.target import Target
from convc.runtime.capacity import check_fits, enough_memory
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
    emulator. A graph needs no shape. Raises IRError on a model or shape that does not fit together, RunError on an
    argument that is of another kind or out of range.
    """
    target = resolve_target(target)
    choice(mode, "mode", MODES)
    optimizer, seed = optimizer_of(optimizer), seed_of(seed)
    instance(cache, (Cache, type(None)), "cache is a convc.build.cache.Cache, or None for the user's own")
    if isinstance(model, Graph):
        if input_shape is not None:
            raise RunError(f"a graph carries its shapes, but input_shape is {shown(input_shape)}; leave it out")
        check_trainable(model, mode)
        with enough_memory(f"compiling {model.name}"):
            trace = trace_of(model, mode, optimizer, passes_target(target))
            return _finish(trace, target, ParameterStore(), known_numbers(mode, optimizer, seed), cache)
    g, graph = model_graph(check_model(model), input_shape, mode, loss)
    with enough_memory(f"compiling {graph.name}"):
        trace = trace_of(graph, mode, optimizer, passes_target(target))
        check_fits(trace.stages[-1][1], model.store, target)
        model.initialise(g, seed)
        return _finish(trace, target, model.store, known_numbers(mode, optimizer, seed), cache)


def check_model(model: object) -> Module:
    """The model. Raises RunError, saying how to make one, where it is something else."""
    if isinstance(model, Module):
        return model
    remedy = "give an object, such as convc.models.lenet5() or convc.nn.Sequential(...)"
    if isinstance(model, str):
        remedy = f"call a function of convc.models, such as {model if model in ZOO else 'lenet5'}()"
    elif isinstance(model, (list, tuple)):
        remedy = "make it one: convc.nn.Sequential(*layers)"
    elif callable(model):
        remedy = f"call it: {getattr(model, '__name__', 'model')}()"
    raise RunError(f"a model is a convc.nn.Module or a convc graph, not {shown(model)}; {remedy}")


def model_graph(model: Module, input_shape: Sequence[int] | None, mode: Mode, loss: str) -> tuple[GraphBuilder, Graph]:
    """The model's graph with the outputs of `mode`, before any pass. Raises IRError or RunError."""
    if input_shape is None:
        raise RunError("a model needs input_shape=(N, C, H, W); only a graph carries its shapes")
    shape = shape_of(input_shape, "input_shape", remedy="N is the most rows of a batch", error=IRError)
    choice(loss, "loss", LOSSES)
    g, y = _forward(model, shape, mode)
    check_trainable(g.graph(y), mode)
    if mode == "infer":
        return g, g.graph(y)
    g.builder.path = "loss"
    if loss == "mse":
        target = g.input("target", y.type)
        return g, g.graph(g.op(ops.loss.Mse(), y, target, name="loss"))
    labels = g.input("labels", TensorType("i32", y.type.shape[:1]))
    mean = g.op(ops.reduce.Sum((0,), mean=True), g.op(ops.loss.CrossEntropy(), y, labels), name="loss")
    return g, g.graph(mean, *([] if mode == "train" else [_correct(g, y, labels)]))


def check_trainable(graph: Graph, mode: Mode) -> None:
    """Raises RunError where a train step would have nothing to update."""
    if mode == "train" and not graph.inputs_of("parameter"):
        frozen = bool(graph.inputs_of("constant"))
        found = "has only frozen ones; freeze fewer" if frozen else "has none; add a layer with weights"
        raise RunError(f"mode 'train' updates parameters, and {graph.name} {found}, or take mode 'eval'")


def _forward(model: Module, shape: tuple[int, ...], mode: Mode) -> tuple[GraphBuilder, Value]:
    """The model on its input; an error of its first layers says so where the shape looks like [N, H, W, C]."""
    try:
        return model.forward_graph(shape, training=mode == "train")
    except IRError as error:
        if len(shape) != 4 or shape[3] not in (1, 3) or shape[1] in (1, 3):
            raise
        n, height, width, channels = shape
        turned = (n, channels, height, width)
        raise IRError(
            f"{error}: images are [N, C, H, W], and {list(shape)} looks like [N, H, W, C]; give {turned} and "
            "x.transpose(0, 3, 1, 2)"
        ) from None


def _correct(g: GraphBuilder, y: Value, labels: Value) -> Value:
    return g.op(ops.reduce.Sum((0,)), g.op(ops.loss.Correct(), y, labels), name="correct")


def trace_of(graph: Graph, mode: Mode, optimizer: Optimizer, target: Target) -> Trace:
    """All passes of the mode, each stage kept."""
    clips = optimizer.clip_norm is not None
    return replace(pipeline.run(graph, pipeline.pipeline(mode == "train", optimizer.rule, clips), target), mode=mode)


def known_numbers(mode: Mode, optimizer: Optimizer, seed: int) -> dict[str, float | int]:
    """The run-time numbers that a program knows by itself; a call may give any of them anew."""
    return {"seed": seed} | (optimizer.scalars if mode == "train" else {})


def _finish(
    trace: Trace, target: str, store: ParameterStore, known: Mapping[str, float], cache: Cache | None
) -> Program:
    check_fits(trace.stages[-1][1], store, target)
    return Program(trace, executable(trace.stages[-1][1], target, cache), store, known)
