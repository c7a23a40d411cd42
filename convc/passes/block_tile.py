"""The tile of C that a block of threads computes: a model of the time that each choice takes.

A multiprocessor issues one instruction for each of four warps a cycle. To the multiply-adds of a slice come the
loads of fragments from shared memory, and the gathers; a block cannot start a slice before its copies are there,
which other blocks on the same multiprocessor, and copies issued slices ahead, hide. No kernel is faster than its
bytes take to and from memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from convc.ir.core import Node
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Index
from convc.ir.kernels import BlockTile, Gemm
from convc.ir.scalar import Load, Scalar
from convc.ir.types import Rows, TensorType
from convc.passes.target import BLOCK_SHARED_BYTES, Target

TILES = (
    BlockTile(128, 128, 16, 8, 8, 4),
    BlockTile(128, 128, 8, 8, 8, 4),
    BlockTile(128, 64, 8, 8, 4, 4),
    BlockTile(64, 128, 8, 4, 8, 4),
    BlockTile(64, 64, 8, 4, 4, 4),
    BlockTile(32, 128, 8, 4, 4, 4),
    BlockTile(32, 64, 8, 4, 4, 4),
    BlockTile(64, 32, 8, 4, 4, 4),
    BlockTile(16, 128, 8, 4, 4, 4),
    BlockTile(32, 32, 16, 2, 4, 4),
    BlockTile(16, 64, 16, 2, 4, 4),
    BlockTile(64, 16, 16, 4, 2, 4),
    BlockTile(8, 128, 8, 2, 4, 4),
    BlockTile(16, 32, 16, 2, 2, 4),
    BlockTile(8, 32, 16, 1, 2, 4),
)
"""The tiles that are shipped: each is compiled for every architecture in the tests, and none spills."""
WASTE = 1.25
"""How many times the terms of a sum a walk along one axis may take: slices behind its end are zeros."""
ISSUE = 128
"""Lanes that a multiprocessor issues for in a cycle."""
LINE = 32
"""Elements of a cache line: the L1 cache, which shared memory is a part of, serves one a cycle."""
FLAT, ROWS, SLICED = 16, 9, 7
"""Instructions a gathered element: where each works out its own place along K, or tests guards of its own; in a sum
over batch rows, where a thread's elements share theirs; and in a walk along one axis, where a slice's elements do."""
SPAN = 8
"""Places along K that neighbouring threads take where they gather along K: a sector of 32 bytes."""
LATENCY, SYNC, START = 700, 60, 2500
"""Cycles until a copy is there; for a slice's barrier; for a block's first slice and its epilogue."""
TIE = 0.01
"""Of the time of its cache lines, so that of two schedules that issue as long the one wins that touches fewer."""
REGISTERS = 48
"""Registers of a thread besides its sums and fragments."""


@dataclass(frozen=True)
class Estimate:
    """A tile and the model's time for all phases, in seconds."""

    tile: BlockTile
    seconds: float


def block_tile_for(node: Node, target: Target) -> BlockTile:
    """The fastest tile for all phases together: they share the block's memory, so they share the tile."""
    return ranking(node, target)[0].tile


def ranking(node: Node, target: Target) -> list[Estimate]:
    """Every tile that fits the node's phases, the fastest first; equal ones in the order of `TILES`."""
    assert isinstance(node.op, Gemm)
    phases, inputs = node.op.phases, [v.type for v in node.inputs]
    floor = memory_seconds(node, target)
    outputs = [v.type for v in node.outputs]
    work = [(view, _sides(view, inputs), _stored(view, outputs)) for view in phases]
    found = [
        Estimate(t, max(floor, sum(_cycles(*phase, t, target) for phase in work) / target.clock_hz))
        for t in candidates(phases, target.level)
    ]
    return sorted(found, key=lambda e: e.seconds)


def best_seconds(node: Node, target: Target) -> float:
    """The model's time for a product, turned so that its results are stored side by side."""
    assert isinstance(node.op, Gemm)
    phases = tuple(oriented(view, [v.type for v in node.outputs]) for view in node.op.phases)
    return ranking(replace(node, op=replace(node.op, phases=phases)), target)[0].seconds


