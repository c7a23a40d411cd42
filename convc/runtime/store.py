"""Parameters and state: outside every program's arena, contiguous by kind, shared by train and eval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.build.files import read_whole, write_atomically
from convc.checks import shown
from convc.debug import LINES, say
from convc.errors import DataError, RunError
from convc.ir.core import Graph, Role
from convc.ir.lexer import did_you_mean
from convc.ir.types import TensorType
from convc.locks import SharedLock
from convc.runtime.digest import blank_mark, check_digest, stamped
from convc.runtime.memory import ALIGNMENT, Buffer, Slot
from convc.runtime.weights import Loaded, Stored, fit, parse
from convc.table import Table, first

MOST_SHOWN = 40
"""Arrays that a notebook shows."""
Array = npt.NDArray[Any]
KINDS: tuple[Role, ...] = ("parameter", "state", "constant")


class ParameterStore:
    """Named arrays of one kind each, in one buffer a kind, every array on a 64-byte boundary.

    `store["conv1.weight"]` is a view that programs read and write; assign through it with `[...]`. After a run
    ask for it again: programs on a device write to a copy there, and asking brings it back.

    A call of a program has the store for itself, and so has each method here: any of them may come from any thread.
    A view that was handed out is read and written without a lock: `snapshot` gives copies of one moment.
    """

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self._lock = SharedLock()
        self.buffers: tuple[Buffer, ...] = ()
        """What the arrays lie in; more may come, none goes."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else touches the arrays meanwhile: no program of this store, nor of one that shares arrays with it."""
        with self._lock.held():
            yield

    @property
    def version(self) -> int:
        """A number that grows with every train step, load, restore and reset, and whenever an array is asked for.

        What is derived from the arrays stays right as long as it stays the same; a view that was asked for before
        and is written to later goes unseen.
        """
        with self.locked():
            return sum(b.version for b in self.buffers)

    def add(self, entries: Mapping[str, tuple[Role, TensorType]]) -> tuple[str, ...]:
        """Make room for tensors not there yet, zero-filled, and return their names; others must be of their type."""
        with self.locked():
            fresh: dict[Role, dict[str, TensorType]] = {}
            for name, (kind, t) in entries.items():
                if name not in self._slots:
                    fresh.setdefault(kind, {})[name] = t
                else:
                    check_type(f"the store holds {name}", self._slots[name], t)
            for kind, types in fresh.items():
                self._extend(kind, types)
            return tuple(name for types in fresh.values() for name in types)

    def _extend(self, kind: Role, types: Mapping[str, TensorType]) -> None:
        """One new buffer for all of these: views handed out before stay what they are."""
        offsets, end = {}, 0
        for name, t in types.items():
            offsets[name] = end
            end += -(-t.nbytes // ALIGNMENT) * ALIGNMENT
        buffer = Buffer(end, self._lock)
        self.buffers = (*self.buffers, buffer)
        self._slots |= {name: Slot(buffer, offsets[name], kind, t) for name, t in types.items()}

    def add_from(self, graph: Graph) -> None:
        """Room for everything of the graph that lives in a store."""
        self.add({v.name: (graph.role(v), v.type) for v in graph.inputs_of(*KINDS)})

    def adopt(self, name: str, slot: Slot) -> None:
        """Hold another store's tensor too, under this name: both read and write the same numbers from now on."""
        self._lock.join(slot.buffer.lock)
        with self.locked():
            self._slots[name] = slot
            self.buffers = tuple(dict.fromkeys((*self.buffers, slot.buffer)))

    def slot(self, name: str) -> Slot:
        """Where the array lies. Raises RunError for a name that the store does not hold."""
        if not isinstance(name, str) or name not in self._slots:
            remedy = did_you_mean(str(name), self._slots) if self._slots else "; it is empty: compile the model first"
            raise RunError(f"the store holds no {name if isinstance(name, str) else shown(name)}{remedy}")
        return self._slots[name]

    def __getitem__(self, name: str) -> Array:
        slot = self.slot(name)
        with self.locked():
            slot.buffer.version += 1  # who asks may write
            return _newest(slot)

    def table(self) -> Table:
        """The first arrays: what each is for, its type and how many numbers it has."""
        slots = tuple(self._slots.items())
        rows = ((n, s.kind, str(s.type), f"{s.type.elements:,}") for n, s in slots)
        return Table(repr(self), ("name", "is", "type", "numbers"), first(rows, MOST_SHOWN, len(slots)), ("numbers",))

    def __repr__(self) -> str:
        kinds = [(k, [s for s in tuple(self._slots.values()) if s.kind == k]) for k in KINDS]
        parts = [f"{len(held)} {k} ({sum(s.type.elements for s in held):,} numbers)" for k, held in kinds if held]
        return f"ParameterStore: {', '.join(parts) or 'empty'}"

    def _repr_html_(self) -> str:
        return self.table().html()

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._slots))

    def names(self, *kinds: Role) -> tuple[str, ...]:
        return tuple(n for n, s in tuple(self._slots.items()) if not kinds or s.kind in kinds)

    def snapshot(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Copies of the arrays, all of one moment."""
        with self.locked():
            return {n: _newest(self.slot(n)).copy() for n in (self if names is None else names)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Write arrays back; all must be known and have their shape, or nothing is written. The others stay."""
        with self.locked():
            for name, array in arrays.items():
                if self.slot(name).shape != array.shape:
                    raise RunError(f"{name} must have shape {list(self.slot(name).shape)}, not {list(array.shape)}")
            for name, array in arrays.items():
                self[name][...] = array

    def write(self, view: Array, numbers: Array) -> None:
        """Assign to an array that lies in the store, wherever its numbers are now."""
        with self.locked():
            for buffer in self.buffers:
                if np.may_share_memory(view, buffer.host):
                    buffer.move_to(None)
                    buffer.version += 1
            view[...] = numbers

    def zero_state(self) -> None:
        """Forget what the optimizers keep: momenta, and how many steps there have been."""
        with self.locked():
            for name in self.names("state"):
                self[name][...] = 0

    def save(
        self,
        path: str | Path,
        metadata: Mapping[str, str] | None = None,
        names: Iterable[str] | None = None,
        *,
        state: bool = False,
    ) -> None:
        """Write the parameters as safetensors with a digest, at once or not at all.

        With `state` also what the optimizers keep, the counts of steps among it: training goes on from such a file
        as if it had never stopped. `names`: the arrays named and no others.
        """
        write_atomically(Path(path), self.to_bytes(metadata, names, state=state))

    def to_bytes(
        self, metadata: Mapping[str, str] | None = None, names: Iterable[str] | None = None, *, state: bool = False
    ) -> bytes:
        """The file that `save` would write."""
        from safetensors.numpy import save  # here: a program that runs needs no file format

        names = self.names("parameter", *(("state",) if state else ())) if names is None else names
        return stamped(save(self.snapshot(names), blank_mark(metadata)))

    def load(self, path: str | Path, *, strict: bool = True, finite: bool = True, shapes: bool = True) -> Loaded:
        """Read parameters, and state where the file has it, from safetensors, and say what was read.

        F16, BF16 and F64 become float32: see convc.runtime.weights. With `strict` False the file may lack parameters,
        which stay as they are, and have other arrays; with `shapes` False so do arrays that have another shape there.
        `finite` False lets NaN and infinities in. State that the file has not becomes zero: a file of weights alone is
        where a training begins, its first step counts as 1. Raises DataError where the file is none, is damaged, lacks
        a parameter, or has an array too many, of another shape or of a dtype that is not converted; nothing is changed
        then.
        """
        path = Path(path)
        data = read_whole(path, "weights from ")
        return self.from_bytes(data, path, strict=strict, finite=finite, shapes=shapes)

    def from_bytes(
        self, data: bytes, path: Path, *, strict: bool = True, finite: bool = True, shapes: bool = True
    ) -> Loaded:
        """As `load`, of a file whose bytes these are; errors call it `path`."""
        stored = parse_safetensors(data, path)
        with self.locked():
            held = {n: self.slot(n).array for n in self}
            rules = {"strict": strict, "finite": finite, "shapes": shapes}
            arrays, loaded = fit(stored, held, self.names("parameter"), path, **rules)
            self.restore(arrays)
            absent = [n for n in self.names("state") if n not in arrays]
            for name in absent:
                self[name][...] = 0
        if absent:
            say(LINES, f"convc: {path} holds no {absent[0]}: state that is not in the file begins at 0")
        return loaded


class Use:
    """What one program uses of a store, on a device or, with None, on the host.

    `with use.run():` is a run: the store is locked, the arrays are in their place, and those that the graph updates
    are new afterwards.
    """

    def __init__(self, store: ParameterStore, graph: Graph, device: int | None = None) -> None:
        self.store, self._device = store, device
        self.slots = tuple(store.slot(v.name) for v in graph.inputs_of(*KINDS))
        self._buffers = tuple(dict.fromkeys(s.buffer for s in self.slots))
        self._written = tuple(dict.fromkeys(store.slot(name).buffer for name in graph.updates))

    @contextmanager
    def run(self) -> Iterator[None]:
        with self.store.locked():
            for buffer in self._buffers:
                buffer.move_to(self._device)
            try:
                yield
            finally:  # a run that fails may have written too
                for buffer in self._written:
                    buffer.version += 1


def check_type(holder: str, held: Slot, wanted: TensorType) -> None:
    """Raises RunError unless the two have one shape and dtype."""
    shape = tuple(int(e) for e in wanted.shape)
    if held.shape != shape:
        raise RunError(f"{holder} with shape {list(held.shape)}, the program needs {list(shape)}")
    if held.type.dtype != wanted.dtype:
        raise RunError(f"{holder} as {held.type.dtype}, the program needs {wanted.dtype}")


def _newest(slot: Slot) -> Array:
    """The array with its newest numbers, within the store's lock."""
    slot.buffer.move_to(None)
    return slot.array


def parse_safetensors(data: bytes, path: Path) -> dict[str, Stored]:
    """The tensors of a file's bytes, whose digest must be right where it has one. Raises DataError."""
    from safetensors import SafetensorError

    check_digest(path, data)
    try:
        return parse(data)
    except (SafetensorError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise DataError(f"{path} is not a safetensors file: {str(error) or type(error).__name__}") from None
