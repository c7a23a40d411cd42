"""The pipeline: one readable list for each mode, stoppable at any stage, verified before and after each pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from convc.debug import PassLog
from convc.errors import IRError
from convc.ir.core import Graph
from convc.ir.coverage import check_coverage
from convc.ir.lexer import did_you_mean, printable
from convc.ir.ops.optim import Update
from convc.ir.verify import verify
from convc.passes.apply_optimizer import apply_optimizer
from convc.passes.arrange_factors import arrange_factors
from convc.passes.assign_layout import assign_layout
from convc.passes.autodiff import autodiff
from convc.passes.canonicalize import canonicalize
from convc.passes.clip_gradients import clip_gradients
from convc.passes.eliminate_common import eliminate_common
from convc.passes.eliminate_dead import eliminate_dead
from convc.passes.fold_constants import fold_constants
from convc.passes.fuse_epilogue import fuse_epilogue
from convc.passes.fuse_loops import fuse_loops
from convc.passes.lower import lower
from convc.passes.merge_axes import merge_axes
from convc.passes.nest_products import nest_products
from convc.passes.order_axes import order_axes
from convc.passes.plan_memory import plan_memory
from convc.passes.registry import apply
from convc.passes.schedule import schedule
from convc.passes.select_tile import select_tile
from convc.passes.split_k import split_k
from convc.passes.split_reductions import split_reductions
from convc.passes.target import CPU, Target

Pass = Callable[..., Graph]
MOST_BYTES = 2**52
"""Of a tensor: the bytes of a thousand such, their lanes padded, are still counted in 64 bits."""

SIMPLIFY: tuple[Pass, ...] = (canonicalize, fold_constants, eliminate_common, eliminate_dead)
GENERATE: tuple[Pass, ...] = (
    fuse_epilogue,
    assign_layout,
    lower,
    nest_products,
    order_axes,
    split_k,
    arrange_factors,
    fuse_loops,
    merge_axes,
    split_reductions,
    select_tile,
    schedule,
    plan_memory,
)


def pipeline(train: bool, rule: Update | None = None, clip: bool = False) -> tuple[Pass, ...]:
    """The passes from a model's graph to planned kernels; `train` adds gradients and updates, `clip` their clipping."""
    if not train:
        return (*SIMPLIFY, *GENERATE)
    update = partial(apply_optimizer, rule=rule)
    return (*SIMPLIFY, autodiff, *([clip_gradients] if clip else []), update, *SIMPLIFY, *GENERATE)


@dataclass
class Trace:
    """The graph before the first pass and after each: (name, graph). `mode`: what it was compiled for."""

    stages: list[tuple[str, Graph]] = field(default_factory=list)
    mode: str = "infer"

    def after(self, name: str) -> Graph:
        """The graph after the last pass of that name; `before NAME` gives the one it started from."""
        before = name.startswith("before ")
        wanted = name.removeprefix("before ").removeprefix("after ")
        for i in range(len(self.stages) - 1, -1, -1):
            if self.stages[i][0] == wanted:
                return self.stages[i - 1 if before else i][1]
        raise IRError(f"no stage '{printable(wanted)}'{did_you_mean(wanted, dict(self.stages))}")


def run(graph: Graph, passes: Sequence[Pass], target: Target = CPU) -> Trace:
    """All passes in order; each result is verified."""
    trace = Trace([("input", check_coverage(check_sizes(verify(graph))))])
    log = PassLog(graph.name, len(graph.nodes))
    for function in passes:
        graph = apply(function, graph, target)
        name = pass_name(function)
        try:
            verify(graph)
        except IRError as error:
            raise IRError(f"pass {name} made an ill-formed graph: {error}") from error
        trace.stages.append((name, graph))
        log.after(name, len(graph.nodes), graph)
    log.done(len(graph.nodes))
    return trace


def check_sizes(graph: Graph) -> Graph:
    """The graph; raises IRError where its tensors are so large that bytes are no longer counted in 64 bits."""
    for v in graph.values():
        if v.type.nbytes >= MOST_BYTES:
            raise IRError(
                f"a tensor has fewer than 2^{MOST_BYTES.bit_length() - 1} bytes, but %{v.name}: {v.type} has "
                f"{v.type.nbytes}; take a smaller shape"
            )
    return graph


def pass_name(function: Pass) -> str:
    inner = function.func if isinstance(function, partial) else function
    return inner.__name__
