"""Scalar expressions made ready for a template: each term knows whether it differs between lanes.

A load becomes a base offset plus a stride between lanes, with the conditions under which it may be done.
Conditions that hold in the interior of the iteration domain are marked, so that a kernel can have a fast
variant without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from convc.ir.index import Axis, Bound, Index, IndexLike, bounds
from convc.ir.scalar import (
    Binary,
    Const,
    IndexValue,
    Load,
    Local,
    Next,
    Random,
    RowCount,
    Scalar,
    Select,
    Store,
    Unary,
    walk,
)
from convc.ir.types import Rows, TensorType

DEEP = 24
"""Operations nested in one line of source, at most."""


@dataclass(frozen=True)
class Condition:
    """lo <= index < hi; `hi` may be the run's rows.

    `edge`: it can fail only at the domain's edge. `limit`: it is the end of the lanes' own axis, which can
    fail in the last block of lanes only.
    """

    index: Index
    lo: int
    hi: int | str
    by_lane: bool
    edge: bool
    limit: bool = False

    @property
    def contiguous(self) -> bool:
        """Whether it holds in consecutive lanes: the index grows by one from lane to lane."""
        return self.index.coefficient(next((a for a in self.index.axes() if a.name == "lane"), Axis("lane", 1))) == 1

    @property
    def first(self) -> Index:
        """The index in lane 0."""
        return without_lane(self.index)

    @property
    def check_lo(self) -> bool:
        return self.index.range()[0] < self.lo

    @property
    def check_hi(self) -> bool:
        return isinstance(self.hi, str) or self.index.range()[1] >= self.hi

    @property
    def exact(self) -> bool:
        return not isinstance(self.hi, str) and self.hi == self.lo + 1


@dataclass(frozen=True)
class Term:
    """One expression for a template. `vector`: it differs between lanes."""

    kind: str
    vector: bool
    args: tuple[Term, ...] = ()
    fn: str = ""
    number: float = 0.0
    name: str = ""
    index: Index = field(default_factory=Index)
    stride: int | None = 0
    conditions: tuple[Condition, ...] = ()
    padded: bool = False

    @property
    def cell(self) -> bool:
        """Whether it is an i32[] or comes after one: bound to a name it would be a float, and lose bits."""
        return self.kind == "next" or (
            self.kind == "load" and self.fn == "i32" and not self.index.terms and not self.conditions
        )

    @property
    def always(self) -> tuple[Condition, ...]:
        return tuple(c for c in self.conditions if not c.edge and not c.limit)

    @property
    def edges(self) -> tuple[Condition, ...]:
        return tuple(c for c in self.conditions if c.edge and not c.limit)

    @property
    def limits(self) -> tuple[Condition, ...]:
        return tuple(c for c in self.conditions if c.limit)

    @property
    def always_by_lane(self) -> bool:
        return any(c.by_lane for c in self.always)

    @property
    def edges_by_lane(self) -> bool:
        return any(c.by_lane for c in self.edges)

    @property
    def gathered(self) -> bool:
        """Whether the load visits each lane even in the interior."""
        return self.vector and (self.stride not in (0, 1) or self.always_by_lane)

    @property
    def base(self) -> Index:
        """The offset of lane 0."""
        return without_lane(self.index)


def without_lane(index: Index) -> Index:
    return index.substitute({a: 0 for a in index.axes() if a.name == "lane"})


@dataclass(frozen=True)
class Placed:
    """A tensor as a kernel sees it: its pointer's name and its type."""

    pointer: str
    type: TensorType


