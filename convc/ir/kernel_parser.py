"""Reads kernel bodies: GEMM phases, loop nests and their schedules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from convc.ir.expression_parser import Scope, parse_coords, parse_scalar
from convc.ir.fields import fit, hints
from convc.ir.gemm_view import ACC, GemmView
from convc.ir.index import Axis
from convc.ir.kernels import (
    AnyGemmSchedule,
    AnyLoopSchedule,
    BlockTile,
    GemmSchedule,
    LoopSchedule,
    TeamSchedule,
    TransposeSchedule,
)
from convc.ir.lexer import Cursor, did_you_mean
from convc.ir.loop_nest import MONOIDS, LoopNest, Map, Reduce, Stage
from convc.ir.printer import KEYWORDS
from convc.ir.scalar import Scalar, Store
from convc.ir.type_parser import parse_extent


def parse_phases(c: Cursor) -> tuple[tuple[GemmView, ...], tuple[AnyGemmSchedule, ...]]:
    """`phase {..} phase {..}`, with a schedule in every phase or in none."""
    phases: list[GemmView] = []
    schedules: list[AnyGemmSchedule] = []
    while c.looking_at("phase"):
        start = c.pos
        view, schedule = _phase(c)
        if (schedule is not None) != (len(schedules) == len(phases)) and phases:
            raise c.error("a gemm has a schedule in every phase or in none; add or delete one", start)
        phases.append(view)
        schedules += [schedule] if schedule else []
    return tuple(phases), tuple(schedules)


def _phase(c: Cursor) -> tuple[GemmView, AnyGemmSchedule | None]:
    """`phase { batch(..) m(..) n(..) k(..)  a = ..  b = ..  store ..  schedule {..} }`"""
    c.expect("phase", "in the gemm")
    opened = c.open("{", "of the phase")
    names: dict[str, Axis] = {}
    batch, m, n, k = (_dimension(c, dim, names) for dim in ("batch", "m", "n", "k"))
    a = _named_factor(c, "a", (*batch, *m, *k))
    b = _named_factor(c, "b", (*batch, *n, *k))
    stores = _stores(c, _scope((*batch, *m, *n), {ACC.name}))
    schedule = _schedule(c, (GemmSchedule, BlockTile))
    c.close("}", opened, "at the end of the phase")
    return GemmView(batch, m, n, k, a, b, stores), schedule


def _dimension(c: Cursor, dim: str, names: dict[str, Axis]) -> tuple[Axis, ...]:
    c.expect(dim, "and its axes: a phase starts with batch(..) m(..) n(..) k(..)")
    axes = _axes(c, names)
    names |= {axis.name: axis for axis in axes}
    return axes


def _named_factor(c: Cursor, name: str, axes: Iterable[Axis]) -> Scalar:
    c.expect(name, "and its value: a phase says 'a = ..', then 'b = ..'")
    c.expect("=", f"after '{name}'")
    return parse_scalar(c, _scope(axes))


def parse_loops(c: Cursor) -> tuple[LoopNest, AnyLoopSchedule | None]:
    """`for(..)  reduce(..) ..  map(..) {..}  schedule {..}`"""
    start = c.pos
    c.expect("for", "and the outer axes of the loop nest")
    outer = _axes(c, {})
    known: set[str] = set()
    stages: list[Stage] = []
    while keyword := c.accept("reduce", "map"):
        axes = _axes(c, {a.name: a for a in outer})
        scope = _scope((*outer, *axes), known)
        stages.append(_map(c, axes, scope) if keyword == "map" else _reduce(c, axes, scope, known))
    nest = c.attempt(start, LoopNest, outer, tuple(stages))
    return nest, _schedule(c, (LoopSchedule, TeamSchedule, TransposeSchedule))


def _map(c: Cursor, axes: tuple[Axis, ...], scope: Scope) -> Map:
    opened = c.open("{", "and the stores of the map")
    stores = _stores(c, scope)
    c.close("}", opened, "or 'store' in the map")
    return Map(axes, stores)


def _reduce(c: Cursor, axes: tuple[Axis, ...], scope: Scope, known: set[str]) -> Reduce:
    """The results are added to `known`."""
    start = c.pos
    results: list[str] = []
    while not results or c.accept(","):
        at = c.pos
        name = _new_name(c, "a result")
        if name in known:
            raise c.error(f"result '{name}' is defined twice in this nest; rename one", at)
        results.append(name)
        known.add(name)
    c.expect("=", "after the results")
    at = c.pos
    monoid = c.word("a monoid")
    if monoid not in MONOIDS:
        raise c.error(f"unknown monoid '{monoid}'{did_you_mean(monoid, MONOIDS)}", at)
    values = [parse_scalar(c, scope) for _ in c.items("(", ")", f"in {monoid}")]
    return c.attempt(start, Reduce, axes, monoid, tuple(results), tuple(values))


def _schedule(c: Cursor, kinds: tuple[type[Any], ...]) -> Any:
    """`schedule {lanes=n, width=16}`, or None where there is none. The first setting tells the kind of machine."""
    start = c.pos
    if not c.accept("schedule"):
        return None
    settings: dict[str, Any] = {}
    known = {name: cls for cls in reversed(kinds) for name in hints(cls)}
    cls = kinds[0]
    for at in c.items("{", "}", "in the schedule"):
        name = c.word("a setting")
        cls = known.get(name, cls) if not settings else cls
        if name not in hints(cls):
            names = hints(cls) if settings else known
            raise c.error(f"a schedule has no setting '{name}'{did_you_mean(name, names)}", at)
        if name in settings:
            raise c.error(f"the schedule sets '{name}' twice; keep one", at)
        c.expect("=", f"after '{name}'")
        settings[name] = c.attempt(at, fit, cls, name, _setting(c))
    if missing := [f.name for f in fields(cls) if f.default is MISSING and f.name not in settings]:
        raise c.error(f"the schedule lacks {', '.join(missing)}; add it", start)
    return c.attempt(start, cls, **settings)


def _setting(c: Cursor) -> Any:
    """An integer, an axis (`none` for no axis), or an axis with a count of points, `k:6`."""
    if not c.peek_word():
        return c.integer("an axis or an integer")
    word = c.word("an axis")
    axis = None if word == "none" else word
    return (axis or "", c.integer("a number of points")) if c.accept(":") else axis


def _axes(c: Cursor, taken: Mapping[str, Axis]) -> tuple[Axis, ...]:
    """`(n:n<=64, c:6)`; `taken` are the names that are visible already."""
    found: dict[str, Axis] = {}
    for at in c.items("(", ")", "in the axes"):
        name = _new_name(c, "an axis")
        if name in found or name in taken:
            raise c.error(f"axis '{name}' is declared twice; rename one", at)
        c.expect(":", f"and the extent of axis '{name}'")
        found[name] = Axis(name, parse_extent(c))
    return tuple(found.values())


def _new_name(c: Cursor, what: str) -> str:
    at = c.pos
    name = c.word(f"{what}'s name")
    if name in KEYWORDS:
        raise c.error(f"'{name}' is a keyword and cannot name {what}; use another name", at)
    return name


def _scope(axes: Iterable[Axis], known: Iterable[str] = ()) -> Scope:
    return Scope({a.name: a for a in axes}, frozenset(known))


def _stores(c: Cursor, scope: Scope) -> tuple[Store, ...]:
    stores: list[Store] = []
    while c.accept("store"):
        output = c.integer("an output's number")
        opened = c.open("[", "and the coordinates of the store")
        coords = parse_coords(c, scope)
        c.close("]", opened, "or ',' in the coordinates")
        c.expect("=", "and the value of the store")
        stores.append(Store(output, coords, parse_scalar(c, scope)))
        c.accept(";")
    return tuple(stores)
