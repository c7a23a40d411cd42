"""Parameters and state: outside every program's arena, contiguous by kind, shared by train and eval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from convc.build.files import read_whole, write_atomically
from convc.errors import DataError, RunError
from convc.ir.core import Graph, Role
from convc.ir.types import DTYPES, TensorType
from convc.runtime.digest import blank_mark, check_digest, stamped

Array = npt.NDArray[Any]
ALIGNMENT = 64
KINDS: tuple[Role, ...] = ("parameter", "state", "constant")


class Home(Protocol):
    """Another memory that a store's arrays can live in: that of a device."""

    def upload(self, store: ParameterStore) -> None:
        """Copy every buffer of the store there."""

    def download(self, store: ParameterStore) -> None:
        """Copy every buffer back into the store."""


class ParameterStore:
    """Named arrays of one kind each, in one buffer a kind, every array on a 64-byte boundary.

    `store["conv1.weight"]` is a view that programs read and write; assign through it with `[...]`. After a run
    ask for it again: programs on a device write to a copy there, and asking brings it back.
    """

    def __init__(self) -> None:
        self._views: dict[str, Array] = {}
        self._kinds: dict[str, Role] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._home: Home | None = None
        self.buffers: list[Array] = []
        """uint8, what the arrays are views of; they stay where they are, and more may come."""
        self.homes: dict[int, Home] = {}
        """By the number of a device: the copy there that all its programs share."""
        self.updates = 0
        """How many steps have updated the parameters since they got their first values."""

    def add(self, entries: Mapping[str, tuple[Role, TensorType]]) -> None:
        """Make room for tensors not there yet, zero-filled; those that are must have the same type."""
        fresh: dict[Role, dict[str, TensorType]] = {}
        for name, (kind, t) in entries.items():
            shape = tuple(int(e) for e in t.shape)
            if name not in self._views:
                fresh.setdefault(kind, {})[name] = t
            elif self._views[name].shape != shape:
                raise RunError(
                    f"the store holds {name} with shape {list(self._views[name].shape)},"
                    f" the program needs {list(shape)}"
                )
        for kind, types in fresh.items():
            self._extend(kind, types)

    def _extend(self, kind: Role, types: Mapping[str, TensorType]) -> None:
        """One new buffer for all of these: views handed out before stay what they are."""
        self.move_to(None)
        offsets, end = {}, 0
        for name, t in types.items():
            offsets[name] = end
            end += -(-t.nbytes // ALIGNMENT) * ALIGNMENT
        buffer = aligned_zeros(end)
        self.buffers.append(buffer)
        for name, t in types.items():
            self._places[name] = len(self.buffers) - 1, offsets[name]
            part = buffer[offsets[name] : offsets[name] + t.nbytes]
            self._views[name] = part.view(DTYPES[t.dtype]).reshape([int(e) for e in t.shape])
            self._kinds[name] = kind

    def add_from(self, graph: Graph) -> None:
        """Room for everything of the graph that lives in a store."""
        self.add({v.name: (graph.role(v), v.type) for v in graph.inputs_of(*KINDS)})

    def __getitem__(self, name: str) -> Array:
        if name not in self._views:
            raise RunError(f"the store holds no {name}; it holds {', '.join(self._views) or 'nothing'}")
        self.move_to(None)
        return self._views[name]

    def move_to(self, home: Home | None) -> None:
        """Make `home` (None: the host's arrays) the one place where the arrays are read and written from now on.

        They live in one place at a time, and are copied only when that changes: by the first run on a device, and
        when somebody asks for an array, who may also write to it.
        """
        if home is self._home:
            return
        # Forgotten only when its values are here: a download that fails fails again for who asks next.
        if self._home is not None:
            self._home.download(self)
            self._home = None
        if home is not None:
            home.upload(self)
            self._home = home

    def place(self, name: str) -> tuple[int, int]:
        """(number of the buffer, byte offset in it) of an array."""
        return self._places[name]

    def __contains__(self, name: str) -> bool:
        return name in self._views

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def names(self, *kinds: Role) -> tuple[str, ...]:
        return tuple(n for n, k in self._kinds.items() if not kinds or k in kinds)

    def snapshot(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Copies of the arrays."""
        return {n: self[n].copy() for n in (self if names is None else names)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Write arrays back; all must be known and have their shape, or nothing is written."""
        for name, array in arrays.items():
            if self[name].shape != array.shape:
                raise RunError(f"{name} must have shape {list(self[name].shape)}, not {list(array.shape)}")
        for name, array in arrays.items():
            self[name][...] = array

    def zero_state(self) -> None:
        self.updates = 0
        for name in self.names("state"):
            self[name][...] = 0

    def save(
        self, path: str | Path, metadata: Mapping[str, str] | None = None, names: Iterable[str] | None = None
    ) -> None:
        """Write the parameters, or the arrays named, as safetensors with a digest, at once or not at all."""
        from safetensors.numpy import save  # here: a program that runs needs no file format

        names = self.names("parameter") if names is None else names
        write_atomically(Path(path), stamped(save({n: self[n] for n in names}, blank_mark(metadata))))

    def load(self, path: str | Path) -> None:
        """Read parameters (and state, where the file has it) from safetensors.

        Raises DataError where the file is none, is damaged, lacks a parameter, has one too many or of another shape.
        """
        arrays = read_safetensors(Path(path))
        missing = [n for n in self.names("parameter") if n not in arrays]
        extra = [n for n in arrays if n not in self]
        if missing or extra:
            what = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which the model has not"
            raise DataError(
                f"weights must be those of the model, but {path} {what}; use the model they were saved from"
            )
        try:
            self.restore(arrays)
        except RunError as error:
            raise DataError(f"{path}: {error}") from None


def read_safetensors(path: Path) -> dict[str, Array]:
    """The arrays of a file, whose digest must be right where it has one. Raises DataError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_whole(path, "weights from ")
    check_digest(path, data)
    try:
        return load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise DataError(f"{path} is not a safetensors file: {str(error) or type(error).__name__}") from None


def aligned_zeros(size: int) -> Array:
    """uint8 [size] on a 64-byte boundary, already touched: the first write to fresh pages is slow."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    raw[...] = 0
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def count(store: ParameterStore) -> int:
    """Parameters in the store."""
    return sum(prod(store[n].shape) for n in store.names("parameter"))
