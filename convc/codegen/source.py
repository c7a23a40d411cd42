"""What emitted programs have in common: kernels with their parameters and cards, and the files they are written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from convc.codegen.card import Card
from convc.codegen.env import render
from convc.codegen.names import comment, count, identifier, unique
from convc.codegen.storage import Place
from convc.codegen.terms import Placed
from convc.errors import IRError
from convc.ir.core import Graph, Node, Value
from convc.ir.kernel_rules import copied, is_copy
from convc.ir.kernels import Gemm, KernelOp, Loops
from convc.ir.lexer import printable
from convc.show import preformatted

DTYPES = ("f32", "i32")


@dataclass(frozen=True)
class Parameter:
    """A pointer that a kernel takes: its name, dtype, whether it is written, and the buffer behind it.

    `alone`: no other pointer of the kernel reaches the same bytes.
    """

    pointer: str
    dtype: str
    written: bool
    place: Place
    alone: bool


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program."""

    name: str
    node: Node
    parameters: tuple[Parameter, ...]
    card: Card

    @property
    def template(self) -> str:
        """The template that writes it."""
        raise AssertionError("each target's kernels have templates of their own")

    @cached_property
    def source(self) -> str:
        """Its text in the target's language, its card on top; written when it is first asked for."""
        return render(self.template, kernel=self)

    def __repr__(self) -> str:
        """Its name and work on one line; `source` is its text."""
        work = f"{count(self.card.flops)}FLOP, {count(self.card.bytes)}B moved at least"
        return f"Kernel {self.name}, of {printable(self.card.path) or 'the graph'}: {work}"

    def _repr_html_(self) -> str:
        return preformatted(self.source, repr(self))

    @property
    def node_text(self) -> str:
        return comment(f"{self.name}: {', '.join('%' + v.name for v in self.node.outputs)}")

    @property
    def placed(self) -> tuple[list[Placed], list[Placed]]:
        """Operands and results as the kernel's pointers."""
        values = (*self.node.inputs, *self.node.outputs)
        placed = [Placed(p.pointer, replace(v.type, dtype=p.dtype)) for p, v in zip(self.parameters, values)]
        return placed[: len(self.node.inputs)], placed[len(self.node.inputs) :]


@dataclass(frozen=True)
class Source:
    """A program's text: `entry` names it, `language` is what a highlighter calls it, `target` what it is for."""

    entry: str
    kernels: tuple[Kernel, ...]

    language = "c"
    target = "cpu"

    @property
    def launch_count(self) -> int:
        """How many launches a run takes: C is one, of all kernels on every thread of the pool."""
        return 1

    def files(self) -> Mapping[str, str]:
        """File names and texts, the one that runs the kernels last."""
        raise AssertionError("each target's source has files of its own")

    def listings(self) -> tuple[tuple[str, str], ...]:
        """(title, text) of what is no kernel."""
        return ()


def check_values(graph: Graph, target: str) -> None:
    """Raises IRError for a dtype that the target does not compute in, and for inputs or outputs with a layout."""
    for v in (*graph.inputs, *graph.outputs):
        if v.type.layout is not None:
            raise IRError(
                f"inputs and outputs of a program are row-major, but %{v.name} is {v.type}; relayout it inside"
            )


def kernel_name(node: Node) -> str:
    """Model path, what it does, dtype, tile: `conv1_fprop_bias_relu_f32_6x4`."""
    op = node.op
    if not isinstance(op, Gemm | Loops):
        raise IRError(f"{node.op.name} at {node.path or 'the top'} is no kernel; run the pass lower first")
    tile = op.schedules[0].extents if isinstance(op, Gemm) and op.schedules else ""
    parts = (node.path, op.label, node.outputs[0].type.dtype, tile)
    return identifier("_".join(p for p in parts if p), "kernel")


def parameters_of(node: Node, places: Mapping[Value, Place]) -> tuple[Parameter, ...]:
    """One pointer for each operand and result.

    A copy of i32 elements moves 32 bits, and what they mean is nothing to it: its pointers are f32, like all registers.
    """
    values = (*node.inputs, *node.outputs)
    bits = _copied(node)
    pointers = unique(f"{identifier(v.name, 't')}_ptr" for v in values)
    where = [places[v] for v in values]
    return tuple(
        Parameter(p, "f32" if i in bits else v.type.dtype, i >= len(node.inputs), places[v], where.count(where[i]) == 1)
        for i, (p, v) in enumerate(zip(pointers, values))
    )


def _copied(node: Node) -> set[int]:
    """The numbers of the operands and results (counted on behind the operands) that are i32 and copied as they are."""
    op, inputs = node.op, [v.type for v in node.inputs]
    if not isinstance(op, KernelOp) or all(t.dtype == "f32" for t in inputs):
        return set()
    stores = tuple(op.stores())
    found = set(copied(stores, tuple(op.roots())[len(stores) :], inputs))
    return found | {len(inputs) + s.output for s in stores if is_copy(s.value, inputs)}
