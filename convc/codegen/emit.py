"""From a planned graph to a program: kernels with names, cards and source, and the step that runs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from convc.codegen.card import Card, card_for
from convc.codegen.env import render
from convc.codegen.gemm import GemmPlan, plan_gemm
from convc.codegen.names import comment, identifier, unique
from convc.codegen.nest import NestPlan, plan_nest
from convc.codegen.storage import Place, barriers, storage
from convc.codegen.terms import Placed
from convc.errors import IRError
from convc.ir.core import Graph, Node, Value
from convc.ir.kernels import Gemm, Loops

DTYPES = ("f32", "i32")
NESTS_A_UNIT = 10


@dataclass(frozen=True)
class Parameter:
    """A pointer that a kernel takes: its name, dtype, whether it is written, and where the step finds it.

    `alone`: no other pointer of the kernel reaches the same bytes.
    """

    pointer: str
    dtype: str
    written: bool
    place: Place
    alone: bool


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program. `source` is its text in the target's language, its card on top.

    `waits`: all threads must have finished the kernels before it.
    """

    name: str
    node: Node
    parameters: tuple[Parameter, ...]
    card: Card
    phases: tuple[GemmPlan, ...] = ()
    plan: NestPlan | None = None
    source: str = ""
    waits: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """The vector widths it uses."""
        return (*(p.width for p in self.phases), *((self.plan.width,) if self.plan else ()))

    @property
    def unit(self) -> str:
        """The kernel as a translation unit of its own."""
        return render("c/unit.c.j2", body=self.source)

    @property
    def node_text(self) -> str:
        return comment(f"{self.name}: {', '.join('%' + v.name for v in self.node.outputs)}")


@dataclass(frozen=True)
class Source:
    """A program's text: one header, one unit for each kernel, and the step."""

    entry: str
    header: str
    kernels: tuple[Kernel, ...]
    step: str

    def units(self) -> list[tuple[str, str]]:
        """(name, text) of every kernel and of the step, each a translation unit of its own."""
        return [(k.name, k.unit) for k in self.kernels] + [(self.entry, render("c/unit.c.j2", body=self.step))]

    def compile_units(self) -> list[tuple[str, str]]:
        """The same text in fewer units: loop nests are small, and most of a small unit's time is the compiler's
        start. A GEMM keeps its own unit, so that programs share it in the cache."""
        nests = [k.source for k in self.kernels if not k.phases]
        groups = [nests[i : i + NESTS_A_UNIT] for i in range(0, len(nests), NESTS_A_UNIT)]
        units = [(f"loops_{i}", render("c/unit.c.j2", body="\n".join(g))) for i, g in enumerate(groups)]
        units += [(k.name, k.unit) for k in self.kernels if k.phases]
        units.sort(key=lambda unit: -len(unit[1]))  # the longest first, so that no core waits for one at the end
        return [*units, (self.entry, render("c/unit.c.j2", body=self.step))]


def emit_c(graph: Graph) -> Source:
    """The graph's C source. It must be lowered, scheduled and planned; f32 and i32 tensors only."""
    for v in graph.values():
        if v.type.dtype not in DTYPES:
            raise IRError(f"target cpu computes in f32 with i32 labels and indices, but %{v.name} is {v.type}")
    for v in (*graph.inputs, *graph.outputs):
        if v.type.layout is not None:
            raise IRError(
                f"inputs and outputs of a program are row-major, but %{v.name} is {v.type}; relayout it inside"
            )
    places = storage(graph)
    names = unique(kernel_name(n) for n in graph.nodes)
    kernels = tuple(_kernel(graph, n, name, places) for n, name in zip(graph.nodes, names))
    shared = {"infinity": inf}
    kernels = tuple(
        replace(k, waits=wait, source=render("c/gemm.c.j2" if k.phases else "c/loops.c.j2", kernel=k, **shared))
        for k, wait in zip(kernels, barriers(graph, places))
    )
    widths = sorted({w for k in kernels for w in k.widths} - {1})
    halves = {w: [w >> i for i in range(1, w.bit_length())] for w in widths}
    rotations = {w: {h: ", ".join(str((i + h) % w) for i in range(w)) for h in halves[w]} for w in widths}
    entry = f"{identifier(graph.name, 'program')}_step"
    return Source(
        entry=entry,
        header=render("c/convc.h.j2", widths=widths, halves=halves, rotations=rotations),
        kernels=kernels,
        step=render("c/step.c.j2", name=comment(graph.name), entry=entry, kernels=kernels, declared=kernels,
                    arena_bytes=graph.arena_bytes, **shared),
    )  # fmt: skip


def kernel_name(node: Node) -> str:
    """Model path, what it does, dtype, tile: `conv1_fprop_bias_relu_f32_6x4`."""
    op = node.op
    if not isinstance(op, Gemm | Loops):
        raise IRError(f"{node.op.name} at {node.path or 'the top'} is no kernel; run the pass lower first")
    parts = [node.path, op.label, node.outputs[0].type.dtype]
    if isinstance(op, Gemm) and op.schedules:
        s = op.schedules[0]
        parts.append(f"{s.m_tile[1]}x{s.n_tile[1]}x{s.width}")
    return identifier("_".join(p for p in parts if p), "kernel")


def _kernel(graph: Graph, node: Node, name: str, places: dict[Value, Place]) -> Kernel:
    values = (*node.inputs, *node.outputs)
    hints = [f"{identifier(v.name, 't')}_ptr" for v in node.inputs] + [
        f"{identifier(v.name, 't')}_ptr" for v in node.outputs
    ]
    pointers = unique(hints)
    where = [places[v] for v in values]
    parameters = tuple(
        Parameter(p, v.type.dtype, i >= len(node.inputs), places[v], where.count(where[i]) == 1)
        for i, (p, v) in enumerate(zip(pointers, values))
    )
    placed = [Placed(p, v.type) for p, v in zip(pointers, values)]
    inputs, outputs = placed[: len(node.inputs)], placed[len(node.inputs) :]
    op = node.op
    card = card_for(node)
    if isinstance(op, Gemm):
        if len(op.schedules) != len(op.phases):
            raise IRError(f"{name} has no schedule; run the pass select_tile first")
        phases = tuple(plan_gemm(v, s, inputs, outputs) for v, s in zip(op.phases, op.schedules))
        return Kernel(name, node, parameters, card, phases=phases)
    assert isinstance(op, Loops)
    if op.schedule is None:
        raise IRError(f"{name} has no schedule; run the pass schedule first")
    return Kernel(name, node, parameters, card, plan=plan_nest(op.nest, op.schedule, inputs, outputs))
