"""How the batches of a data set reach a program on a device: out of the device's own memory, or streamed to it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from convc.codegen.cuda.batch import NAME, THREADS, gather_source, slices
from convc.debug import LINES, say
from convc.ir.types import DTYPES
from convc.runtime.cuda_device import MIB, Device, driver, each_waits, placed
from convc.runtime.cuda_image import Build
from convc.runtime.cuda_memory import CELL, Workspace

Array = npt.NDArray[Any]
RESIDENT_SHARE = 0.5
"""Of the device's free memory: a data set that takes more is streamed."""
HELD = {np.dtype(np.float32): "f32", np.dtype(np.int32): "i32", np.dtype(np.uint8): "u8"}


class Feed(Protocol):
    """Puts the inputs and the run-time numbers of one batch after the other where a program reads them."""

    numbers: Array
    """int32 [batches, cells], pinned: the run-time numbers of the stretch that begins."""

    def begin(self, arrays: Sequence[Array], indices: Array, batches: int) -> None:
        """A stretch over these rows, integers [M], of the data, in so many batches; `numbers` are written."""

    def next(self, number: int, rows: int) -> None:
        """Enqueue what the batch of that number needs; all before it have as many rows as the program takes."""


class Feeds:
    """The feeds of one program, each made when data first need it; a stretch has `batches` batches at most."""

    def __init__(self, workspace: Workspace, build: Build, batches: int) -> None:
        self._workspace, self._build, self._batches = workspace, build, batches
        self._made: dict[tuple[str, ...], Feed] = {}

    def of(self, arrays: Sequence[Array]) -> Feed:
        """The feed for arrays [N, ...], one for each input: resident where they fit, else streamed."""
        device = self._workspace.device
        size = sum(a.nbytes for a in arrays if not _resident(device, a))
        fits = size <= RESIDENT_SHARE * device.memory()[0] and all(a.dtype in HELD for a in arrays)
        key = tuple(HELD[a.dtype] for a in arrays) if fits else ()
        if key not in self._made:
            if not fits:
                say(LINES, f"convc: {size / MIB:.0f} MiB of data do not stay on {device.name}: they are streamed")
            self._made[key] = self._make(key)
        return self._made[key]

    def _make(self, key: tuple[str, ...]) -> Feed:
        if not key:
            return StreamedFeed(self._workspace, self._batches)
        return ResidentFeed(self._workspace, self._build, key, self._batches)


class Resident:
    """An array in a device's memory; it goes when the array does."""

    def __init__(self, device: Device, array: Array) -> None:
        self.memory = device.allocate(array.nbytes, "the data set")
        with device.active(), device.doing(f"copying the data set to {device.name}"):
            driver().memcpy_htod(self.memory, np.ascontiguousarray(array))


_residents: dict[tuple[int, int], tuple[weakref.ref[Array], Resident]] = {}


def _resident(device: Device, array: Array) -> Resident | None:
    known = _residents.get((device.number, id(array)))
    return known[1] if known and known[0]() is array else None


def resident(device: Device, array: Array) -> Resident:
    """The array on the device: copied there once."""
    found = _resident(device, array)
    if found is None:
        key, found = (device.number, id(array)), Resident(device, array)
        _residents[key] = weakref.ref(array, lambda _: _residents.pop(key, None)), found
    return found


class _Numbers:
    """The run-time numbers of a stretch: pinned, and on the device."""

    def __init__(self, workspace: Workspace, batches: int) -> None:
        device, size = workspace.device, batches * workspace.cells * CELL
        self.host = device.pinned(size).view(np.int32).reshape(batches, workspace.cells)
        self.memory = device.allocate(size, f"the run-time numbers of {batches} batches")
        self._device, self._what = device, f"copying the run-time numbers of {workspace.graph.name} to {device.name}"

    def send(self, batches: int) -> None:
        with self._device.doing(self._what):
            driver().memcpy_htod_async(self.memory, self.host[:batches], self._device.stream)

    def address(self, number: int) -> int:
        return int(self.memory) + number * int(self.host.shape[1]) * CELL