@dataclass
class Scope:
    """Where expressions are read: axes as expressions of code variables, tensors by operand number.

    `lane`: the lane axis variable, if any. `lane_axis`: the axis it is part of. `edge_axes`: variables
    along which a failing bound marks the edge of the domain rather than a case to test each time.
    """

    tensors: Sequence[Placed]
    outputs: Sequence[Placed]
    values: Mapping[Axis, IndexLike]
    lane: Axis | None = None
    lane_axis: Axis | None = None
    edge_axes: frozenset[Axis] = frozenset()
    vector_locals: frozenset[str] = frozenset()
    lanes_summed: bool = False

    def index(self, e: Index) -> Index:
        return e.substitute(self.values)

    def varies(self, e: Index) -> bool:
        return self.lane is not None and self.lane in e.axes()

    def lane_limit(self, coords: Sequence[Index], t: TensorType) -> Condition | None:
        """The bound that the last, partial block of lanes needs, unless the layout pads that far."""
        axis = self.lane_axis
        if axis is None or self.lane is None or not any(axis in c.axes() for c in coords):
            return None
        if self.pads(coords, t) and not self.lanes_summed:
            return None  # where lanes are summed, what a padding lane holds must not count: 0 * NaN is NaN
        return self.axis_limit(axis)

    def pads(self, coords: Sequence[Index], t: TensorType) -> bool:
        """Whether the layout has room for whole blocks of lanes, so that reading them all is safe."""
        if t.layout is None or t.layout.blocked is None or self.lane_axis is None or self.lane is None:
            return False
        return coords[t.layout.blocked] == Index.of(self.lane_axis) and t.layout.width % int(self.lane.extent) == 0

    def axis_limit(self, axis: Axis) -> Condition | None:
        """axis < its extent, for lanes beyond it; None where blocks of lanes divide the extent."""
        value = Index.of(self.values[axis])
        if isinstance(axis.extent, Rows):
            return Condition(value, 0, "rows", True, True, True)
        if int(axis.extent) % (self.lane.extent if self.lane else 1) == 0:
            return None
        return Condition(value, 0, int(axis.extent), True, True, True)

    def condition(self, b: Bound) -> Condition | None:
        inner = b.substitute(self.values)
        if b.always or inner.always:
            return None
        edge = bool(self.edge_axes.intersection(inner.index.axes())) or self.varies(inner.index)
        return Condition(inner.index, b.lo, b.hi, self.varies(inner.index), edge and bool(self.edge_axes))

    def load(self, e: Load) -> Term:
        tensor = self.tensors[e.operand]
        limits = [self.condition(b) for b in (*e.guards, *bounds(e.coords, tensor.type.shape))]
        conditions = [c for c in limits if c is not None]
        if (limit := self.lane_limit(e.coords, tensor.type)) is not None:
            conditions.append(limit)
        offset = self.index(tensor.type.offset(e.coords))
        vector = self.varies(offset) or any(c.by_lane for c in conditions)
        return Term("load", vector, name=tensor.pointer, index=offset, number=e.fill, fn=tensor.type.dtype,
                    stride=self.stride(offset), conditions=tuple(dict.fromkeys(conditions)),
                    padded=self.pads(e.coords, tensor.type))  # fmt: skip

    def stride(self, offset: Index) -> int | None:
        return 0 if self.lane is None else offset.coefficient(self.lane)

    def target(self, s: Store) -> Term:
        """The place a store writes to."""
        tensor = self.outputs[s.output]
        offset = self.index(tensor.type.offset(s.coords))
        limit = self.lane_limit(s.coords, tensor.type)
        return Term("target", self.varies(offset), name=tensor.pointer, index=offset, fn=tensor.type.dtype,
                    stride=self.stride(offset), conditions=(limit,) if limit else ())  # fmt: skip


@dataclass
class Block:
    """Terms of several expressions in order: shared subexpressions are bound to a name once, and so is every deep one,
    which leaves none that a template would have to go down too far for."""

    scope: Scope
    lets: list[tuple[str, Term]] = field(default_factory=list)
    prefix: str = "t"

    def terms(self, roots: Sequence[Scalar]) -> list[Term]:
        uses: dict[Scalar, int] = {}
        for e in dict.fromkeys(e for root in roots for e in walk(root)):
            for child in e.children():
                uses[child] = uses.get(child, 0) + 1
        for root in roots:
            uses[root] = uses.get(root, 0) + 1
        done: dict[Scalar, Term] = {}
        for root in roots:
            for e in walk(root):
                if e in done:
                    continue
                term = self._term(e, [done[c] for c in e.children()])
                shared = uses[e] > 1 and not isinstance(e, Const | Local | RowCount | IndexValue) and not term.cell
                if shared or e.depth % DEEP == 0:
                    name = f"{self.prefix}{len(self.lets)}"
                    self.lets.append((name, term))
                    term = Term("local", term.vector, name=name)
                done[e] = term
        return [done[r] for r in roots]

    def _term(self, e: Scalar, args: list[Term]) -> Term:
        vector = any(a.vector for a in args)
        match e:
            case Const(value):
                return Term("const", False, number=value)
            case Load():
                return self.scope.load(e)
            case Local(name):
                return Term("local", name in self.scope.vector_locals, name=f"{name}_value")
            case IndexValue(index):
                at = self.scope.index(index)
                return Term("index", self.scope.varies(at), index=at)
            case RowCount():
                return Term("rows", False)
            case Random(index, stream):
                at = self.scope.index(index)
                return Term("random", self.scope.varies(at), tuple(args), number=stream, index=at,
                            stride=self.scope.stride(at))  # fmt: skip
            case Next():
                return Term("next", False, tuple(args))
            case Unary(fn):
                return Term("unary", vector, tuple(args), fn)
            case Binary(fn):
                return Term("binary", vector, tuple(args), fn)
            case Select(fn):
                return Term("select", vector, tuple(args), fn)
        raise AssertionError(f"no term for {type(e).__name__}")
