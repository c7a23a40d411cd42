"""From a planned graph to CUDA: kernels with names, cards and source, and the launches that run them in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from convc.codegen.card import card_for
from convc.codegen.cuda.gather import QUAD
from convc.codegen.cuda.gemm import GemmPlan, plan_gemm
from convc.codegen.cuda.grouping import grouped
from convc.codegen.cuda.nest import NestPlan, plan_nest
from convc.codegen.cuda.transpose import TransposePlan, plan_transpose
from convc.codegen.env import render
from convc.codegen.names import comment, count, identifier, unique
from convc.codegen.source import Kernel, Parameter, Source, check_values, kernel_name, parameters_of
from convc.codegen.storage import Place, storage
from convc.codegen.traffic import Traffic
from convc.errors import IRError
from convc.ir.core import Graph, Node, Value
from convc.ir.kernels import BlockTile, Gemm, Loops, TeamSchedule, TransposeSchedule
from convc.passes.block_tile import lines_a_request, memory_seconds, ranking
from convc.passes.target import CUDA, STATIC_SHARED_BYTES, Target

ROWS = Parameter("rows_ptr", "i32", False, Place("rows", 0, 0, 4), True)
"""Where a kernel reads the batch rows of the run."""
LAUNCHES_A_UNIT = 5
"""Launches from which on a compilation of their own pays."""


Plan = GemmPlan | NestPlan | TransposePlan


@dataclass(frozen=True)
class Body:
    """What a range of blocks does: a phase of a GEMM, or a loop nest."""

    name: str
    plan: Plan

    @property
    def gemm(self) -> bool:
        return isinstance(self.plan, GemmPlan)


@dataclass(frozen=True, repr=False)
class CudaKernel(Kernel):
    """`alone`: no other kernel shares its launch."""

    bodies: tuple[Body, ...] = ()
    threads: int = 0
    alone: bool = True

    @property
    def template(self) -> str:
        return "cuda/kernel.cu.j2"

    @property
    def blocks(self) -> int:
        return sum(b.plan.blocks for b in self.bodies)

    @property
    def shared(self) -> tuple[int, int]:
        """Floats of shared memory that all its bodies can do with: two arrays, which the compiler can tell apart."""
        first, second = zip(*(b.plan.shared for b in self.bodies))
        return max(first), max(second)

    @property
    def shared_bytes(self) -> int:
        return 4 * sum(self.shared)

    @property
    def dynamic(self) -> bool:
        """Whether its shared memory is more than can be declared with a size."""
        return self.shared_bytes > STATIC_SHARED_BYTES


@dataclass(frozen=True)
class Call:
    """A body's blocks in its launch, first <= block < last, and the launch's names of its pointers."""

    body: Body
    first: int
    last: int
    pointers: tuple[str, ...]


@dataclass(frozen=True)
class Launch:
    """One launch: `blocks` x `threads`, its arguments in order."""

    name: str
    kernels: tuple[CudaKernel, ...]
    parameters: tuple[Parameter, ...]
    calls: tuple[Call, ...] = ()

    @cached_property
    def source(self) -> str:
        """Its kernels, and where several bodies share the grid the function that calls them."""
        dispatch = [render("cuda/dispatch.cu.j2", launch=self)] if self.calls else []
        return "\n".join([*(k.source for k in self.kernels), *dispatch])

    @property
    def threads(self) -> int:
        return self.kernels[0].threads

    @property
    def blocks(self) -> int:
        return sum(k.blocks for k in self.kernels)

    @property
    def shared(self) -> tuple[int, int]:
        """Floats of shared memory that all its kernels can do with; the first array ends at a whole vector."""
        first, second = zip(*(k.shared for k in self.kernels))
        return -(-max(first) // QUAD) * QUAD, max(second)

    @property
    def shared_bytes(self) -> int:
        """Of a block."""
        return 4 * sum(self.shared)

    @property
    def dynamic_bytes(self) -> int:
        """What of it the launch has to ask for."""
        return self.shared_bytes if self.shared_bytes > STATIC_SHARED_BYTES else 0

    @property
    def title_of_nodes(self) -> str:
        """The IR nodes behind it, with their places in the model."""
        return comment("; ".join(f"%{k.node.out.name} at {k.node.path or 'the top'}" for k in self.kernels))

    @property
    def title(self) -> str:
        what = "phases" if len(self.kernels) == 1 else "kernels that do not wait for each other"
        return f"{len(self.calls)} {what}"


@dataclass(frozen=True)
class CudaSource(Source):
    """One file: its `head`, and the launches in the order in which they run."""

    kernels: tuple[CudaKernel, ...]
    launches: tuple[Launch, ...]
    head: str

    language = "cuda"
    target = "cuda"

    @property
    def launch_count(self) -> int:
        return len(self.launches)

    @cached_property
    def text(self) -> str:
        return "\n".join([self.head, *(launch.source for launch in self.launches)])

    def with_counts(self, counted: Mapping[str, Traffic]) -> CudaSource:
        """The same program, its cards with what a run of each kernel moved, by the kernel's name."""

        def noted(kernels: tuple[CudaKernel, ...]) -> tuple[CudaKernel, ...]:
            return tuple(replace(k, card=replace(k.card, counted=counted[k.name])) for k in kernels)

        launches = tuple(replace(launch, kernels=noted(launch.kernels)) for launch in self.launches)
        return replace(self, kernels=tuple(k for x in launches for k in x.kernels), launches=launches)

    @property
    def file(self) -> str:
        return f"{self.entry}.cu"

    def files(self) -> Mapping[str, str]:
        return {self.file: self.text}

    def compile_units(self, most: int) -> list[str]:
        """The same text in at most `most` parts that compile side by side, about equally long.

        Each is the whole file with the lines of other launches left blank, so that line numbers are the file's.
        """
        count = max(1, min(most, len(self.launches) // LAUNCHES_A_UNIT))
        home: dict[str, int] = {}
        lengths = [0] * count
        for launch in sorted(self.launches, key=lambda x: -len(x.source)):
            home[launch.name] = lengths.index(min(lengths))
            lengths[home[launch.name]] += len(launch.source)
        blank = {x.name: "\n" * x.source.count("\n") for x in self.launches}
        return [
            "\n".join([self.head, *(x.source if home[x.name] == part else blank[x.name] for x in self.launches)])
            for part in range(count)
        ]

    def listings(self) -> tuple[tuple[str, str], ...]:
        return ((f"{self.file}: the whole program", self.text),)


def emit_cuda(graph: Graph, target: Target = CUDA) -> CudaSource:
    """The graph's CUDA source. It must be lowered, scheduled and planned for `target`; f32 and i32 only."""
    check_values(graph, "cuda")
    for v in graph.values():
        if v.type.storage_elements >= 2**31:
            raise IRError(f"target cuda counts elements in 32 bits, but %{v.name}: {v.type} has "
                          f"{v.type.storage_elements}, not fewer than {2**31}; take a smaller batch")  # fmt: skip
    places = storage(graph)
    names = unique(kernel_name(n) for n in graph.nodes)
    planned = [_kernel(n, name, places, target) for n, name in zip(graph.nodes, names)]
    groups = grouped(planned, places, target)
    titles = unique([*names, *(_title(graph, g) for g in groups if len(g) > 1)])[len(names) :]
    launches = []
    for group in groups:
        alone = len(group) == 1
        done = tuple(replace(k, alone=alone) for k in group)
        launches.append(_launch(done[0].name if alone else titles.pop(0), done))
    kernels = tuple(k for launch in launches for k in launch.kernels)
    body = "\n".join(launch.source for launch in launches)
    entry = f"{identifier(graph.name, 'program')}_step"
    head = render("cuda/program.cu.j2", name=comment(graph.name), kernels=kernels, launches=launches,
                  arena_bytes=graph.arena_bytes, body=body, vectors=_vectors(kernels))  # fmt: skip
    return CudaSource(entry, kernels, tuple(launches), head)


def _vectors(kernels: Sequence[CudaKernel]) -> set[tuple[str, int, str]]:
    """(load or store, elements, dtype) of every vector access."""
    found: set[tuple[str, int, str]] = set()
    for plan in (b.plan for k in kernels for b in k.bodies):
        if isinstance(plan, GemmPlan):
            found |= {("load", min(size, 4), "f32") for size in (plan.tile.thread_m, plan.tile.thread_n)}
            found |= {("load", x.size, x.term.fn) for x in plan.epilogue.loaded}
            found |= {("store", plan.epilogue.wide, t.fn) for t, _ in plan.epilogue.stores}
        if isinstance(plan, NestPlan):
            found |= {("load", x.size, x.term.fn) for s in plan.stages for x in s.loaded}
            found |= {("store", plan.schedule.vector, t.fn) for s in plan.stages for t in s.targets}
    return found


def _kernel(node: Node, name: str, places: Mapping[Value, Place], target: Target) -> CudaKernel:
    op = node.op
    kernel = CudaKernel(name, node, parameters_of(node, places), card_for(node))
    plans: list[Plan]
    if isinstance(op, Gemm):
        tiles = [s for s in op.schedules if isinstance(s, BlockTile)]
        if len(tiles) != len(op.phases) or len(set(tiles)) > 1:
            raise IRError(f"{name} must have one block tile for all phases; run the pass select_tile for target cuda")
        plans = [plan_gemm(v, t, *kernel.placed) for v, t in zip(op.phases, tiles)]
        threads = tiles[0].threads
    else:
        assert isinstance(op, Loops)
        if isinstance(op.schedule, TeamSchedule):
            plans = [plan_nest(op.nest, op.schedule, *kernel.placed)]
        elif isinstance(op.schedule, TransposeSchedule):
            plans = [plan_transpose(op.nest, op.schedule, *kernel.placed)]
        else:
            raise IRError(f"{name} has no schedule for blocks; run the pass schedule for target cuda first")
        threads = op.schedule.threads
    number = len(plans) > 1
    bodies = tuple(Body(f"{name}_phase{i}" if number else name, p) for i, p in enumerate(plans))
    rows = (ROWS,) if any(p.rows for p in plans) else ()
    kernel = replace(kernel, bodies=bodies, threads=threads, parameters=(*kernel.parameters, *rows))
    return replace(kernel, card=card_for(node, [*_launch_lines(kernel), *_time_lines(kernel, target)]))


def _launch_lines(kernel: CudaKernel) -> list[str]:
    dynamic = "dynamic " if kernel.dynamic else ""
    shared = f", {count(kernel.shared_bytes)}B of {dynamic}shared memory" if kernel.shared_bytes else ""
    lines = [f"launch  {kernel.blocks} blocks of {kernel.threads} threads{shared}"]
    plan = kernel.bodies[0].plan
    if isinstance(plan, NestPlan) and plan.vectors:
        lines.append(f"vectors {plan.vectors}")
    if isinstance(plan, GemmPlan):
        lines += _gather_line(plan, kernel)
        lines += _gemm_vectors(plan)
    return lines


def _gather_line(plan: GemmPlan, kernel: CudaKernel) -> list[str]:
    lines = lines_a_request(plan.view, [v.type for v in kernel.node.inputs], plan.tile)
    said = (
        f"{g.name.upper()} along {'K' if g.along_k else side}, {count(x).strip()} cache lines for 32 elements"
        for g, side, x in ((plan.a, "M", lines[0]), (plan.b, "N", lines[1]))
    )
    return [f"gather  {'; '.join(said)}"] if plan.tile.stages else []


def _gemm_vectors(plan: GemmPlan) -> list[str]:
    wide = [
        *(["loads of fragments"] if min(plan.tile.thread_m, plan.tile.thread_n) >= 4 else []),
        *(f"copies of {g.name.upper()}" for g in (plan.a, plan.b) if g.copy > 1),
        *(["stores"] if plan.epilogue.wide == QUAD else []),
    ]
    lines = [f"16-byte {', '.join(wide)}"] if wide else []
    lines += ["8-byte stores"] if plan.epilogue.wide == 2 else []
    return [f"vectors {'; '.join(lines)}"] if lines else []


def _time_lines(kernel: CudaKernel, target: Target) -> list[str]:
    """What no kernel can be faster than, the model's time for this one, and the schedule that comes second."""
    memory = memory_seconds(kernel.node, target)
    work = kernel.card.flops / target.flops_per_second
    lines = [f"bound   {_micro(max(memory, work))} on an H100: {_micro(work)} of FP32, {_micro(memory)} of memory"]
    if isinstance(kernel.node.op, Gemm):
        own = kernel.node.op.schedules[0]
        found = ranking(kernel.node, target)
        mine = next((e for e in found if e.tile == own), None)
        other = next((e for e in found if e.tile != own), None)
        if mine is not None:
            second = f"; {_micro(other.seconds)} with {other.tile.summary}" if other else ""
            lines.append(f"model   {_micro(mine.seconds)}{second}")
    return lines


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:.3g} us"


def _title(graph: Graph, group: Sequence[CudaKernel]) -> str:
    updates = set(graph.updates.values())
    if all(updates.intersection(k.node.outputs) for k in group):
        return f"updates_of_{sum(len(k.node.outputs) for k in group)}_tensors_f32"
    most = max(group, key=lambda k: k.card.flops)
    return f"{most.name}_and_{len(group) - 1}_more"


def _launch(name: str, kernels: tuple[CudaKernel, ...]) -> Launch:
    first = kernels[0]
    if len(kernels) == 1 and len(first.bodies) == 1:
        return Launch(name, kernels, first.parameters)
    parameters = _joined(kernels)
    pointer = {(p.place, p.written, p.dtype): p.pointer for p in parameters}
    calls: list[Call] = []
    at = 0
    for k in kernels:
        names = tuple(pointer[p.place, p.written, p.dtype] for p in k.parameters)
        for body in k.bodies:
            calls.append(Call(body, at, at + body.plan.blocks, names))
            at += body.plan.blocks
    return Launch(name, kernels, parameters, tuple(calls))


def _joined(kernels: Sequence[CudaKernel]) -> tuple[Parameter, ...]:
    """The parameters of all kernels, each buffer once, with names of their own."""
    found: dict[tuple[Place, bool, str], Parameter] = {}
    for k in kernels:
        for p in k.parameters:
            found.setdefault((p.place, p.written, p.dtype), p)
    parameters = tuple(found.values())
    pointers = unique(p.pointer for p in parameters)
    buffers: dict[tuple[str, int], list[Place]] = {}
    for p in parameters:
        buffers.setdefault((p.place.kind, p.place.number), []).append(p.place)

    def alone(p: Parameter) -> bool:
        return sum(p.place.overlaps(other) for other in buffers[p.place.kind, p.place.number]) == 1

    return tuple(replace(p, pointer=name, alone=alone(p)) for p, name in zip(parameters, pointers))
