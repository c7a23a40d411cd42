"""The plan of a loop nest for blocks of threads: who takes which point, and how a team shares a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convc.codegen.cuda.dims import Dim, counts_rows, dim, merged, variable, variables
from convc.codegen.terms import Block, Placed, Scope, Term, without_lane
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import TeamSchedule
from convc.ir.loop_nest import MONOIDS, LoopNest, Map
from convc.ir.types import Rows


@dataclass(frozen=True)
class Loop:
    """A loop of one thread over an axis."""

    name: str
    extent: int
    rows: bool


@dataclass(frozen=True)
class Lanes:
    """Neighbouring elements that a thread loads or stores at once: an array of registers, and where they lie."""

    name: str
    term: Term


@dataclass(frozen=True)
class StagePlan:
    """One stage. A lone thread runs `loops`; a team shares the points of `shared`."""

    loops: tuple[Loop, ...]
    shared: Dim
    axis_lets: tuple[tuple[str, Index], ...]
    lets: tuple[tuple[str, Term], ...]
    values: tuple[Term, ...]
    monoid: str = ""
    results: tuple[tuple[str, float], ...] = ()
    targets: tuple[Term, ...] = ()
    loaded: tuple[Lanes, ...] = ()

    @property
    def terms(self) -> tuple[Term, ...]:
        return (*self.values, *(t for _, t in self.lets), *self.targets, *(x.term for x in self.loaded))


@dataclass(frozen=True)
class NestPlan:
    """Everything the template of a loop nest needs. `results` are (variable, neutral element)."""

    nest: LoopNest
    schedule: TeamSchedule
    points: Dim
    lets: tuple[tuple[str, Index], ...]
    stages: tuple[StagePlan, ...]

    @property
    def teams(self) -> int:
        """Teams of a block."""
        return self.schedule.threads // self.schedule.team

    @property
    def blocks(self) -> int:
        """Blocks of threads at full batch capacity."""
        return max(1, -(-self.points.extent // self.teams))

    @property
    def rows(self) -> bool:
        """Whether it asks for the batch rows of the run."""
        stages = any(s.shared.rows for s in self.stages)
        return self.points.rows or stages or any(counts_rows(t) for s in self.stages for t in s.terms)

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block: partial results of its warps, three numbers each for an argmax."""
        reduces = [s.monoid for s in self.stages if s.monoid]
        if not reduces or self.schedule.team != self.schedule.threads:
            return 0
        return 4 * (self.schedule.threads // 32) * (3 if "argmax" in reduces else 1)


def plan_nest(nest: LoopNest, schedule: TeamSchedule, inputs: Sequence[Placed], outputs: Sequence[Placed]) -> NestPlan:
    """The plan of `nest` under `schedule`."""
    width = schedule.vector
    axes = list(nest.axes)
    values: dict[Axis, IndexLike] = dim("point", axes).named()
    lane_axis, lane = None, None
    if width > 1:
        lane_axis, lane = axes[-1], Axis("lane", width)
        blocks = Axis(f"{lane_axis.name}_block", int(lane_axis.extent) // width)
        values[lane_axis] = Index.of(Axis(variable(blocks), int(blocks.extent))) * width + lane
        axes[-1] = blocks
    points = dim("point", axes)
    stages = []
    for number, stage in enumerate(nest.stages):
        shared = dim("element", stage.axes)
        scope = Scope(inputs, outputs, merged(values, shared.named()), lane, lane_axis)
        block = Block(scope, prefix=f"t{number}_")
        roots = [s.value for s in stage.stores] if isinstance(stage, Map) else list(stage.values)
        terms = tuple(block.terms(roots))
        targets = tuple(scope.target(s) for s in stage.stores) if isinstance(stage, Map) else ()
        plan = StagePlan(
            loops=tuple(_loop(a) for a in stage.axes if a.extent > 1),
            shared=shared, axis_lets=(), lets=tuple(block.lets), values=terms, targets=targets,
        )  # fmt: skip
        if not isinstance(stage, Map):
            neutral = MONOIDS[stage.monoid]
            results = tuple((f"{r}_value", e) for r, e in zip(stage.results, neutral))
            plan = replace(plan, monoid=stage.monoid, results=results)
        plan = _with_lanes(plan) if width > 1 else plan
        stages.append(replace(plan, axis_lets=shared.lets(variables(plan.terms))))
    used = variables(t for s in stages for t in s.terms)
    return NestPlan(nest, schedule, points, points.lets(used), tuple(stages))


def _loop(axis: Axis) -> Loop:
    return Loop(variable(axis), int(axis.extent), isinstance(axis.extent, Rows))


def _with_lanes(plan: StagePlan) -> StagePlan:
    """Loads of consecutive elements become arrays that are loaded at once."""
    found: dict[tuple[str, Index], Lanes] = {}

    def change(t: Term) -> Term:
        if t.kind == "load" and t.vector and t.stride == 1 and not t.conditions:
            key = (t.name, without_lane(t.index))
            if key not in found:
                stem = t.name.removesuffix("_ptr")
                count = sum(k[0] == t.name for k in found)
                found[key] = Lanes(f"{stem}_lanes{count or ''}", replace(t, index=key[1]))
            return Term("lane", True, name=found[key].name)
        return replace(t, args=tuple(map(change, t.args)))

    lets = tuple((name, change(t)) for name, t in plan.lets)
    values = tuple(map(change, plan.values))
    return replace(plan, lets=lets, values=values, loaded=tuple(found.values()))
