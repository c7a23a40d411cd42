"""Values, operators, nodes and graphs. All frozen: a pass builds a new graph and never edits one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from html import escape
from typing import Any, ClassVar, Literal

import numpy.typing as npt

from convc.errors import IRError
from convc.ir.fields import fit_all, same
from convc.ir.types import TensorType

Array = npt.NDArray[Any]
Role = Literal["data", "parameter", "state", "constant", "scalar"]
ROLES: tuple[Role, ...] = ("data", "parameter", "state", "constant", "scalar")
RESULT: Mapping[str, Any] = {"result": True}
"""Marks an operator's field that is its declared result type: the text form shows it as the type."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that is defined once; equality is identity."""

    name: str
    type: TensorType

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


OPS: dict[str, type[Op]] = {}


@dataclass(frozen=True)
class Op:
    """One operator. Its dataclass fields are its attributes, in the text form too.

    A subclass gives, in one place: its equation (docstring), `infer` (shapes), `reference` (NumPy, any
    float dtype: the oracle), `vjp` (gradient nodes) and `lower` (a GEMM view or a loop nest); `validate` where
    not all values of an attribute's type will do.
    """

    name: ClassVar[str] = ""
    traits: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, /, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__post_init__" in cls.__dict__:
            raise IRError(f"{cls.__name__} must check its attributes in validate(), not in __post_init__")
        if name is None:
            return
        if name in OPS:
            raise IRError(f"operator '{name}' is defined twice: in {OPS[name].__module__} and {cls.__module__}")
        cls.name = name
        OPS[name] = cls

    def __post_init__(self) -> None:
        """Whoever builds an operator, its attributes are of their declared types, and in range."""
        fit_all(self)
        self.validate()

    def validate(self) -> None:
        """Raises IRError where an attribute is out of range; all of them are of their declared types here."""

    @classmethod
    def operands(cls) -> tuple[str, ...] | None:
        """What its operands are called, read off `infer` or, where that takes any number, `reference`; None: any."""
        return _operands(cls.infer, cls.reference)

    def infer(self, *inputs: Any, **_: Any) -> tuple[TensorType, ...]:
        """The result types; raises IRError with the rule and both numbers where the inputs break it."""
        raise IRError(f"operator '{self.name}' has no shape rule")

    def reference(self, *arrays: Any, **_: Any) -> tuple[Array, ...]:
        """The oracle: NumPy, in the dtype of its inputs, on n <= capacity rows."""
        raise IRError(f"operator '{self.name}' has no reference")

    def execute(self, arrays: Sequence[Array], rows: int) -> tuple[Array, ...]:
        """What the interpreter calls: the reference, for operators that need not know n to make their result."""
        return self.reference(*arrays)

    def dtypes(self, operand: int) -> tuple[str, ...]:
        """The dtypes that operand number `operand` may have: what it computes right on every target."""
        return ("f32",)

    def whole_below(self, operand: int, inputs: Sequence[TensorType]) -> int | None:
        """Where operand number `operand` is read as whole numbers 0 <= v < limit (labels, indices): the limit."""
        return None

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        """One gradient for each input (None: none flows), from the gradients of the outputs."""
        raise IRError(f"operator '{self.name}' has no gradient; run autodiff before the pass that made it")

    def augmented(self) -> Op:
        """The same operator with the extra outputs that its `vjp` reads (saved indices, statistics)."""
        return self

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        """The kernel-level operator: `gemm` or `loops`."""
        raise IRError(f"operator '{self.name}' has no lowering")

    @property
    def label(self) -> str:
        """What a kernel of this operator is called, after its place in the model."""
        return self.name

    def attributes(self) -> dict[str, Any]:
        """Fields that differ from their default, declared result types left out."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if not f.metadata.get("result") and not same(getattr(self, f.name), f.default)
        }

    def __str__(self) -> str:
        attributes = ", ".join(f"{k}={v!r}" for k, v in self.attributes().items())
        return f"{self.name} {{{attributes}}}" if attributes else self.name


@dataclass(frozen=True, eq=False)
class Node:
    """An operator applied to values. `path` is its place in the model, `passes` the passes that made it."""

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    path: str = ""
    passes: tuple[str, ...] = ()

    @property
    def out(self) -> Value:
        return self.outputs[0]

    def made_by(self, name: str) -> tuple[str, ...]:
        return self.passes if name in self.passes else (*self.passes, name)


@dataclass(frozen=True)
class Placement:
    """Where planned memory puts a value: a byte offset in the arena, or inside a graph input."""

    offset: int = 0
    inside: str | None = None


@dataclass(frozen=True, eq=False)
class Graph:
    """Inputs with roles, nodes in topological order, outputs; `updates` ties an output to an input.

    A tied output is the new value of a parameter or of state: the update of `inputs[name]`.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    roles: Mapping[str, Role] = field(default_factory=dict)
    updates: Mapping[str, Value] = field(default_factory=dict)
    placements: Mapping[str, Placement] = field(default_factory=dict)
    arena_bytes: int = 0

    def role(self, value: Value | str) -> Role:
        return self.roles.get(value if isinstance(value, str) else value.name, "data")

    def inputs_of(self, *roles: Role) -> tuple[Value, ...]:
        return tuple(v for v in self.inputs if self.role(v) in roles)

    @property
    def results(self) -> tuple[Value, ...]:
        """Everything that leaves the graph: outputs, then updates."""
        return (*self.outputs, *self.updates.values())

    def users(self) -> dict[Value, list[Node]]:
        """For each value the nodes that read it, in order, a node once."""
        table: dict[Value, list[Node]] = {v: [] for v in self.values()}
        for node in self.nodes:
            for v in dict.fromkeys(node.inputs):
                table[v].append(node)
        return table

    def producers(self) -> dict[Value, Node]:
        return {v: node for node in self.nodes for v in node.outputs}

    def values(self) -> Iterator[Value]:
        yield from self.inputs
        for node in self.nodes:
            yield from node.outputs

    def with_nodes(self, nodes: Iterable[Node], renamed: Mapping[Value, Value] | None = None) -> Graph:
        """This graph with other nodes; `renamed` maps old values to the new ones in results and inputs."""
        m = renamed or {}
        return replace(
            self,
            nodes=tuple(replace(n, inputs=tuple(m.get(v, v) for v in n.inputs)) for n in nodes),
            outputs=tuple(m.get(v, v) for v in self.outputs),
            updates={k: m.get(v, v) for k, v in self.updates.items()},
        )

    def __str__(self) -> str:
        from convc.ir.text import print_graph  # the printer needs these classes

        return print_graph(self)

    def __repr__(self) -> str:
        """One line; `str` is the text form."""
        learnt = self.inputs_of("parameter")
        numbers = sum(v.type.elements for v in learnt)
        parts = [f"{len(self.nodes)} nodes", *([f"{len(learnt)} parameters ({numbers:,} numbers)"] if learnt else [])]
        inputs = ", ".join(map(repr, self.inputs_of("data")))
        return f"Graph @{self.name}({inputs}) -> {', '.join(str(v.type) for v in self.outputs)}: {', '.join(parts)}"

    def _repr_html_(self) -> str:
        text = f"<pre>{escape(str(self))}</pre>"
        return f"<details open><summary>{escape(repr(self))}</summary>{text}</details>"


