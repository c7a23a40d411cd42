"""Hints: how good draws of some operators are made likelier. One for a class serves its subclasses.

An operator without a hint is drawn all the same, from its fields' types and `infer` alone. A hint gives the operator
and its operands, or None; what does not pass `infer` is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from convc.ir.core import OPS, Op, Value, checked_infer
from convc.ir.ops.clip import ClipScale, Hypot, Norm
from convc.ir.ops.contract import Contract, Linear
from convc.ir.ops.conv import Conv2d
from convc.ir.ops.fused import Fused, Step
from convc.ir.ops.loss import CrossEntropy, CrossEntropyGrad, Labelled, Mse
from convc.ir.ops.optim import Update
from convc.ir.ops.pointwise import Add, BiasAdd, Mul, Pointwise
from convc.ir.ops.reduce import Broadcast, Full, Sum
from convc.ir.ops.shape import Relayout, Reshape
from convc.ir.types import Layout, Rows, TensorType
from convc.testing.fuzz.attributes import draw_attributes
from convc.testing.fuzz.draw import CONSTANTS, Applied, Drawing

Hint = Callable[[Drawing, Any], Applied | None]
HINTS: dict[type[Op], Hint] = {}


def hint(*classes: type[Op]) -> Callable[[Hint], Hint]:
    def register(function: Hint) -> Hint:
        HINTS.update(dict.fromkeys(classes, function))
        return function

    return register


def hint_for(cls: type[Op]) -> Hint | None:
    return next((HINTS[c] for c in cls.__mro__ if c in HINTS), None)


@hint(Conv2d)
def conv2d(d: Drawing, cls: type[Op]) -> Applied | None:
    """A convolution whose filters fit: x [N, C, H, W], w [K, C/groups, R, S]."""
    rng, x = d.rng, d.value(lambda t: t.rank == 4)
    x = x or d.fresh(d.new_type(4))
    c = int(x.type.shape[1])
    groups = rng.choice([g for g in range(1, c + 1) if c % g == 0]) if rng.random() < 0.4 else 1
    w = TensorType(x.type.dtype, (groups * rng.randint(1, 4), c // groups, rng.randint(1, 4), rng.randint(1, 4)))
    op = Conv2d(
        stride=(rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 3))),
        padding=tuple(rng.choice((0, 0, 1, 2, 3)) for _ in range(rng.choice((2, 2, 4)))),
        dilation=(rng.choice((1, 1, 1, 2, 3)), rng.choice((1, 1, 1, 2, 3))),
        groups=groups,
    )
    return op, (x, d.like(w))


@hint(Linear)
def linear(d: Drawing, cls: type[Op]) -> Applied | None:
    x = d.value(lambda t: t.rank == 2) or d.fresh(d.new_type(2))
    return Linear(), (x, d.like(TensorType(x.type.dtype, (d.extent(), int(x.type.shape[1])))))


@hint(Contract)
def contract(d: Drawing, cls: type[Op]) -> Applied | None:
    """Each letter of x is kept, summed or, with y's, both; y has letters of its own."""
    rng, x = d.rng, d.value(lambda t: t.rank > 0)
    if x is None or x.type.rank > 5:
        return None
    letters = "abcde"[: x.type.rank]
    extents = dict(zip(letters, x.type.shape)) | {"y": d.extent(), "z": d.extent()}
    shared = [a for a in letters if rng.random() < 0.5]
    own = rng.choice(("", "y", "yz"))
    summed = {a for a in shared if rng.random() < 0.7}
    second = rng.sample([*shared, *own], len(shared) + len(own))
    out = [a for a in (*letters, *own) if a not in summed]
    if not second:
        return None
    rng.shuffle(out)
    for term in (second, out):  # rows stay in front
        term.sort(key=lambda a: not isinstance(extents[a], Rows))
    y = TensorType(x.type.dtype, tuple(extents[a] for a in second))
    return Contract(f"{letters},{''.join(second)}->{''.join(out)}"), (x, d.like(y))


