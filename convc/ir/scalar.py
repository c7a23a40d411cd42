"""Scalar expressions: what a kernel computes for one point of its iteration domain.

Written once by an operator, evaluated by the interpreter and rendered by every target. Expressions are
frozen dataclasses that compare by structure, so shared subexpressions are found by equality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from convc.errors import IRError
from convc.ir.fields import same
from convc.ir.index import Axis, Bound, Index, IndexLike

UNARY = ("neg", "exp", "log", "expm1", "log1p", "tanh", "sqrt", "abs")
BINARY = ("add", "sub", "mul", "div", "max", "min")
COMPARE = ("gt", "ge", "lt", "le", "eq", "ne")
DEEPEST = 200
"""Operations that an expression may nest: walking through a deeper one could be the end of Python's own stack."""

C = TypeVar("C")


def _hashed_once(cls: type[C]) -> type[C]:
    """Class decorator: objects of a frozen class keep their hash."""
    plain = cls.__hash__

    def kept(self: C) -> int:
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = plain(self)
            object.__setattr__(self, "_hash", found)
        return found

    cls.__hash__ = kept  # type: ignore[assignment]
    return cls


@dataclass(frozen=True)
class Scalar:
    """Base of all scalar expressions, with Python's operators.

    `depth` counts the operations from here down to the deepest operand, this one too; `weight` counts all of them, an
    operand that is used twice counting twice. These and the hash are known from the start, so that neither a deep
    expression nor one that shares much costs more than it has operations.
    """

    depth: int = field(init=False, repr=False, compare=False)
    weight: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        children = self.children()
        object.__setattr__(self, "depth", 1 + max((c.depth for c in children), default=0))
        object.__setattr__(self, "weight", 1 + sum(c.weight for c in children))
        hash(self)

    def __reduce__(self) -> tuple[type[Scalar], tuple[Any, ...]]:
        """Made anew from its fields: a hash belongs to the process that it was taken in."""
        return type(self), tuple(getattr(self, f.name) for f in fields(self) if f.init)

    def __add__(self, other: ScalarLike) -> Scalar:
        return Binary("add", self, scalar(other))

    def __sub__(self, other: ScalarLike) -> Scalar:
        return Binary("sub", self, scalar(other))

    def __mul__(self, other: ScalarLike) -> Scalar:
        return Binary("mul", self, scalar(other))

    def __truediv__(self, other: ScalarLike) -> Scalar:
        return Binary("div", self, scalar(other))

    def __radd__(self, other: ScalarLike) -> Scalar:
        return Binary("add", scalar(other), self)

    def __rsub__(self, other: ScalarLike) -> Scalar:
        return Binary("sub", scalar(other), self)

    def __rmul__(self, other: ScalarLike) -> Scalar:
        return Binary("mul", scalar(other), self)

    def __rtruediv__(self, other: ScalarLike) -> Scalar:
        return Binary("div", scalar(other), self)

    def __neg__(self) -> Scalar:
        return Unary("neg", self)

    def children(self) -> tuple[Scalar, ...]:
        return ()

    def rebuild(self, children: Sequence[Scalar]) -> Scalar:
        return self


ScalarLike = Scalar | float | int


def scalar(value: ScalarLike) -> Scalar:
    return value if isinstance(value, Scalar) else Const(float(value))


@_hashed_once
@dataclass(frozen=True)
class Const(Scalar):
    value: float

    def __eq__(self, other: object) -> bool:
        """0.0 and -0.0 are different numbers."""
        return isinstance(other, Const) and same(self.value, other.value)


@_hashed_once
@dataclass(frozen=True)
class Load(Scalar):
    """Operand number `operand` at logical `coords`; `fill` where a coordinate is outside or a guard fails."""

    operand: int
    coords: tuple[Index, ...] = ()
    guards: tuple[Bound, ...] = ()
    fill: float = 0.0


@_hashed_once
@dataclass(frozen=True)
class Local(Scalar):
    """The result of an earlier stage of the same kernel, or `acc`, a GEMM's sum."""

    name: str


@_hashed_once
@dataclass(frozen=True)
class IndexValue(Scalar):
    """An index expression as a number (i32)."""

    index: Index


@_hashed_once
@dataclass(frozen=True)
class RowCount(Scalar):
    """n, the number of batch rows of this run."""


@_hashed_once
@dataclass(frozen=True)
class Random(Scalar):
    """A number uniform in [0, 1), a multiple of 2^-24: Philox at counter `index`, see convc.ir.philox.

    `seed` and `step` are loads of i32[] operands, whose 32 bits are read as they are, or whole constants;
    `stream`, 0 <= stream < 2^32, tells apart the places of one program that draw at the same index.
    """

    index: Index
    stream: int
    seed: Scalar
    step: Scalar

    def children(self) -> tuple[Scalar, ...]:
        return (self.seed, self.step)

    def rebuild(self, children: Sequence[Scalar]) -> Scalar:
        return Random(self.index, self.stream, *children)


