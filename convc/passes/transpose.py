"""Nests that read memory along one axis and write it along another: tiles of points that turn in shared memory.

Whichever axis neighbouring threads are neighbours along, such a nest scatters either its loads or its stores, each
element in a sector of its own. Here a block takes a tile of both axes. Its threads go through the tile's points twice:
in the order in which the operands lie, then in the order of the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convc.ir.core import Node
from convc.ir.index import Axis, Index
from convc.ir.kernels import Loops, TransposeSchedule
from convc.ir.loop_nest import Map, Reduce
from convc.ir.scalar import Load, loads
from convc.ir.types import TensorType
from convc.passes.target import BLOCK, SECTOR, STATIC_SHARED_BYTES, WARP

POINTS = 1024
"""Of a tile: eight a thread."""


def transposed(node: Node) -> TransposeSchedule | None:
    """The tile of a nest whose loads and stores lie along different axes; None for all others."""
    assert isinstance(node.op, Loops)
    nest = node.op.nest
    *reduces, last = nest.stages
    if not isinstance(last, Map) or last.axes or not all(isinstance(s, Reduce) for s in reduces):
        return None
    if prod(int(a.extent) for a in nest.axes) < POINTS:
        return None
    inputs = [v.type for v in node.inputs]
    written = [node.outputs[s.output].type.offset(s.coords) for s in last.stores]
    stores = _inner(written, nest.axes)
    if stores is None:
        return None
    first = [e for s in reduces for e in loads(*s.roots)] or read_first(last, inputs, stores)
    read = [inputs[e.operand].offset(e.coords) for e in first]
    reads = _inner(read, nest.axes)
    if reads is None or reads is stores:
        return None
    sizes = {a: int(a.extent) if a.extent < 2 * WARP else WARP for a in (reads, stores)}
    for one, other in ((reads, stores), (stores, reads)):
        if sizes[other] < WARP:
            sizes[one] = min(int(one.extent), max(WARP, POINTS // sizes[other] // WARP * WARP))
    passed = len(read_first(last, inputs, stores)) + sum(len(s.results) for s in reduces if isinstance(s, Reduce))
    if 4 * passed * sizes[stores] * (sizes[reads] + WARP) > STATIC_SHARED_BYTES:
        return None
    runs = _run(read, reads, stores, sizes), _run(written, stores, reads, sizes)
    if min(runs) < SECTOR:  # as many sectors would be touched as without the tile
        return None
    return TransposeSchedule((reads.name, sizes[reads]), (stores.name, sizes[stores]), BLOCK)


def read_first(last: Map, inputs: Sequence[TensorType], stores: Axis) -> list[Load]:
    """What the last stage loads along another axis than it stores."""
    found = dict.fromkeys(loads(*last.roots))
    return [e for e in found if inputs[e.operand].offset(e.coords).coefficient(stores) not in (0, 1)]


def _inner(offsets: Sequence[Index], axes: Sequence[Axis]) -> Axis | None:
    """The axis along which all of them take the next element."""
    found = [a for a in axes if a.extent > 1 and offsets and all(o.coefficient(a) == 1 for o in offsets)]
    return found[0] if len(found) == 1 else None


def _run(offsets: Sequence[Index], inner: Axis, outer: Axis, sizes: dict[Axis, int]) -> int:
    """Neighbouring elements of a tile: a line of it, or all of it where lines meet."""
    size = int(inner.extent)
    whole = sizes[inner] == size and all(o.coefficient(outer) == size for o in offsets)
    return sizes[inner] * (sizes[outer] if whole else 1)