class ResidentFeed:
    """The data set lies on the device, and a kernel gathers each batch from it; the first time it is waited for."""

    def __init__(self, workspace: Workspace, build: Build, held: Sequence[str], batches: int) -> None:
        self._workspace, self._device = workspace, workspace.device
        inputs = [
            (dtype, v.type.dtype, prod(int(e) for e in v.type.shape[1:]))
            for dtype, v in zip(held, workspace.inputs, strict=True)
        ]
        self._slices = slices(inputs)
        (image,) = build.images([gather_source(inputs, workspace.cells)], NAME)
        self._module = self._device.load(image.data, "the kernel that gathers batches")
        name = workspace.graph.name
        with self._device.active(), placed(f"finding kernel {NAME} of {name}"):
            self._gather = self._module.get_function(NAME)
            self._gather.prepare("P" * (3 + 2 * len(inputs)))
        grid = f"up to {workspace.capacity} x {self._slices} blocks of {THREADS} threads"
        self._launches = {NAME: f"kernel {NAME}, {grid}, which gathers the batches of {name}"}
        self._each_waits = each_waits()
        self._waited = False
        self._numbers = _Numbers(workspace, batches)
        self.numbers = self._numbers.host
        self._order = self._device.pinned(batches * workspace.capacity * 4).view(np.int32)
        self._order_memory = self._device.allocate(self._order.nbytes, "the order of an epoch")
        self._pairs: list[int] = []

    def begin(self, arrays: Sequence[Array], indices: Array, batches: int) -> None:
        places = [int(resident(self._device, a).memory) for a in arrays]
        self._pairs = [x for i, place in enumerate(places) for x in (place, self._workspace.input_address(i))]
        order = self._order[: len(indices)]
        order[...] = indices
        with self._device.doing(f"copying the order of {len(indices)} rows to {self._device.name}"):
            driver().memcpy_htod_async(self._order_memory, order, self._device.stream)
        self._numbers.send(batches)

    def next(self, number: int, rows: int) -> None:
        first = int(self._order_memory) + number * self._workspace.capacity * 4
        name = self._workspace.graph.name
        text = f"kernel {NAME}, {rows} x {self._slices} blocks of {THREADS} threads, of batch {number} for {name}"
        waits = self._each_waits or not self._waited
        if waits:
            self._device.wait(f"the copies before {text}")
        with self._device.doing(text):
            self._gather.prepared_async_call(
                (rows, self._slices), (THREADS, 1, 1), self._device.stream,
                first, self._numbers.address(number), self._workspace.start, *self._pairs,
            )  # fmt: skip
        self._device.launched(name, {NAME: text} if waits else self._launches)
        if waits:
            self._device.wait(text)
            self._waited = True


class _Slot:
    """Room for a batch, pinned and on the device, and when each of the two is free again."""

    def __init__(self, workspace: Workspace) -> None:
        device, drv = workspace.device, driver()
        sizes = [v.type.nbytes for v in workspace.inputs]
        self.staged = [device.pinned(n).view(DTYPES[v.type.dtype]) for n, v in zip(sizes, workspace.inputs)]
        self.memory = [device.allocate(n, "a batch under way to the device") for n in sizes]
        with device.active(), placed(f"making the events of {workspace.graph.name}"):
            self.copied = drv.Event(drv.event_flags.DISABLE_TIMING)
            self.used = drv.Event(drv.event_flags.DISABLE_TIMING)


class StreamedFeed:
    """The data set stays on the host: while a batch is computed, the next is gathered and copied by another stream."""

    def __init__(self, workspace: Workspace, batches: int) -> None:
        self._workspace, self._device = workspace, workspace.device
        self._arrays: list[Array] = []
        self._slots = [_Slot(workspace), _Slot(workspace)]
        self._numbers = _Numbers(workspace, batches)
        self.numbers = self._numbers.host
        self._indices: Array = np.empty(0, np.int64)
        with self._device.active(), placed(f"making the stream of copies of {workspace.graph.name}"):
            self._copies = driver().Stream()

    def begin(self, arrays: Sequence[Array], indices: Array, batches: int) -> None:
        self._arrays = [a.reshape(len(a), -1) for a in arrays]
        self._indices = indices
        self._numbers.send(batches)

    def next(self, number: int, rows: int) -> None:
        with self._device.doing(f"copying batch {number} of {self._workspace.graph.name} to {self._device.name}"):
            self._next(number, rows)

    def _next(self, number: int, rows: int) -> None:
        drv, main, slot = driver(), self._device.stream, self._slots[number % 2]
        first = number * self._workspace.capacity
        slot.copied.synchronize()  # the pinned half is free: what it held two batches ago has left
        self._copies.wait_for_event(slot.used)
        sizes = []
        for array, staged, memory in zip(self._arrays, slot.staged, slot.memory):
            part = staged[: rows * array.shape[1]]
            part.reshape(rows, -1)[...] = array[self._indices[first : first + rows]]
            drv.memcpy_htod_async(memory, part, self._copies)
            sizes.append(part.nbytes)
        slot.copied.record(self._copies)
        main.wait_for_event(slot.copied)
        for i, size in enumerate(sizes):
            drv.memcpy_dtod_async(self._workspace.input_address(i), int(slot.memory[i]), size, main)
        slot.used.record(main)
        drv.memcpy_dtod_async(self._workspace.start, self._numbers.address(number), self._workspace.cells * CELL, main)