def memory_seconds(node: Node, target: Target) -> float:
    """What moving each operand and result once takes."""
    moved = sum(v.type.nbytes for v in (*node.inputs, *node.outputs))
    return moved / target.bytes_per_second


def candidates(phases: Sequence[GemmView], level: int) -> Iterator[BlockTile]:
    """The tiles of a level of the ladder: 0 no shared memory, 1 one sum a thread, 2 a tile of sums a thread,
    3 a walk along one axis, 4 copies slices ahead."""
    if level <= 1:
        yield BlockTile(16, 16, 16 if level else 1, 1, 1, stages=level)
        return
    for t in TILES:
        staged = t if level >= 4 else replace(t, stages=1)
        yield staged
        if level >= 3:
            yield from (replace(staged, slice=axis) for axis in slice_axes(phases, t.block_k))


def slice_axes(phases: Sequence[GemmView], depth: int) -> list[str]:
    """The axes of k whose slices are not mostly behind their end, in every phase."""
    found = []
    for axis in phases[0].k:
        several = sum(a.extent > 1 for a in phases[0].k) > 1
        if several and not isinstance(axis.extent, Rows) and all(_fits(view, axis.name, depth) for view in phases):
            found.append(axis.name)
    return found


def _fits(view: GemmView, name: str, depth: int) -> bool:
    axis = next((a for a in view.k if a.name == name), None)
    return axis is not None and -(-int(axis.extent) // depth) * depth <= WASTE * int(axis.extent)


@dataclass(frozen=True)
class _Side:
    """One factor: the axes of its lines, and where an element lies, None where it is no plain load.

    `inside`: no guard depends on the element. `whole`: four neighbouring lines may be one copy.
    """

    line: tuple[Axis, ...]
    offset: Index | None
    inside: bool = False
    whole: bool = False


def _sides(view: GemmView, inputs: Sequence[TensorType]) -> tuple[_Side, _Side]:
    return _side(view.a, view.m, inputs), _side(view.b, view.n, inputs)


def _side(factor: Scalar, line: Sequence[Axis], inputs: Sequence[TensorType]) -> _Side:
    if not isinstance(factor, Load):
        return _Side(tuple(line), None)
    found = inputs[factor.operand]
    offset = found.offset(factor.coords)
    inside = all(c.within(0, int(e)) for c, e in zip(factor.coords, found.shape))
    whole = inside and _neighbours(offset, line) and int(line[-1].extent) % 4 == 0
    return _Side(tuple(line), offset, inside, whole)


def _stored(view: GemmView, outputs: Sequence[TensorType]) -> Index:
    """Where a result lies, of the first store."""
    s = view.stores[0]
    return outputs[s.output].offset(s.coords)


def _cycles(view: GemmView, sides: tuple[_Side, _Side], stored: Index, t: BlockTile, target: Target) -> float:
    groups, m, n, k = view.extents
    blocks = groups * -(-m // t.block_m) * -(-n // t.block_n)
    slices = _slices(view, t) if k else 0
    per_unit = -(-blocks // target.multiprocessors)
    resident = max(1, min(per_unit, _resident(t)))
    waves = -(-per_unit // resident)
    multiply = t.block_m * t.block_n * t.block_k
    quads = -(-t.thread_m // 4) + -(-t.thread_n // 4)
    gathers = [_gather(side, view, lines, t) for side, lines in zip(sides, (t.block_m, t.block_n))]
    issue = (multiply + t.threads * t.block_k * quads * 2 + sum(i for i, _ in gathers)) / ISSUE + SYNC
    lines = t.threads // 32 * t.block_k * quads * 1.5 + sum(x for _, x in gathers)
    wait = LATENCY / max(t.stages - 1, 1) if t.stages > 1 else LATENCY
    slowest = max(resident * issue, resident * lines, wait + issue)
    stores = t.block_m * t.block_n / 32 * cache_lines(stored, tuple(view.n), t.block_n)
    return waves * (slices * (slowest + TIE * lines) + START + resident * stores)


def _gather(side: _Side, view: GemmView, lines: int, t: BlockTile) -> tuple[float, float]:
    """Instructions, and cache lines, that a slice of one factor takes."""
    elements = lines * t.block_k
    summed = any(isinstance(a.extent, Rows) for a in (*view.batch, *view.k))
    each: float = SLICED if t.slice else ROWS if summed else FLAT
    if side.offset is None:
        return float(each * elements), float(elements)
    axis = next((a for a in view.k if a.name == t.slice), None)
    k = (axis,) if axis else view.k
    along_k = takes_k(side.offset, side.line, lines, k, t.block_k)
    touched = cache_lines(side.offset, k, t.block_k) if along_k else cache_lines(side.offset, side.line, lines)
    if along_k and not side.inside:
        each = max(each, FLAT * SPAN / t.block_k)  # guards are a line's, and each thread has that many places on one
    elif not along_k and side.whole and t.stages > 1:
        each /= 4
    return each * elements, elements / 32 * touched


def lines_a_request(view: GemmView, inputs: Sequence[TensorType], t: BlockTile) -> tuple[float, float]:
    """Cache lines that a warp's 32 elements lie in when they are gathered: of A, of B."""
    sides = zip(_sides(view, inputs), (t.block_m, t.block_n))
    a, b = (_gather(side, view, lines, t)[1] * 32 / (lines * t.block_k) for side, lines in sides)
    return a, b


def takes_k(offset: Index, line: Sequence[Axis], lines: int, k: Sequence[Axis], depth: int) -> bool:
    """Whether consecutive threads gather along K: where their elements then lie in fewer cache lines."""
    return cache_lines(offset, tuple(k), depth) < cache_lines(offset, tuple(line), lines)


@lru_cache(maxsize=1 << 14)
def cache_lines(offset: Index, axes: tuple[Axis, ...], span: int) -> float:
    """Cache lines that 32 elements lie in, the first `span` points of the axes in a row, the innermost fastest."""
    group = min(span, 32)
    touched = {_at(offset, axes, point) // LINE for point in range(group)}
    return 32 / group * len(touched)


def _at(offset: Index, axes: tuple[Axis, ...], point: int) -> int:
    """The address of a point of the axes, all other axes at 0; behind the last one the first follows again."""
    values: dict[Axis, int] = {}
    for axis in reversed(axes):
        values[axis], point = point % max(int(axis.extent), 1), point // max(int(axis.extent), 1)
    return offset.fold(lambda a: values.get(a, 0), int)


def _neighbours(offset: Index, axes: Sequence[Axis]) -> bool:
    """Whether the innermost axis walks through memory element by element."""
    axis = next((a for a in reversed(axes) if a.extent > 1), None)
    return axis is not None and offset.coefficient(axis) == 1


def _slices(view: GemmView, t: BlockTile) -> int:
    axes: Sequence[Axis] = view.k
    if t.slice is None:
        return -(-view.extents[3] // t.block_k)
    return prod(-(-int(a.extent) // t.block_k) if a.name == t.slice else int(a.extent) for a in axes)


def _resident(t: BlockTile) -> int:
    """Blocks on a multiprocessor at once, as threads, registers and shared memory allow."""
    registers = REGISTERS + t.thread_m * t.thread_n + t.thread_m + t.thread_n
    shared = 4 * t.stages * t.block_k * (t.block_m + t.block_n + 8) + 1024
    return min(2048 // t.threads, 65536 // (registers * t.threads), (BLOCK_SHARED_BYTES + 1024) // shared)


def oriented(view: GemmView, outputs: Sequence[TensorType]) -> GemmView:
    """The same product with its sides swapped, where only that lets neighbours along n be stored side by side."""
    strides = {}
    for side, axes in (("m", view.m), ("n", view.n)):
        inner = next((a for a in reversed(axes) if a.extent > 1), None)
        found = {outputs[s.output].offset(s.coords).coefficient(inner) for s in view.stores} if inner else set()
        strides[side] = found == {1}
    if strides["m"] and not strides["n"]:
        return replace(view, m=view.n, n=view.m, a=view.b, b=view.a)
    return view
