"""From a planned graph to C: kernels with names, cards and source, and the step that runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from convc.codegen.card import card_for
from convc.codegen.env import render
from convc.codegen.gemm import GemmPlan, plan_gemm
from convc.codegen.names import comment, identifier, unique
from convc.codegen.nest import NestPlan, plan_nest
from convc.codegen.source import Kernel, Source, check_values, kernel_name, parameters_of
from convc.codegen.storage import Place, barriers, storage
from convc.errors import IRError
from convc.ir.core import Graph, Node, Value
from convc.ir.kernels import Gemm, GemmSchedule, Loops, LoopSchedule

NESTS_A_UNIT = 10


@dataclass(frozen=True, repr=False)
class CKernel(Kernel):
    """`waits`: all threads must have finished the kernels before it."""

    phases: tuple[GemmPlan, ...] = ()
    plan: NestPlan | None = None
    waits: bool = False

    @property
    def template(self) -> str:
        return "c/gemm.c.j2" if self.phases else "c/loops.c.j2"

    @property
    def widths(self) -> tuple[int, ...]:
        """The vector widths it uses."""
        return (*(p.width for p in self.phases), *((self.plan.width,) if self.plan else ()))

    @property
    def unit(self) -> str:
        """The kernel as a translation unit of its own."""
        return render("c/unit.c.j2", body=self.source)


@dataclass(frozen=True)
class CSource(Source):
    """One header, one unit for each kernel, and the step."""

    kernels: tuple[CKernel, ...]
    header: str
    step: str

    def units(self) -> list[tuple[str, str]]:
        """(name, text) of every kernel and of the step, each a translation unit of its own."""
        return [(k.name, k.unit) for k in self.kernels] + [(self.entry, render("c/unit.c.j2", body=self.step))]

    def files(self) -> Mapping[str, str]:
        return {"convc.h": self.header, **{f"{name}.c": text for name, text in self.units()}}

    def listings(self) -> tuple[tuple[str, str], ...]:
        return (f"{self.entry} runs the kernels in order", self.step), (
            "convc.h: vector types and functions",
            self.header,
        )

    def compile_units(self) -> Iterator[tuple[str, str]]:
        """The same text in fewer units, written while the compiler is busy with those before.

        Loop nests share units: they are small, and most of a small unit's time is the compiler's start. A GEMM
        keeps its own unit, so that programs share it in the cache. The longest come first, so that no core
        waits for one at the end.
        """
        nests = [k for k in self.kernels if not k.phases]
        for i in range(0, len(nests), NESTS_A_UNIT):
            body = "\n".join(k.source for k in nests[i : i + NESTS_A_UNIT])
            yield f"loops_{i // NESTS_A_UNIT}", render("c/unit.c.j2", body=body)
        yield from sorted(((k.name, k.unit) for k in self.kernels if k.phases), key=lambda unit: -len(unit[1]))
        yield self.entry, render("c/unit.c.j2", body=self.step)


def emit_c(graph: Graph) -> CSource:
    """The graph's C source. It must be lowered, scheduled and planned; f32 and i32 tensors only."""
    check_values(graph, "cpu")
    places = storage(graph)
    names = unique(kernel_name(n) for n in graph.nodes)
    kernels = tuple(_kernel(n, name, places) for n, name in zip(graph.nodes, names))
    kernels = tuple(replace(k, waits=wait) for k, wait in zip(kernels, barriers(graph, places)))
    widths = sorted({w for k in kernels for w in k.widths} - {1})
    halves = {w: [w >> i for i in range(1, w.bit_length())] for w in widths}
    rotations = {w: {h: ", ".join(str((i + h) % w) for i in range(w)) for h in halves[w]} for w in widths}
    entry = f"{identifier(graph.name, 'program')}_step"
    return CSource(
        entry=entry,
        header=render("c/convc.h.j2", widths=widths, halves=halves, rotations=rotations),
        kernels=kernels,
        step=render("c/step.c.j2", name=comment(graph.name), entry=entry, kernels=kernels, declared=kernels,
                    arena_bytes=graph.arena_bytes),
    )  # fmt: skip


def _kernel(node: Node, name: str, places: Mapping[Value, Place]) -> CKernel:
    kernel = CKernel(name, node, parameters_of(node, places), card_for(node))
    op = node.op
    if isinstance(op, Gemm):
        schedules = [s for s in op.schedules if isinstance(s, GemmSchedule)]
        if len(schedules) != len(op.phases):
            raise IRError(f"{name} has no schedule for vectors; run the pass select_tile for target cpu first")
        return replace(kernel, phases=tuple(plan_gemm(v, s, *kernel.placed) for v, s in zip(op.phases, schedules)))
    assert isinstance(op, Loops)
    if not isinstance(op.schedule, LoopSchedule):
        raise IRError(f"{name} has no schedule for vectors; run the pass schedule for target cpu first")
    return replace(kernel, plan=plan_nest(op.nest, op.schedule, *kernel.placed))
