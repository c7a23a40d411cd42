"""What a caller gives may share memory: inputs with `out=`, outputs with each other, and any of them with a store.

All arrays here are C-contiguous, so that two share memory exactly where their bounds overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.errors import RunError
from convc.ir.core import Graph
from convc.runtime.memory import Buffer
from convc.runtime.store import ParameterStore

Array = npt.NDArray[Any]


def overlap(array: Array, others: Iterable[Array]) -> bool:
    """Whether it shares memory with one of the others."""
    return any(np.may_share_memory(array, other) for other in others)


def check_outputs(graph: Graph, outputs: Sequence[Array], store: ParameterStore) -> None:
    """Raises RunError where two outputs share memory, or one with what the program itself updates."""
    for i, (v, a) in enumerate(zip(graph.outputs, outputs, strict=True)):
        for w, b in zip(graph.outputs[:i], outputs):
            if overlap(a, [b]):
                raise RunError(f"out for {w.name} and {v.name} share memory; give each output an array of its own")
        for name in graph.updates:
            if overlap(a, [store.slot(name).array]):
                raise RunError(
                    f"out for {v.name} lies in {name}, which the program updates; give an array outside the store"
                )


def in_store(array: Array, store: ParameterStore) -> bool:
    return overlap(array, (buffer.host for buffer in store.buffers))


def unwritten(inputs: Sequence[Array], outputs: Sequence[Array], updated: Sequence[Buffer]) -> list[Array]:
    """The inputs, copied where the program may write to their memory: as `out=`, or by an update."""
    written = [*outputs, *(buffer.host for buffer in updated)]
    return [a.copy() if overlap(a, written) else a for a in inputs]
