"""The plan of a loop nest for a vector machine: jobs over the outer axes, stages inside, one axis in the lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convc.codegen.gemm import Loop
from convc.codegen.terms import Block, Condition, Placed, Scope, Term
from convc.errors import IRError
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import LoopSchedule
from convc.ir.loop_nest import ACROSS_LANES, MONOIDS, LoopNest, Map
from convc.ir.types import Rows


@dataclass(frozen=True)
class Result:
    """A component of a reduction: its variable, whether lanes differ, and the neutral element."""

    name: str
    vector: bool
    neutral: float


@dataclass(frozen=True)
class StagePlan:
    """One stage: its loops, bound subexpressions, and either results to reduce or places to store."""

    loops: tuple[Loop, ...]
    lets: tuple[tuple[str, Term], ...]
    values: tuple[Term, ...]
    monoid: str = ""
    results: tuple[Result, ...] = ()
    targets: tuple[Term, ...] = ()
    across: bool = False

    @property
    def accesses(self) -> tuple[Term, ...]:
        """The loads and the places that are stored to, with the terms around them."""
        return (*self.targets, *(u for v in (*self.values, *(x for _, x in self.lets)) for u in _flat(v)))


@dataclass(frozen=True)
class NestPlan:
    """Everything the template of a loop nest needs.

    `lane_edge`: the end of the axis in the lanes, where its last block is partial. A reduction across lanes always has
    it: what counts follows from the domain, whatever is loaded there.
    """

    nest: LoopNest
    schedule: LoopSchedule
    outer: tuple[Loop, ...]
    stages: tuple[StagePlan, ...]
    lane_edge: Condition | None
    across: bool

    @property
    def width(self) -> int:
        return self.schedule.width

    @property
    def last_lane(self) -> Index:
        """The lane axis' value in the last lane of a block."""
        assert self.lane_edge is not None
        index = self.lane_edge.index
        return index.substitute({a: self.width - 1 for a in index.axes() if a.name == "lane"})

    @property
    def jobs(self) -> tuple[Loop, ...]:
        """The axes that are cut among threads: all outer ones but the innermost, where there are several."""
        return self.outer[:-1] if len(self.outer) > 1 else self.outer

    @property
    def inner(self) -> tuple[Loop, ...]:
        return self.outer[-1:] if len(self.outer) > 1 else ()


def plan_nest(nest: LoopNest, schedule: LoopSchedule, inputs: Sequence[Placed], outputs: Sequence[Placed]) -> NestPlan:
    """The plan of `nest` under `schedule`; raises IRError where the two do not fit."""
    width = schedule.width
    everywhere = (*nest.axes, *dict.fromkeys(a for s in nest.stages for a in s.axes))
    lane_axis = next((a for a in everywhere if a.name == schedule.lanes), None)
    if schedule.lanes and lane_axis is None:
        names = ", ".join(a.name for a in everywhere)
        raise IRError(f"the schedule puts axis {schedule.lanes} in the lanes, but the nest has {names}")
    across = lane_axis is not None and lane_axis not in nest.axes
    lane = Axis("lane", width) if lane_axis else None

    def loop(axis: Axis) -> Loop:
        rows = isinstance(axis.extent, Rows)
        if axis != lane_axis:
            return Loop(axis.name, int(axis.extent), 1, rows)
        return Loop(f"{axis.name}_block", -(-int(axis.extent) // width), 1, rows, width)

    values: dict[Axis, IndexLike] = {}
    for axis in everywhere:
        variable = Index.of(Axis(loop(axis).name, loop(axis).extent))
        values[axis] = variable * width + lane if axis == lane_axis and lane else variable

    stages: list[StagePlan] = []
    vectors: set[str] = set()
    for number, stage in enumerate(nest.stages):
        in_lanes = lane is not None and (not across or lane_axis in stage.axes)
        scope = Scope(inputs, outputs, values, lane if in_lanes else None, lane_axis if in_lanes else None,
                      vector_locals=frozenset(vectors), lanes_summed=across)  # fmt: skip
        block = Block(scope, prefix=f"t{number}_")
        loops = tuple(loop(a) for a in stage.axes if a.extent != 1 or a == lane_axis)
        if isinstance(stage, Map):
            terms = block.terms([s.value for s in stage.stores])
            targets = tuple(scope.target(s) for s in stage.stores)
            stages.append(StagePlan(loops, tuple(block.lets), tuple(terms), targets=targets))
            continue
        here = across and lane_axis in stage.axes
        if here and stage.monoid not in ACROSS_LANES:
            raise IRError(f"monoid {stage.monoid} cannot be reduced across lanes, as lanes={schedule.lanes} asks")
        terms = block.terms(list(stage.values))
        vector = any(t.vector for t in terms) or here
        results = tuple(Result(f"{n}_value", vector, e) for n, e in zip(stage.results, MONOIDS[stage.monoid]))
        if vector and not here:
            vectors.update(stage.results)
        stages.append(StagePlan(loops, tuple(block.lets), tuple(terms), stage.monoid, results, across=here))

    edge = None if lane_axis is None else Scope(inputs, outputs, values, lane, lane_axis).axis_limit(lane_axis)
    if edge is not None and not across and not any(t.limits for s in stages for t in s.accesses):
        edge = None  # every lane may run: past the end they store into the padding of a blocked layout
    outer = tuple(loop(a) for a in nest.axes if a.extent != 1 or a == lane_axis)
    return NestPlan(nest, schedule, outer, tuple(stages), edge, across)


def _flat(t: Term) -> list[Term]:
    return [t, *(x for a in t.args for x in _flat(a))]