class Builder:
    """Appends nodes, infers their types and names their values."""

    def __init__(self, taken: Iterable[str] = (), path: str = "", passes: tuple[str, ...] = ()) -> None:
        self.nodes: list[Node] = []
        self.path = path
        self.passes = passes
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, hint: str = "") -> str:
        """A name not used yet: the hint, the hint numbered, or the next number."""
        if hint and hint not in self._taken:
            self._taken.add(hint)
            return hint
        stem, first = (f"{hint}_", 1) if hint else ("", 0)
        count = self._next.get(stem, first)
        while f"{stem}{count}" in self._taken:
            count += 1
        self._next[stem] = count + 1
        self._taken.add(f"{stem}{count}")
        return f"{stem}{count}"

    def many(self, op: Op, *inputs: Value, names: Sequence[str] = ()) -> tuple[Value, ...]:
        types = checked_infer(op, [v.type for v in inputs])
        hints = [*names, *[""] * (len(types) - len(names))]
        outputs = tuple(Value(self.fresh(h), t) for h, t in zip(hints, types))
        self.nodes.append(Node(op, tuple(inputs), outputs, self.path, self.passes))
        return outputs

    def __call__(self, op: Op, *inputs: Value, name: str = "") -> Value:
        return self.many(op, *inputs, names=[name])[0]


@cache
def _operands(*rules: Callable[..., Any]) -> tuple[str, ...] | None:
    for rule in rules:
        _, *parameters = inspect.signature(rule).parameters.values()
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    return None


def checked_infer(op: Op, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """`op.infer`, the operands' number and dtypes; an error is completed with the operator and its operand types."""
    call = f"{op.name}({', '.join(map(str, inputs))})"
    names = op.operands()
    if names is not None and len(inputs) != len(names):
        raise IRError(f"{call}: {op.name} takes ({', '.join(names)}), but there are {len(inputs)} operands")
    try:
        results = op.infer(*inputs)
        for number, t in enumerate(inputs):
            if t.dtype not in op.dtypes(number):
                raise IRError(f"operand {number} must be {' or '.join(op.dtypes(number))}, but it is {t}")
        return results
    except IRError as error:
        raise IRError(f"{call}: {error}") from None


def fresh_builder(graph: Graph, made_by: str) -> Builder:
    """A builder whose new names do not clash with the graph's."""
    return Builder((v.name for v in graph.values()), passes=(made_by,))


Rewrite = Callable[[Graph], Graph]