@hint(BiasAdd)
def bias_add(d: Drawing, cls: type[Op]) -> Applied | None:
    x = d.value(lambda t: t.rank > 0)
    if x is None:
        return None
    axis = d.rng.randrange(x.type.rank)
    return BiasAdd(axis), (x, d.like(TensorType(x.type.dtype, (x.type.shape[axis],))))


@hint(Add, Mul, Hypot, ClipScale)
def with_constant(d: Drawing, cls: type[Op]) -> Applied | None:
    """With a constant of the same type or of none, or with any other value."""
    x = d.value(lambda t: t.dtype == "f32")
    if x is None:
        return None
    t = d.rng.choice((x.type.logical(), x.type.logical(), TensorType(x.type.dtype, ())))
    other = d.constant(t) if d.rng.random() < 0.4 else None
    return cls(), (x, other or d.like(t))


@hint(Sum, Norm)
def summed(d: Drawing, cls: type[Sum | Norm]) -> Applied | None:
    x = d.value(lambda t: t.rank > 0)
    if x is None:
        return None
    axes = tuple(a for a in range(x.type.rank) if d.rng.random() < 0.5)
    return Sum(axes, d.rng.random() < 0.5) if issubclass(cls, Sum) else cls(axes), (x,)


@hint(Broadcast)
def broadcast(d: Drawing, cls: type[Op]) -> Applied | None:
    """New axes between the operand's."""
    y = d.value(lambda t: t.rank < 4)
    if y is None:
        return None
    shape = list(y.type.shape)
    axes: list[int] = []
    for _ in range(d.rng.randint(1, 4 - len(shape))):
        at = d.rng.randint(1 if y.type.rows is not None else 0, len(shape))
        axes = sorted([*(a + (a >= at) for a in axes), at])
        shape.insert(at, d.batch if at == 0 and d.rng.random() < 0.7 else d.extent())
    result = TensorType(y.type.dtype, tuple(int(e) if i else e for i, e in enumerate(shape)))
    return Broadcast(tuple(axes), d.rng.random() < 0.3, result=result), (y,)


@hint(Full)
def full(d: Drawing, cls: type[Op]) -> Applied | None:
    t = d.new_type()
    value = d.rng.choice(CONSTANTS)
    return Full(value if t.dtype in ("f32", "f64") else abs(round(value)) % 100 * 1.0, result=t), ()


@hint(Reshape)
def reshape(d: Drawing, cls: type[Op]) -> Applied | None:
    """The elements after the rows shared out anew among one to four axes."""
    x = d.value(lambda t: t.layout is None)
    if x is None:
        return None
    shape = list(x.type.shape)
    kept = [shape.pop(0)] if shape and (x.type.rows is not None or d.rng.random() < 0.6) else []
    left, sides = prod(int(e) for e in shape), []
    for _ in range(d.rng.randint(0, 3)):
        sides.append(d.rng.choice([k for k in range(1, left + 1) if left % k == 0]))
        left //= sides[-1]
    return Reshape(result=TensorType(x.type.dtype, (*kept, *sides, left))), (x,)


@hint(Relayout)
def relayout(d: Drawing, cls: type[Op]) -> Applied | None:
    x = d.value(lambda t: 0 < t.rank <= 5)
    if x is None:
        return None
    if x.type.layout is not None and d.rng.random() < 0.7:
        return Relayout(result=x.type.logical()), (x,)
    order = list(range(x.type.rank))
    if d.rng.random() < 0.6:
        d.rng.shuffle(order)
    blocked = d.rng.choice((None, 0, 0, *range(x.type.rank)))
    layout = Layout(tuple(order), blocked, 1 if blocked is None else d.rng.choice((2, 4, 8, 16)))
    return Relayout(result=x.type.logical().with_layout(layout)), (x,)


