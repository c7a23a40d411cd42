"""The plan of a loop nest for blocks of threads: who takes which point, and how a team shares a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from convc.codegen.cuda.dims import Dim, counts_rows, dim, merged, variable, variables
from convc.codegen.terms import Block, Placed, Scope, Term
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import TeamSchedule
from convc.ir.loop_nest import MONOIDS, LoopNest, Map, Stage
from convc.ir.types import Rows
from convc.passes.vectors import span, window_axis


@dataclass(frozen=True)
class Loop:
    """A loop of one thread over an axis."""

    name: str
    extent: int
    rows: bool


@dataclass(frozen=True)
class Lanes:
    """Neighbouring elements that a thread loads at once: an array of registers, and the load of its first."""

    name: str
    size: int
    term: Term


@dataclass(frozen=True)
class StagePlan:
    """One stage. A lone thread runs `loops`, and `window` innermost; a team shares the points of `shared`.

    `results` are (variable, neutral element).
    """

    loops: tuple[Loop, ...]
    shared: Dim
    axis_lets: tuple[tuple[str, Index], ...]
    lets: tuple[tuple[str, Term], ...]
    values: tuple[Term, ...]
    monoid: str = ""
    results: tuple[tuple[str, float], ...] = ()
    targets: tuple[Term, ...] = ()
    loaded: tuple[Lanes, ...] = ()
    window: Loop | None = None

    @property
    def held(self) -> tuple[str, ...]:
        """Of a map over several points: the array that holds each value, one of its own where it has to be computed."""
        return tuple(v.name if _whole(v) else f"stored{i}" for i, v in enumerate(self.values))

    @property
    def computed(self) -> tuple[int, ...]:
        """The numbers of the values that no array holds yet."""
        return tuple(i for i, v in enumerate(self.values) if not _whole(v))

    @property
    def terms(self) -> tuple[Term, ...]:
        return (*self.values, *(t for _, t in self.lets), *self.targets, *(x.term for x in self.loaded))


@dataclass(frozen=True)
class NestPlan:
    """Everything the template of a loop nest needs."""

    template: ClassVar[str] = "cuda/loops.cu.j2"

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
    def vectors(self) -> str:
        """`16-byte loads, 8-byte stores`: what goes to and from memory as whole vectors."""
        loads = {x.size for s in self.stages for x in s.loaded}
        stores = {self.schedule.vector for s in self.stages if s.targets} - {1}
        kinds = {"loads": loads, "stores": stores} if loads != stores else {"loads and stores": loads}
        return ", ".join(f"{4 * size}-byte {what}" for what, sizes in kinds.items() for size in sorted(sizes))

    @property
    def shared(self) -> tuple[int, int]:
        """Floats of shared memory, all in one array."""
        return self.shared_bytes // 4, 0

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block: partial results of its warps or threads, three numbers each for an argmax."""
        reduces = [s.monoid for s in self.stages if s.monoid]
        threads, apart = self.schedule.threads, self.schedule.apart > 1
        if not reduces or (self.schedule.team <= 32 and not apart):
            return 0
        return 4 * (threads if apart else threads // 32) * (3 if "argmax" in reduces else 1)


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
    stages: list[StagePlan] = []
    for number, stage in enumerate(nest.stages):
        named = merged(values, dim("element", stage.axes).named())
        plan = plan_stage(number, stage, Scope(inputs, outputs, named, lane, lane_axis), schedule.window)
        known = {name for s in (*stages, plan) for name, _ in s.results} if lane else set()
        stages.append(_with_lanes(plan, lane, known) if lane or plan.window else plan)
    used = variables(t for s in stages for t in s.terms)
    return NestPlan(nest, schedule, points, points.lets(used), tuple(stages))


def plan_stage(number: int, stage: Stage, scope: Scope, window: int = 1) -> StagePlan:
    """One stage in a scope that knows its axes; so many elements of a window are a loop of their own, innermost."""
    block = Block(scope, prefix=f"t{number}_")
    values = tuple(block.terms(stage.roots))
    inner = window_axis(stage, window)
    shared = dim("element", stage.axes)
    plan = StagePlan(
        loops=tuple(_loop(a) for a in stage.axes if a.extent > 1 and a is not inner),
        shared=shared, axis_lets=(), lets=tuple(block.lets), values=values, window=_loop(inner) if inner else None,
    )  # fmt: skip
    if isinstance(stage, Map):
        plan = replace(plan, targets=tuple(scope.target(s) for s in stage.stores))
    else:
        results = tuple((f"{r}_value", e) for r, e in zip(stage.results, MONOIDS[stage.monoid]))
        plan = replace(plan, monoid=stage.monoid, results=results)
    return replace(plan, axis_lets=shared.lets(variables(plan.terms)))


def _whole(value: Term) -> bool:
    """Whether it is an array's elements in order."""
    return value.kind == "lane" and str(value.index) == "lane"


def _loop(axis: Axis) -> Loop:
    return Loop(variable(axis), int(axis.extent), isinstance(axis.extent, Rows))


def _with_lanes(plan: StagePlan, lane: Axis | None, results: set[str]) -> StagePlan:
    """Loads of consecutive elements become arrays that are loaded at once, as are `results` of several points."""
    found: dict[Term, Lanes] = {}
    window = Axis(plan.window.name, plan.window.extent) if plan.window else None
    moving = {a for a in (lane, window) if a}

    def change(t: Term) -> Term:
        if t.kind == "local" and t.name in results and lane:
            return Term("lane", True, name=t.name, index=Index.of(lane))
        size = span(t.index, lane, window) if t.kind == "load" else 0
        if size > 1 and not any(moving.intersection(c.index.axes()) for c in t.conditions):
            first = replace(t, index=t.index.substitute(dict.fromkeys(moving, 0)))
            if first not in found:
                stem = t.name.removesuffix("_ptr")
                count = sum(k.name == t.name for k in found)
                found[first] = Lanes(f"{stem}_lanes{count or ''}", size, first)
            return Term("lane", True, name=found[first].name, index=t.index - first.index)
        return replace(t, args=tuple(map(change, t.args)))

    lets = tuple((name, change(t)) for name, t in plan.lets)
    values = tuple(map(change, plan.values))
    return replace(plan, lets=lets, values=values, loaded=tuple(found.values()))
