"""The plan of one GEMM phase for a vector machine: loops, register tile, loads, guards and stores.

Each axis becomes code variables: an outer axis a loop variable, a tiled axis `first + tm` (or `tn`), the axis
in the lanes `block * width + lane`. Guards are sorted by where they can be tested: between the loops of the
sum, or, where they depend on the tile's own point, only in tiles at the edge of the domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convc.codegen.terms import Block, Condition, Placed, Scope, Term
from convc.errors import IRError
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import GemmSchedule
from convc.ir.scalar import Load
from convc.ir.types import Rows

TM, TN = "tm", "tn"


@dataclass(frozen=True)
class Loop:
    """A loop variable and its extent: a number, or blocks of the run's rows.

    `step`: points a trip; `rows`: the extent is the run's rows; `width`: rows that one trip covers.
    """

    name: str
    extent: int
    step: int = 1
    rows: bool = False
    width: int = 1
    guards: tuple[Condition, ...] = ()

    @property
    def trips(self) -> int:
        return -(-self.extent // self.step)


@dataclass(frozen=True)
class Tile:
    """One side of the register tile: its variable, its first point's variable, and its size."""

    variable: str
    loop: Loop
    size: int

    @property
    def residue(self) -> int:
        """Points of the last, partial tile; 1 where the extent is only known at run time."""
        if self.size == 1:
            return 0
        return 1 if self.loop.rows else self.loop.extent % self.size  # full tiles only, where it divides


@dataclass(frozen=True)
class Edge:
    """A tile is inside where lo <= outer + least and outer + greatest < hi."""

    outer: Index
    least: int
    greatest: int
    lo: int
    hi: int


@dataclass(frozen=True)
class GemmPlan:
    """Everything the template of a phase needs."""

    view: GemmView
    schedule: GemmSchedule
    outer: tuple[Loop, ...]
    m: Tile
    n: Tile
    sum_loops: tuple[Loop, ...]
    sum_block: Loop | None
    before: tuple[Condition, ...]
    a: Term
    b: Term
    edges: tuple[Edge, ...]
    step_edges: tuple[Edge, ...]
    lane_edge: Condition | None
    never_inside: bool
    lets: tuple[tuple[str, Term], ...]
    stores: tuple[tuple[Term, Term], ...]
    reduced: bool

    @property
    def width(self) -> int:
        return self.schedule.width

    @property
    def variants(self) -> bool:
        """Whether tiles at the edge need the guarded variant."""
        return bool(self.edges) or self.lane_edge is not None or self.never_inside

    @property
    def jobs(self) -> tuple[Loop, ...]:
        """The loops cut among threads, outermost first: blocks of lanes, then tiles of m, then the rest."""
        blocks = tuple(x for x in self.outer if x.width > 1)
        return (*blocks, self.m.loop, *(x for x in self.outer if x.width == 1))

    def last_lane(self, m_size: int, n_size: int) -> Index:
        """The lane axis' value in the last lane of a tile."""
        assert self.lane_edge is not None
        last = {"tm": m_size - 1, "tn": n_size - 1, "lane": self.width - 1}
        index = self.lane_edge.index
        return index.substitute({a: last[a.name] for a in index.axes() if a.name in last})

    @property
    def arguments(self) -> tuple[str, ...]:
        """The code variables that locate a tile."""
        return (*(x.name for x in self.outer), self.m.loop.name, self.n.loop.name)


