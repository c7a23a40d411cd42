"""Whether a program fits into memory: asked before it is built, and before any of it is allocated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from convc.build import memory
from convc.errors import RunError
from convc.ir.core import Graph, Value
from convc.runtime.store import KINDS, ParameterStore

LANES = 16
"""Rows are stored in blocks of so many."""
NAMES = {"parameter": "parameters", "state": "optimizer state", "constant": "constants"}


def needed(graph: Graph, store: ParameterStore, target: str) -> dict[str, int]:
    """Bytes on the host, by what they are for; what the store holds already is not counted again."""
    emulated = target.startswith("emulator")
    parts = {} if target.startswith("cuda") else {"arena": graph.arena_bytes * (2 if emulated else 1)}
    for kind in KINDS:
        parts[NAMES[kind]] = _bytes(tuple(v for v in graph.inputs_of(kind) if v.name not in store))
    return parts | {"inputs": _bytes(graph.inputs_of("data")), "outputs": _bytes(graph.outputs)}


def check_fits(graph: Graph, store: ParameterStore, target: str, more: Mapping[str, int] | None = None) -> None:
    """Raises RunError where the program needs more memory than there is, with what for, and the batch that would fit.

    `graph` is planned; `target`: cpu, cuda or emulator; `more`: further bytes, by what they are for.
    """
    parts = {k: n for k, n in (needed(graph, store, target) | dict(more or {})).items() if n}
    total, free = sum(parts.values()), memory.available()
    if total <= free:
        return
    listed = ", ".join(f"{name} {memory.text(n)}" for name, n in sorted(parts.items(), key=lambda x: -x[1]))
    capacity = int(next((v.type.rows for v in graph.inputs if v.type.rows is not None), 1))
    rows = f" for batches of {capacity}" if capacity > 1 else ""
    raise RunError(
        f"a program must fit memory, but {graph.name}{rows} needs {memory.text(total)} ({total} bytes: {listed}), and "
        f"{memory.text(free)} are free; {_remedy(graph, parts, capacity, free)}"
    )


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """What Python cannot allocate inside comes out as one RunError that says what for."""
    try:
        yield
    except MemoryError:
        raise RunError(
            f"{what} takes more memory than the {memory.text(memory.available())} that are free; take a smaller batch"
        ) from None


def _remedy(graph: Graph, parts: Mapping[str, int], capacity: int, free: int) -> str:
    stored = sum(parts.get(name, 0) for name in NAMES.values())
    each = (sum(parts.values()) - stored) / capacity
    fixed = stored + _bytes(tuple(v for n in graph.nodes for v in n.outputs if v.type.rows is None))  # gradients
    fits = min(int((free - fixed) / each), capacity - 1) if each and free > fixed else 0
    fits -= fits % LANES if fits > LANES else 0
    return f"a batch of about {fits} would fit" if fits > 0 else "take a smaller model or image"


def _bytes(values: tuple[Value, ...]) -> int:
    return sum(v.type.nbytes for v in values)