LAST_WHOLE = 2**31 - 1
"""The greatest i32."""


@_hashed_once
@dataclass(frozen=True)
class Next(Scalar):
    """The whole number after `x`, a load of an i32[] operand; after the last there is none, and it stays.

    It is exact, as the numbers of all other expressions, which are f32, are not: all that can be done with it is to
    store it in an i32.
    """

    x: Scalar

    def children(self) -> tuple[Scalar, ...]:
        return (self.x,)

    def rebuild(self, children: Sequence[Scalar]) -> Scalar:
        return Next(*children)


@_hashed_once
@dataclass(frozen=True)
class Unary(Scalar):
    fn: str
    x: Scalar

    def children(self) -> tuple[Scalar, ...]:
        return (self.x,)

    def rebuild(self, children: Sequence[Scalar]) -> Scalar:
        return Unary(self.fn, *children)


@_hashed_once
@dataclass(frozen=True)
class Binary(Scalar):
    fn: str
    x: Scalar
    y: Scalar

    def children(self) -> tuple[Scalar, ...]:
        return (self.x, self.y)

    def rebuild(self, children: Sequence[Scalar]) -> Scalar:
        return Binary(self.fn, *children)


@_hashed_once
@dataclass(frozen=True)
class Select(Scalar):
    """`then` where compare(a, b) holds, else `otherwise`; only the chosen one counts (0 * NaN never arises)."""

    fn: str
    a: Scalar
    b: Scalar
    then: Scalar
    otherwise: Scalar

    def children(self) -> tuple[Scalar, ...]:
        return (self.a, self.b, self.then, self.otherwise)

    def rebuild(self, children: Sequence[Scalar]) -> Scalar:
        return Select(self.fn, *children)


@dataclass(frozen=True)
class Store:
    """Output number `output` at logical `coords` becomes `value`."""

    output: int
    coords: tuple[Index, ...]
    value: Scalar


def load(operand: int, *coords: IndexLike, guards: Sequence[Bound] = (), fill: float = 0.0) -> Load:
    return Load(operand, tuple(Index.of(c) for c in coords), tuple(g for g in guards if not g.always), fill)


def store(output: int, coords: Sequence[IndexLike], value: ScalarLike) -> Store:
    return Store(output, tuple(Index.of(c) for c in coords), scalar(value))


def exp(x: Scalar) -> Scalar:
    return Unary("exp", x)


def maximum(x: Scalar, y: ScalarLike) -> Scalar:
    return Binary("max", x, scalar(y))


def select(fn: str, a: ScalarLike, b: ScalarLike, then: ScalarLike, otherwise: ScalarLike) -> Scalar:
    if fn not in COMPARE:
        raise IRError(f"unknown comparison '{fn}'; known are {', '.join(COMPARE)}")
    return Select(fn, scalar(a), scalar(b), scalar(then), scalar(otherwise))


def walk(root: Scalar) -> Iterator[Scalar]:
    """Every subexpression once, operands before their users."""
    seen: dict[Scalar, None] = {}
    stack: list[tuple[Scalar, bool]] = [(root, False)]
    while stack:
        e, done = stack.pop()
        if e in seen:
            continue
        if done:
            seen[e] = None
            yield e
            continue
        stack.append((e, True))
        stack.extend((c, False) for c in reversed(e.children()))


def rewrite(root: Scalar, fn: Callable[[Scalar], Scalar]) -> Scalar:
    """Bottom-up: `fn` sees every subexpression after its operands were rewritten."""
    done: dict[Scalar, Scalar] = {}
    for e in walk(root):
        children = e.children()
        new = [done[c] for c in children]
        done[e] = fn(e if all(a is b for a, b in zip(new, children)) else e.rebuild(new))
    return done[root]


def substitute_axes(root: Scalar, values: Mapping[Axis, IndexLike]) -> Scalar:
    """Axes replaced by expressions in every load, index value and random number."""

    def change(e: Scalar) -> Scalar:
        if isinstance(e, Load):
            coords = tuple(c.substitute(values) for c in e.coords)
            new = load(e.operand, *coords, guards=[g.substitute(values) for g in e.guards], fill=e.fill)
            return e if new == e else new
        if isinstance(e, Random):
            return Random(e.index.substitute(values).linear(), e.stream, e.seed, e.step)
        return IndexValue(e.index.substitute(values)) if isinstance(e, IndexValue) else e

    return rewrite(root, change)


def loads(*roots: Scalar) -> tuple[Load, ...]:
    return tuple(dict.fromkeys(e for r in roots for e in walk(r) if isinstance(e, Load)))
