"""Draws graphs: operators from the registry, attributes from their fields' types, operands by trying `infer`.

A newly registered operator is drawn with nothing else to do. Gradient operators come from `vjp`, applied to nodes
that were drawn before; kernels from `lower`. `convc.testing.fuzz.hints` makes good draws of some operators likelier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, TypeVar

from convc.errors import IRError
from convc.ir.core import OPS, Builder, Graph, Node, Op, Role, Value, checked_infer
from convc.ir.kernels import KernelOp
from convc.ir.ops.reduce import Full
from convc.ir.ops.shape import Relayout
from convc.ir.types import Rows, TensorType
from convc.ir.verify import verify
from convc.testing.fuzz.attributes import draw_attributes

EXTENTS = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 33)
CONSTANTS = (*(0.0, -0.0) * 4, 1.0, 1.0, -1.0, 0.5, 0.1, 3.0, 1e-30, 1e30, -1e30, 16777216.0)
MOST_ELEMENTS = 4000
MOST_NODES = 30
MOST_TRAINED = 12
"""Nodes before the loss; differentiation makes them three times as many."""
TRIES = 12
T = TypeVar("T")
Applied = tuple[Op, Sequence[Value]]


class Drawing:
    """A graph in the making. `differentiable`: only operators with a gradient, so that a loss can end it."""

    def __init__(self, rng: Random, size: int, differentiable: bool = False) -> None:
        self.rng = rng
        self.size = size
        self.differentiable = differentiable
        self.batch: int = Rows(rng.randint(1, 20)) if rng.random() < 0.7 else rng.choice((1, 2, 3, 5))
        self.palette = [rng.choice(EXTENTS) for _ in range(4)]
        self.names = drawable(differentiable)
        if rng.random() < 0.5:  # few operators meet more often
            self.names = rng.sample(self.names, rng.randint(3, 8))
        self.mixed = rng.random() < 0.15  # dtypes beyond f32
        self.builder = Builder()
        self.numbers = count()
        self.inputs: list[Value] = []
        self.roles: dict[str, Role] = {}
        self.values: list[Value] = []
        for _ in range(rng.randint(1, 3)):
            self.fresh(self.new_type())

    # Types and values

    def extent(self) -> int:
        return self.rng.choice(self.palette)

    def dtype(self) -> str:
        return "i32" if self.mixed and self.rng.random() < 0.4 else "f32"

    def new_type(self, rank: int | None = None, dtype: str | None = None) -> TensorType:
        """A type of few elements; axis 0 is mostly the batch."""
        rng = self.rng
        rank = rng.choice((4, 4, 4, 4, 2, 2, 2, 1, 3, 0, 5)) if rank is None else rank
        while True:
            first = [self.batch if rng.random() < 0.8 else self.extent()] if rank else []
            shape = (*first, *(self.extent() for _ in range(rank - 1)))
            found = TensorType(dtype or self.dtype(), shape)
            if found.elements <= MOST_ELEMENTS:
                return found
            self.palette = [max(1, e - 1) for e in self.palette]

    def fresh(self, t: TensorType, role: Role | None = None, name: str = "") -> Value:
        """A new input. Rows are data; what has none may be anything that its rank allows."""
        if role is None:
            role = self._role(t)
        value = Value(self.builder.fresh(name or ("x" if role == "data" else role[0])), t.logical())
        self.inputs.append(value)
        self.values.append(value)
        if role != "data":
            self.roles[value.name] = role
        return value

    def _role(self, t: TensorType) -> Role:
        if t.rows is not None:
            return "data"
        roles: tuple[Role, ...] = ("data", "data", "parameter", "parameter", "state", "constant")
        if t.rank == 0:
            roles = ("data", "scalar", "scalar", "constant", "parameter")
        if t.dtype not in ("f32", "f64"):
            roles = ("data", "scalar") if t.rank == 0 else ("data",)
        if self.differentiable and t.dtype == "f32" and t.rank:
            roles = ("parameter", "parameter", "parameter", "data")
        return self.rng.choice(roles)

    def value(self, accept: Callable[[TensorType], bool] = lambda t: True) -> Value | None:
        """A value there is whose type is accepted, mostly a recent one."""
        found = [v for v in self.values if accept(v.type)]
        if not found:
            return None
        return self.rng.choice(found[-4:] if self.rng.random() < 0.6 else found)

    def like(self, t: TensorType, role: Role | None = None) -> Value:
        """A value of the type: one there is, a constant, or an input."""
        if role is None and self.rng.random() < 0.1 and (constant := self.constant(t)):
            return constant
        found = self.value(lambda other: other == t)
        return found if found is not None and self.rng.random() < 0.75 else self.fresh(t, role)

    def constant(self, t: TensorType) -> Value | None:
        """A constant of the type; simplification looks for neutral ones."""
        made = self._append(Full(self.rng.choice(CONSTANTS), result=t), ()) if t.dtype == "f32" else None
        return made[0] if made else None

    def beside(self, t: TensorType) -> TensorType:
        """A type such as an operand beside one of type `t` may have."""
        choices = [t.logical()] * 6 + [TensorType(t.dtype, ()), TensorType("i32", ()), TensorType("i32", t.shape)]
        choices += [TensorType("i32", t.shape[:1]), self.new_type()]
        if t.rank > 1:
            choices.append(TensorType(t.dtype, (int(t.shape[1]),)))
        return self.rng.choice(choices)

    def number(self) -> int:
        """One that no name of this drawing has."""
        return next(self.numbers)

    # Nodes

    def attempt(self, draw: Callable[[], T | None]) -> T | None:
        """What `draw` gives; where it gives nothing or breaks a rule, all that it added is gone."""
        nodes, inputs, values = len(self.builder.nodes), len(self.inputs), len(self.values)
        try:
            found = draw()
        except IRError:
            found = None
        if found is None:
            del self.builder.nodes[nodes:], self.inputs[inputs:], self.values[values:]
            kept = {v.name for v in self.inputs}
            self.roles = {name: role for name, role in self.roles.items() if name in kept}
        return found

    def node(self, cls: type[Op]) -> tuple[Value, ...] | None:
        """A node of that operator, its results appended to the values."""
        from convc.testing.fuzz.hints import hint_for  # the hints draw with this class

        hint = hint_for(cls)

        def draw() -> tuple[Value, ...] | None:
            applied = hint(self, cls) if hint is not None and self.rng.random() < 0.9 else self._any(cls)
            if applied is None:
                return None
            op, operands = applied
            return self._append(op.augmented() if self.rng.random() < 0.6 else op, operands)

        for _ in range(TRIES):
            if found := self.attempt(draw):
                return found
        return None

    def _append(self, op: Op, operands: Sequence[Value]) -> tuple[Value, ...] | None:
        types = checked_infer(op, [v.type for v in operands])
        if sum(t.elements for t in types) > MOST_ELEMENTS or len(self.builder.nodes) >= MOST_NODES:
            return None
        outputs = self.builder.many(op, *operands)
        self.values += outputs
        return outputs

    def _any(self, cls: type[Op]) -> Applied | None:
        """The operator with attributes of the right kinds, applied to as many values as `infer` takes."""
        rank = self.rng.choice((None, None, 4, 4, 4, 0))  # images are what most operators ask for
        first = self.value(lambda t: rank in (None, t.rank)) or self.fresh(self.new_type(rank))
        op = cls(**draw_attributes(cls, self.rng, lambda: self.beside(first.type)))
        if first.type.dtype not in _dtypes(op, 0):
            first = self.like(TensorType(self.rng.choice(_dtypes(op, 0)), first.type.shape))
        names = op.operands()
        arity = self.rng.randint(1, 6) if names is None else len(names)
        rest = [self.beside(first.type) for _ in range(arity - 1)]
        known = [_dtypes(op, i) for i in range(1, len(rest) + 1)]
        fitting = [t if t.dtype in d else TensorType(self.rng.choice(d), t.shape) for t, d in zip(rest, known)]
        return op, [first, *map(self.like, fitting)][:arity]

    def gradient(self) -> tuple[Value, ...] | None:
        """The gradient nodes of a node there is, from gradients that are values there are or inputs."""
        nodes = [n for n in self.builder.nodes if has_gradient(type(n.op)) and n.op == n.op.augmented()]
        if not nodes:
            return None
        name = self.rng.choice(sorted({n.op.name for n in nodes}))
        node = self.rng.choice([n for n in nodes if n.op.name == name])

        def draw() -> tuple[Value, ...] | None:
            before = len(self.builder.nodes)
            grads = [self.like(v.type.logical()) if v.type.dtype == "f32" else None for v in node.outputs]
            if grads[0] is None:
                return None
            node.op.vjp(self.builder, node, grads)
            made = tuple(v for n in self.builder.nodes[before:] for v in n.outputs)
            if not made or sum(v.type.elements for v in made) > 3 * MOST_ELEMENTS:
                return None
            self.values += made
            return made

        return self.attempt(draw)

    def grow(self) -> None:
        """Nodes up to the size that was asked for."""
        failures = 0
        while len(self.builder.nodes) < self.size and failures < 40:
            gradient = not self.differentiable and self.builder.nodes and self.rng.random() < 0.35
            made = self.gradient() if gradient else self.node(OPS[self.rng.choice(self.names)])
            failures = 0 if made else failures + 1

    # Graphs

    def leaves(self) -> list[Value]:
        read = {v for n in self.builder.nodes for v in n.inputs}
        return [v for n in self.builder.nodes for v in n.outputs if v not in read]

    def finished(self) -> Graph:
        """Most of what nobody reads is returned; some values besides, some twice, some inputs; updates of what fits."""
        rng = self.rng
        outputs = [v for v in self.leaves() if rng.random() < 0.95]
        outputs += [v for v in self.values if rng.random() < 0.08]
        outputs += [v for v in outputs if rng.random() < 0.05]
        outputs = [self._returned(v) for v in outputs] or [rng.choice(self.inputs)]
        updates: dict[str, Value] = {}
        for v in self.inputs:
            if self.roles.get(v.name) in ("parameter", "state") and rng.random() < 0.6:
                fits = [o for o in self.values if o.type == v.type]
                updates[v.name] = rng.choice(fits)
        self._count_rows()
        nodes = [self._lowered(n) if rng.random() < 0.06 else n for n in self.builder.nodes]
        return verify(Graph("fuzz", tuple(self.inputs), tuple(nodes), tuple(outputs), dict(self.roles), updates))

    def _count_rows(self) -> None:
        """Batch rows are counted by the data: some input must have them where any value does."""
        data = [v for v in self.inputs if v.name not in self.roles]
        if any(v.type.rows for v in self.values) and not any(v.type.rows for v in data):
            self.fresh(TensorType("f32", (self.batch,)), "data")

    def _returned(self, v: Value) -> Value:
        """The value, row-major: a program returns nothing else."""
        return v if v.type.layout is None else self.builder(Relayout(result=v.type.logical()), v)

    def _lowered(self, node: Node) -> Node:
        if isinstance(node.op, KernelOp):
            return node
        return replace(node, op=node.op.lower([v.type for v in node.inputs], [v.type for v in node.outputs]))

    def with_loss(self) -> Graph | None:
        """The graph whose first output is a loss of what nobody reads; None where no parameter reaches it."""
        from convc.testing.fuzz.hints import draw_loss

        loss = draw_loss(self)
        if loss is None or not self._reached(loss):
            return None
        extra = [v for v in self.values if v is not loss and v.type.dtype == "f32" and self.rng.random() < 0.05]
        extra = [self._returned(v) for v in extra]
        self._count_rows()
        nodes = tuple(self.builder.nodes)
        return verify(Graph("fuzz", tuple(self.inputs), nodes, (loss, *extra), dict(self.roles)))

    def _reached(self, loss: Value) -> bool:
        reached = {v for v in self.inputs if self.roles.get(v.name) == "parameter"}
        for node in self.builder.nodes:
            if reached.intersection(node.inputs):
                reached.update(v for v in node.outputs if v.type.dtype == "f32")
        return loss in reached


def _dtypes(op: Op, operand: int) -> tuple[str, ...]:
    try:
        return op.dtypes(operand)
    except IndexError:
        raise IRError(f"operator '{op.name}' has no operand {operand}") from None


def has_gradient(cls: type[Op]) -> bool:
    return cls.vjp is not Op.vjp


def drawable(differentiable: bool = False) -> list[str]:
    """The operators that are drawn by name; kernels come from lowering, gradients from vjp besides."""
    return [
        name for name, cls in OPS.items() if not issubclass(cls, KernelOp) and (has_gradient(cls) or not differentiable)
    ]


def draw_size(rng: Random) -> int:
    """Nodes: mostly a few, up to the most."""
    return min(MOST_NODES, 1 + int(rng.expovariate(1 / 6)))


def draw_graph(rng: Random, most: int | None = None) -> Graph:
    """A graph to infer with, of at most so many nodes."""
    while True:
        drawing = Drawing(rng, min(draw_size(rng), most or MOST_NODES))
        drawing.grow()
        if drawing.builder.nodes:
            return drawing.finished()


def draw_training(rng: Random, most: int | None = None) -> Graph:
    """A graph whose first output is a loss, with parameters that it depends on."""
    while True:
        drawing = Drawing(rng, min(draw_size(rng), most or MOST_TRAINED), differentiable=True)
        drawing.grow()
        graph = drawing.with_loss() if drawing.builder.nodes else None
        if graph is not None:
            return graph


def operators(graph: Graph) -> Counter[str]:
    """How often each operator occurs, those of fused nodes included."""
    counts: Counter[str] = Counter()
    for node in graph.nodes:
        counts[node.op.name] += 1
        inner: Any = getattr(node.op, "steps", ())
        counts.update(step.op.name for step in inner)
        if inner:
            counts[node.op.anchor.name] += 1  # type: ignore[attr-defined]
    return counts