def plan_gemm(view: GemmView, schedule: GemmSchedule, inputs: Sequence[Placed], outputs: Sequence[Placed]) -> GemmPlan:
    """The plan of `view` under `schedule`; raises IRError where the two do not fit."""
    width = schedule.width
    lane_axis = next((a for a in view.axes if a.name == schedule.lanes), None)
    if schedule.lanes and lane_axis is None:
        raise IRError(f"the schedule puts axis {schedule.lanes} in the lanes, but the view has {_names(view.axes)}")
    lane = Axis("lane", width) if lane_axis else None
    values: dict[Axis, IndexLike] = {}
    lanes: dict[Axis, Axis] = {lane_axis: lane} if lane_axis and lane else {}

    def loop(axis: Axis, step: int = 1) -> Loop:
        rows = isinstance(axis.extent, Rows)
        if axis not in lanes:
            return Loop(f"{axis.name}0" if step > 1 else axis.name, int(axis.extent), step, rows)
        blocks = -(-int(axis.extent) // width)
        return Loop(f"{axis.name}_block", blocks, step, rows, width)

    def place(axis: Axis, variable: Index) -> None:
        values[axis] = variable * width + lanes[axis] if axis in lanes else variable

    def tile(axes: Sequence[Axis], wanted: tuple[str, int], variable: str) -> tuple[Tile, Axis | None]:
        axis = next((a for a in axes if a.name == wanted[0]), None)
        if axis is None:
            return Tile(variable, Loop(f"{variable}0", 1), 1), None
        found = loop(axis, wanted[1])
        place(axis, Index.of(Axis(found.name, max(found.extent, 2))) + Axis(variable, wanted[1]))
        return Tile(variable, found, wanted[1]), axis

    m, m_axis = tile(view.m, schedule.m_tile, TM)
    n, n_axis = tile(view.n, schedule.n_tile, TN)
    outer: list[Loop] = []
    for axis in (*view.batch, *view.m, *view.n):
        if axis in (m_axis, n_axis):
            continue
        found = loop(axis)
        place(axis, Index.of(Axis(found.name, found.extent)))
        if found.extent > 1:
            outer.append(found)
    sums: list[Loop] = []
    sum_block: Loop | None = None
    for axis in view.k:
        found = loop(axis)
        place(axis, Index.of(Axis(found.name, found.extent)))
        if axis in lanes:
            sum_block = found
        elif found.extent != 1:
            sums.append(found)

    edge_axes = frozenset({Axis(TM, m.size), Axis(TN, n.size)})
    scope = Scope(inputs, outputs, values, lane, lane_axis, edge_axes, lanes_summed=sum_block is not None)
    end = scope.axis_limit(lane_axis) if lane_axis and sum_block else None
    a, b = (_ended(scope.load(_factor(f)), end) for f in (view.a, view.b))
    hoisted = [c for t in (a, b) for c in t.always]
    loops, before = _guarded(sums, sum_block, hoisted)
    edges, steps, never = _edges(a, b, view)
    lane_edge = end or next((c for t in (a, b) for c in t.limits), None)

    reduced = sum_block is not None
    tail = Scope(inputs, outputs, values, None if reduced else lane, None if reduced else lane_axis, frozenset(),
                 frozenset() if reduced else frozenset({"acc"}))  # fmt: skip
    block = Block(tail)
    stored = block.terms([s.value for s in view.stores])
    targets = [tail.target(s) for s in view.stores]
    needs_lane = not reduced and lane_axis is not None and tail.axis_limit(lane_axis) is not None
    if (
        lane_edge is None
        and needs_lane
        and any(t.conditions for t in (*targets, *_all(stored), *_all([t for _, t in block.lets])))
        and lane_axis is not None
    ):
        lane_edge = tail.axis_limit(lane_axis)
    return GemmPlan(
        view=view, schedule=schedule, outer=tuple(outer), m=m, n=n, sum_loops=tuple(loops), sum_block=sum_block,
        before=tuple(before), a=_edges_only(a), b=_edges_only(b), edges=tuple(edges),
        step_edges=tuple(steps), lane_edge=lane_edge, never_inside=never,
        lets=tuple(block.lets), stores=tuple(zip(targets, stored)), reduced=reduced,
    )  # fmt: skip


def _factor(e: object) -> Load:
    if not isinstance(e, Load):
        raise IRError("a GEMM's factor must be a load; lower the prologue to a kernel of its own")
    return e


def _ended(t: Term, end: Condition | None) -> Term:
    """A factor that is 0 in lanes past the end of the sum, also where it is the same in all: 0 * inf is NaN."""
    return t if end is None or end in t.conditions else replace(t, vector=True, conditions=(*t.conditions, end))


def _names(axes: Sequence[Axis]) -> str:
    return ", ".join(a.name for a in axes)


def _edges_only(t: Term) -> Term:
    return replace(t, conditions=(*t.edges, *t.limits))


def _guarded(
    sums: Sequence[Loop], block: Loop | None, conditions: Sequence[Condition]
) -> tuple[list[Loop], list[Condition]]:
    """Each condition at the first loop that knows all its variables; those that need none come before."""
    known = {block.name} if block else set()
    inner = {x.name for x in sums}
    left = list(dict.fromkeys(conditions))
    before = [c for c in left if not inner.intersection(a.name for a in c.index.axes())]
    left = [c for c in left if c not in before]
    loops = []
    for x in sums:
        known.add(x.name)
        ready = [c for c in left if not (inner - known).intersection(a.name for a in c.index.axes())]
        left = [c for c in left if c not in ready]
        loops.append(replace(x, guards=tuple(ready)))
    return loops, before


def _edges(a: Term, b: Term, view: GemmView) -> tuple[list[Edge], list[Edge], bool]:
    """Where the guards that depend on the tile's own points hold for all of them.

    They are tested once a tile where that leaves most tiles inside, else (a weight gradient runs over every
    pixel) once a step of the sum. The third result: a guard is of a kind that has no inside.
    """
    tile = {TM, TN, "lane"}
    summed = {*(x.name for x in view.k), *(f"{x.name}_block" for x in view.k)}
    edges: list[Edge] = []
    steps: list[Edge] = []
    for c in dict.fromkeys(c for t in (a, b) for c in t.edges):
        assert not isinstance(c.hi, str)
        by_tile = _edge(c, tile | summed)
        if by_tile is not None and by_tile.greatest - by_tile.least <= (c.hi - c.lo) // 2:
            edges.append(by_tile)
        elif (by_step := _edge(c, tile)) is not None:
            steps.append(by_step)
        else:
            return [], [], True
    return edges, steps, False


def _edge(c: Condition, inner: set[str]) -> Edge | None:
    """The condition with its inner variables taken to their least and greatest values; None if they are
    entangled with outer ones in a division."""
    outer = Index()
    for atom, factor in c.index.terms:
        if isinstance(atom, Axis) and atom.name not in inner:
            outer = outer + Index(((atom, factor),))
    rest = c.index - outer
    if any(not isinstance(x, Axis) and {v.name for v in x.of.axes()} - inner for x, _ in rest.terms):
        return None
    assert not isinstance(c.hi, str)
    return Edge(outer, *rest.range(), c.lo, c.hi)


def _all(terms: Sequence[Term]) -> list[Term]:
    return [x for t in terms for x in (t, *_all(t.args))]
