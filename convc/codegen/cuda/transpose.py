"""The plan of a loop nest that turns tiles in shared memory: what is read in one order, what is stored in the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import ClassVar

from convc.codegen.cuda.dims import Dim, counts_rows, dim, merged, variable, variables
from convc.codegen.cuda.nest import StagePlan, plan_stage
from convc.codegen.names import unique
from convc.codegen.terms import Condition, Placed, Scope, Term
from convc.errors import IRError
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import TransposeSchedule
from convc.ir.loop_nest import LoopNest, Map, Reduce
from convc.ir.scalar import Load, Local, Scalar, rewrite, walk
from convc.ir.types import Rows
from convc.passes.transpose import read_first

BANKS = 32


@dataclass(frozen=True)
class Sweep:
    """One way through a tile's points, counted by `element`: their axes, those that exist, and their place in shared
    memory."""

    lets: tuple[tuple[str, Index], ...]
    guards: tuple[Condition, ...]
    place: Index


@dataclass(frozen=True)
class TransposePlan:
    """Everything the template of such a nest needs.

    `reads` evaluates `stages` in the order in which the operands lie. What is `passed`, (variable, its value there)
    each, goes through shared memory to `stores`, which stores the values of `last`.
    """

    template: ClassVar[str] = "cuda/transpose.cu.j2"

    nest: LoopNest
    schedule: TransposeSchedule
    tiles: Dim
    lets: tuple[tuple[str, Index], ...]
    points: int
    size: int
    reads: Sweep
    stages: tuple[StagePlan, ...]
    passed: tuple[tuple[str, Term], ...]
    stores: Sweep
    last: StagePlan

    @property
    def blocks(self) -> int:
        """Blocks of threads at full batch capacity."""
        return self.tiles.extent

    @property
    def rows(self) -> bool:
        """Whether it asks for the batch rows of the run."""
        guards = any(isinstance(g.hi, str) for g in (*self.reads.guards, *self.stores.guards))
        terms = (*(t for s in (*self.stages, self.last) for t in s.terms), *(t for _, t in self.passed))
        loops = any(s.shared.rows for s in self.stages)
        return self.tiles.rows or guards or loops or any(counts_rows(t) for t in terms)

    @property
    def shared(self) -> tuple[int, int]:
        """Floats of shared memory, all in one array."""
        return self.size * len(self.passed), 0

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block: a tile of every number that is passed on."""
        return 4 * self.shared[0]


def plan_transpose(
    nest: LoopNest, schedule: TransposeSchedule, inputs: Sequence[Placed], outputs: Sequence[Placed]
) -> TransposePlan:
    """The plan of `nest` under `schedule`; raises IRError where the schedule does not fit the nest."""
    *reduces, last = nest.stages
    if not isinstance(last, Map) or last.axes or not all(isinstance(s, Reduce) for s in reduces):
        raise IRError("tiles that turn need a nest of reduce stages and one map with no axes of its own")
    reads, stores = (_axis(nest, name) for name, _ in (schedule.reads, schedule.stores))
    sizes = {reads: schedule.reads[1], stores: schedule.stores[1]}
    numbers = {a: Axis(f"{a.name}_tile", -(-int(a.extent) // size)) for a, size in sizes.items()}
    tiles = dim("block", [*(a for a in nest.axes if a not in sizes), *numbers.values()])
    values: dict[Axis, IndexLike] = {a: Index.of(Axis(variable(a), int(a.extent))) for a in nest.axes}

    def scope(axes: tuple[Axis, ...] = ()) -> Scope:
        return Scope(inputs, outputs, merged(values, dim("element", axes).named()))

    def renamed(e: Scalar) -> Scalar:
        return first.get(e, e) if isinstance(e, Load) else e

    first = _names(read_first(last, [x.type for x in inputs], stores), inputs)
    kept = Map((), tuple(replace(s, value=rewrite(s.value, renamed)) for s in last.stores))
    stages = tuple(plan_stage(number, s, scope(s.axes)) for number, s in enumerate(reduces))
    final = plan_stage(len(reduces), kept, scope())
    used = {e.name for root in kept.roots for e in walk(root) if isinstance(e, Local)}
    results = [f"{name}_value" for s in reduces if isinstance(s, Reduce) for name in s.results if name in used]
    passed = [
        *((name, Term("local", False, name=name)) for name in results),
        *((f"{local.name}_value", scope().load(e)) for e, local in first.items()),
    ]
    terms = [*(t for s in (*stages, final) for t in s.terms), *(t for _, t in passed)]
    apart = _apart(sizes[reads], sizes[stores])
    return TransposePlan(
        nest, schedule, tiles,
        lets=tiles.lets({*variables(terms), *(variable(a) for a in numbers.values() if a.extent > 1)}),
        points=prod(sizes.values()),
        size=sizes[stores] * apart,
        reads=_sweep(sizes, numbers, reads, stores, {reads: 1, stores: apart}),
        stages=stages, passed=tuple(passed),
        stores=_sweep(sizes, numbers, stores, reads, {reads: 1, stores: apart}),
        last=final,
    )  # fmt: skip


def _axis(nest: LoopNest, name: str) -> Axis:
    found = next((a for a in nest.axes if a.name == name), None)
    if found is None:
        raise IRError(
            f"the schedule has tiles along axis {name}, but the nest has {', '.join(a.name for a in nest.axes)}"
        )
    return found


def _names(first: Sequence[Load], inputs: Sequence[Placed]) -> dict[Load, Local]:
    """A local for each load, called after its tensor."""
    names = unique(inputs[e.operand].pointer.removesuffix("_ptr") for e in first)
    return {e: Local(name) for e, name in zip(first, names)}


def _sweep(
    sizes: Mapping[Axis, int], numbers: Mapping[Axis, Axis], inner: Axis, outer: Axis, strides: Mapping[Axis, int]
) -> Sweep:
    """The tile's points with `inner` counted fastest; `strides` are those of a point's place in shared memory."""
    element = Index.of(Axis("element", prod(sizes.values())))
    within = {inner: element % sizes[inner], outer: element // sizes[inner]}
    lets, guards = [], []
    for a, size in sizes.items():
        lets.append((variable(a), Index.of(Axis(variable(numbers[a]), int(numbers[a].extent))) * size + within[a]))
        past = Index.of(Axis(variable(a), int(numbers[a].extent) * size + 1))
        if isinstance(a.extent, Rows):
            guards.append(Condition(past, 0, "rows", False, False))
        elif int(a.extent) % size:
            guards.append(Condition(past, 0, int(a.extent), False, False))
    return Sweep(tuple(lets), tuple(guards), sum((within[a] * strides[a] for a in sizes), Index()))


@cache
def _apart(line: int, lines: int) -> int:
    """Words from one line of a tile in shared memory to the next, such that both sweeps meet in as few banks as
    possible: each warp takes as many passes as it has words in one bank."""

    def passes(apart: int) -> int:
        along = [i // line * apart + i % line for i in range(line * lines)]
        across = [i % lines * apart + i // lines for i in range(line * lines)]
        return sum(
            max(Counter(word % BANKS for word in order[at : at + BANKS]).values())
            for order in (along, across)
            for at in range(0, len(order), BANKS)
        )

    return min(range(line, line + BANKS), key=passes)
