"""From MODEL to emitted source, without a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convc.cli.models import resolve_model
from convc.compiler import model_graph, trace_of
from convc.errors import ConvcError
from convc.ir.core import Graph
from convc.nn import GraphBuilder, Module
from convc.optim import optimizer_of
from convc.runtime.program_report import ProgramReport
from convc.runtime.targets import emit, passes_target

ROWS = 64
"""Batch rows of a zoo model where no shape is given."""
OPTIMIZER = optimizer_of(None)
"""What trains in mode train: what convc.compile takes where none is given."""


@dataclass(frozen=True)
class Lowered:
    """A model's program as text: `input_shape`, `model` and what wrote its graph are None for a graph."""

    input_shape: tuple[int, ...] | None
    report: ProgramReport
    model: Module | None = None
    builder: GraphBuilder | None = None


def lower_model(
    spec: str,
    shape: tuple[int, ...] | None,
    mode: Literal["infer", "eval", "train"],
    target: str = "cpu",
    level: int = 5,
) -> Lowered:
    """All passes and the source for the target.

    Raises ConvcError where the model, the shape and the mode do not fit together.
    """
    model, image = resolve_model(spec, shape[1:] if shape else None)
    full: tuple[int, ...] | None = None
    builder: GraphBuilder | None = None
    if isinstance(model, Graph):
        graph = model
    elif image is None:
        raise ConvcError(f"{spec} needs --shape N,C,H,W: only zoo models and graphs have shapes of their own")
    else:
        full = (shape[0] if shape else ROWS, *image)
        builder, graph = model_graph(model, full, mode, "cross_entropy")
    numbers = passes_target(target, level)
    trace = trace_of(graph, mode, OPTIMIZER, numbers)
    report = ProgramReport(trace, emit(trace.stages[-1][1], target, numbers))
    return Lowered(full, report, None if isinstance(model, Graph) else model, builder)
