"""Every kernel of a C program called alone, on what the interpreter says that it gets: which one is wrong?"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from convc.codegen.emit import CSource
from convc.errors import ToolchainError
from convc.ir.core import Array, Graph, Node, Value
from convc.ir.interp import batch_rows, interpret, run_shape
from convc.ir.types import DTYPES, TensorType
from convc.runtime.memory import aligned_zeros
from convc.testing.bounds import error_bound
from convc.testing.trial import Comparison, comparison


def first_wrong_kernel(
    source: CSource, graph: Graph, library: ctypes.CDLL, inputs: Mapping[str, Array]
) -> tuple[str, Comparison] | None:
    """The name of the first kernel that computes wrong numbers, and the first of its results that is wrong.

    `source`: what was emitted for `graph`. `library`: the program, built from it or from an edited one, whose kernels
    must take what they took. `inputs`: of the graph, as interpret takes them. None: each is right by itself. Raises
    ToolchainError where a kernel is missing.
    """
    apart = replace(graph, placements={}, arena_bytes=0, updates={})
    apart = replace(apart, outputs=tuple(v for n in apart.nodes for v in n.outputs))
    exact = interpret(apart, inputs)
    known = {v: inputs[v.name] for v in graph.inputs} | {v: exact[v.name] for v in apart.outputs}
    rows = batch_rows(graph, {k: np.shape(v) for k, v in inputs.items()})
    for kernel in source.kernels:
        node = kernel.node
        given = {v: _as_held(v, known[v]) for v in node.inputs}
        results = _run(kernel.name, node, library, given, rows)
        alone = Graph(graph.name, tuple(given), (node,), node.outputs)
        named = {v.name: a for v, a in given.items()}
        right, bounds = interpret(alone, named), error_bound(alone, named)
        for v, found in results.items():
            compared = comparison(v.name, found, right[v.name], bounds[v.name])
            if compared.wrong:
                return kernel.name, compared
    return None


def _as_held(v: Value, array: Array) -> Array:
    """The numbers as the dtype holds them, in float64."""
    return np.asarray(array).astype(DTYPES[v.type.dtype]).astype(np.float64)


def _run(name: str, node: Node, library: ctypes.CDLL, given: Mapping[Value, Array], rows: int) -> dict[Value, Array]:
    try:
        function = getattr(library, name)
    except AttributeError:
        raise ToolchainError(f"there is no function {name} any more: keep the names that were emitted") from None
    arrays = [pack(v.type, given[v]) for v in node.inputs] + [pack(v.type, None) for v in node.outputs]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    function(*pointers, *(ctypes.c_long(x) for x in (rows, 0, 1)))
    return {v: unpack(v.type, a, rows) for v, a in zip(node.outputs, arrays[len(node.inputs) :])}


def pack(t: TensorType, array: Array | None) -> Array:
    """The array in the bytes of its type, at full batch capacity, zeros where there is nothing; flat."""
    place = aligned_zeros(max(t.nbytes, 64))[: t.nbytes].view(DTYPES[t.dtype])
    if array is not None:
        whole = np.zeros(_padded(t), DTYPES[t.dtype])
        whole[tuple(slice(0, extent) for extent in array.shape)] = array
        place[...] = _stored(t, whole).reshape(-1)
    return place


def unpack(t: TensorType, place: Array, rows: int) -> Array:
    """The first n rows of what lies in the bytes of a type: the inverse of `pack`."""
    whole = np.zeros(_padded(t), place.dtype)
    stored = _stored(t, whole)  # a view, through which the numbers find their logical places
    stored[...] = place.reshape(stored.shape)
    return whole[tuple(slice(0, extent) for extent in run_shape(t, rows))].copy()


def _padded(t: TensorType) -> tuple[int, ...]:
    """The logical extents, that of the blocked axis rounded up to whole blocks."""
    blocked, width = (None, 1) if t.layout is None else (t.layout.blocked, t.layout.width)
    return tuple(-(-int(e) // width) * width if a == blocked else int(e) for a, e in enumerate(t.shape))


def _stored(t: TensorType, whole: Array) -> Array:
    """The padded array in the order of memory: a view."""
    if t.layout is None:
        return whole
    order, blocked, width = t.layout.order, t.layout.blocked, t.layout.width
    if blocked is None:
        return whole.transpose(order)
    split = whole.reshape(*whole.shape[:blocked], -1, width, *whole.shape[blocked + 1 :])
    return split.transpose(*(a if a <= blocked else a + 1 for a in order), blocked + 1)
