"""What a program is made of, as plain numbers and names: for its manifest, its report and `convc inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convc.codegen.cuda.emit import CudaSource, Launch
from convc.codegen.names import count as count
from convc.codegen.source import Kernel, Parameter, Source
from convc.codegen.traffic import Traffic
from convc.ir.core import Graph, Value
from convc.ir.kernels import AnyGemmSchedule, AnyLoopSchedule, Gemm, Loops
from convc.passes.plan_memory import intervals, unplanned_bytes


@dataclass(frozen=True)
class Extents:
    """A GEMM at full batch capacity."""

    groups: int
    m: int
    n: int
    k: int


@dataclass(frozen=True)
class Argument:
    """A pointer that a kernel takes, and the buffer behind it."""

    pointer: str
    dtype: str
    written: bool
    buffer: str


@dataclass(frozen=True)
class KernelSummary:
    """One kernel at full batch capacity; `bytes` is what it moves at least. `gemm` and `schedules`: one a phase.

    `counted`: what a run moved, where one was counted.
    """

    name: str
    path: str
    passes: tuple[str, ...]
    flops: int
    bytes: int
    im2col_bytes_avoided: int
    gemm: tuple[Extents, ...]
    schedules: tuple[AnyGemmSchedule | AnyLoopSchedule, ...]
    parameters: tuple[Argument, ...]
    counted: Traffic | None = None

    @property
    def tile(self) -> str:
        """`2 k x 14 q x 16 n` for a register tile and its lanes, `16 n` for a loop nest; `; ` between phases."""
        return "; ".join(dict.fromkeys(s.summary for s in self.schedules))


@dataclass(frozen=True)
class LaunchSummary:
    """One launch of a CUDA program: blocks of threads, a block's shared memory in bytes, and its pointers in order.

    `dynamic_shared_bytes`: what of the shared memory the launch has to ask for.

    Each pointer's place is a buffer's number among inputs, outputs, stores (parameters, state, constants) or
    scalars, or bytes of the arena, or the batch rows.
    """

    name: str
    kernels: tuple[str, ...]
    blocks: int
    threads: int
    shared_bytes: int
    dynamic_shared_bytes: int
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class BufferSummary:
    """A tensor of the program and where it lies.

    `role`: data, parameter, state, constant, scalar, output, update (made in place, `inside` its input) or
    intermediate (at `arena_offset`, in bytes). `first`, `last`: the numbers of the kernels, from 0, that write an
    intermediate and read it last. `gradient_of`: the parameter whose gradient it is.
    """

    name: str
    type: str
    bytes: int
    role: str
    arena_offset: int | None = None
    inside: str | None = None
    first: int | None = None
    last: int | None = None
    gradient_of: str | None = None


@dataclass(frozen=True)
class Totals:
    """Sums over kernels and buffers, at full batch capacity."""

    kernels: int
    launches: int
    flops: int
    bytes: int
    im2col_bytes_avoided: int
    parameters: int
    arena_bytes: int
    arena_bytes_without_reuse: int


@dataclass(frozen=True)
class ProgramSummary:
    """`dataclasses.asdict` of it is ready for JSON."""

    name: str
    entry: str
    totals: Totals
    kernels: tuple[KernelSummary, ...]
    buffers: tuple[BufferSummary, ...]
    launches: tuple[LaunchSummary, ...] = ()


def summarise(graph: Graph, source: Source, gradients: Mapping[str, str] | None = None) -> ProgramSummary:
    """The summary of a planned graph and the source that was emitted from it.

    `gradients`: names of values that autodiff made, and of the parameters whose gradients they are.
    """
    kernels = tuple(_kernel(k) for k in source.kernels)
    results = (v for n in graph.nodes for v in n.outputs)
    returned = set(graph.outputs)
    lives = {x.value: (x.first, x.last) for x in intervals(graph)}
    readers = _update_readers(graph)
    made = {v: p for v, p in ((v, (gradients or {}).get(v.name)) for v in lives) if p and v in readers.get(p, ())}
    totals = Totals(
        kernels=len(kernels),
        launches=source.launch_count,
        flops=sum(k.flops for k in kernels),
        bytes=sum(k.bytes for k in kernels),
        im2col_bytes_avoided=sum(k.im2col_bytes_avoided for k in kernels),
        parameters=sum(v.type.elements for v in graph.inputs_of("parameter")),
        arena_bytes=graph.arena_bytes,
        arena_bytes_without_reuse=unplanned_bytes(graph),
    )
    buffers = (
        *(_input(graph, v) for v in graph.inputs),
        *(_result(graph, v, v in returned, lives.get(v), made.get(v)) for v in results),
    )
    launches = tuple(map(_launch, source.launches)) if isinstance(source, CudaSource) else ()
    return ProgramSummary(graph.name, source.entry, totals, kernels, buffers, launches)


def _launch(launch: Launch) -> LaunchSummary:
    names = tuple(k.name for k in launch.kernels)
    shared = (launch.shared_bytes, launch.dynamic_bytes)
    return LaunchSummary(launch.name, names, launch.blocks, launch.threads, *shared, launch.parameters)


def _kernel(kernel: Kernel) -> KernelSummary:
    op, card = kernel.node.op, kernel.card
    assert isinstance(op, Gemm | Loops)
    values = (*kernel.node.inputs, *kernel.node.outputs)
    schedules: tuple[AnyGemmSchedule | AnyLoopSchedule, ...]
    schedules = op.schedules if isinstance(op, Gemm) else (op.schedule,) if op.schedule else ()
    return KernelSummary(
        name=kernel.name,
        path=card.path,
        passes=card.passes,
        flops=card.flops,
        bytes=card.bytes,
        im2col_bytes_avoided=card.im2col_bytes,
        gemm=tuple(Extents(*v.extents) for v in op.phases) if isinstance(op, Gemm) else (),
        schedules=schedules,
        parameters=tuple(Argument(p.pointer, p.dtype, p.written, v.name) for p, v in zip(kernel.parameters, values)),
        counted=card.counted,
    )


def _input(graph: Graph, v: Value) -> BufferSummary:
    return BufferSummary(v.name, str(v.type), v.type.nbytes, graph.role(v))


def _update_readers(graph: Graph) -> dict[str, tuple[Value, ...]]:
    """For each input that is updated, what the kernel reads that updates it."""
    made_by = graph.producers()
    return {name: made_by[v].inputs for name, v in graph.updates.items() if v in made_by}


def _result(
    graph: Graph, v: Value, returned: bool, lives: tuple[int, int] | None, gradient_of: str | None
) -> BufferSummary:
    place = graph.placements.get(v.name)
    size, kind = v.type.nbytes, str(v.type)
    if returned or place is None:
        return BufferSummary(v.name, kind, size, "output")
    if place.inside is not None:
        return BufferSummary(v.name, kind, size, "update", inside=place.inside)
    first, last = lives or (None, None)
    return BufferSummary(v.name, kind, size, "intermediate", place.offset, None, first, last, gradient_of)