@hint(Fused)
def fused(d: Drawing, cls: type[Op]) -> Applied | None:
    """An anchor and one to three steps, each reading the one before and, where it has two operands, any other."""
    drawn = conv2d(d, Conv2d) if d.rng.random() < 0.6 else linear(d, Linear)
    assert drawn is not None
    anchor, operands = drawn[0], list(drawn[1])
    (last,) = checked_infer(anchor, [v.type for v in operands])
    steps: list[tuple[Op, list[Value | int]]] = []
    pointwise = [c for c in OPS.values() if issubclass(c, Pointwise)]
    for number in range(d.rng.randint(1, 3)):
        cls = d.rng.choice(pointwise)
        op = cls(**draw_attributes(cls, d.rng, lambda: last))
        others = _other_operands(d, op, last)
        steps.append((op, [number, *others]))
    values = [v for _, reads in steps for v in reads if isinstance(v, Value)]
    operands += dict.fromkeys(v for v in values if v not in operands)
    numbers = {v: i for i, v in enumerate(operands)}
    first = len(operands)
    written = [Step(op, tuple(numbers[v] if isinstance(v, Value) else first + v for v in reads)) for op, reads in steps]
    return Fused(anchor, tuple(written)), operands


def _other_operands(d: Drawing, op: Op, t: TensorType) -> list[Value]:
    """What a pointwise operator reads beside a first operand of type t: as many as pass `infer`."""
    sizes = [(), (t,), (TensorType(t.dtype, t.shape[1:2]),), (TensorType("i32", ()),) * 2]
    for types in d.rng.sample(sizes, len(sizes)):
        try:
            op.infer(t, *types)
        except Exception:  # a wrong number of operands is a TypeError
            continue
        return [d.like(other) for other in types]
    return []


@hint(Labelled)
def labelled(d: Drawing, cls: type[Op]) -> Applied | None:
    """Labels are an input: only so are they in range."""
    z = d.value(lambda t: t.rank == 2) or d.fresh(d.new_type(2, "f32"))
    labels = d.fresh(TensorType("i32", z.type.shape[:1]), "data", "labels")
    operands = (z, labels)
    if issubclass(cls, CrossEntropyGrad):
        return cls(), (d.like(TensorType(z.type.dtype, z.type.shape[:1])), *operands)
    return cls(), operands


@hint(Update)
def update(d: Drawing, cls: type[Update]) -> Applied | None:
    """State is an input in [0, 1), as second moments are; the scalars are run-time numbers."""
    w = d.value(lambda t: t.dtype == "f32" and t.rows is None)
    w = w or d.fresh(TensorType("f32", (d.extent(), d.extent())), "parameter")
    t = w.type.logical()
    state = [d.fresh(t, "state", f"s{d.number()}.{name}") for name in cls.state]
    scalars = [
        d.fresh(TensorType("i32" if name in cls.counts else "f32", ()), "scalar", f"r{d.number()}.{name}")
        for name in cls.scalars
    ]
    return cls(**draw_attributes(cls, d.rng, lambda: t)), (w, d.like(t), *state, *scalars)


def draw_loss(d: Drawing) -> Value | None:
    """The sum of losses of up to three values that nobody reads."""
    ends = [v for v in d.leaves() if v.type.dtype == "f32"]
    parts = [_loss(d, v) for v in d.rng.sample(ends, min(3, len(ends)))]
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = d.builder(Add(), total, part)
    return total


def _loss(d: Drawing, v: Value) -> Value:
    t = v.type
    if t.rank == 2 and d.rng.random() < 0.5:
        labels = d.fresh(TensorType("i32", t.shape[:1]), "data", "labels")
        v = d.builder(CrossEntropy(), v, labels)
    elif d.rng.random() < 0.3:
        return d.builder(Mse(), v, d.fresh(t.logical(), "data"))
    return d.builder(Sum(tuple(range(v.type.rank)), d.rng.random() < 0.8), v) if v.type.rank else v
