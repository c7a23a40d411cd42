"""Parameters and state in a device's memory, one copy for all programs of a model."""

from __future__ import annotations

from typing import Any

from convc.runtime.cuda_device import Device, driver
from convc.runtime.store import ParameterStore


class DeviceStore:
    """The buffers of a store in the memory of one device; see ParameterStore.move_to for when they are copied.

    It holds no reference to its store, so that both go when the last program does.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: list[Any] = []

    def address(self, store: ParameterStore, name: str) -> int:
        """Where the array lies; it stays there."""
        self._grow(store)
        number, offset = store.place(name)
        return int(self._memory[number]) + offset

    def upload(self, store: ParameterStore) -> None:
        """The host's arrays are the newest: copy them here."""
        self._grow(store)
        with self._device.active(), self._device.doing(f"copying parameters to {self._device.name}"):
            for memory, buffer in zip(self._memory, store.buffers, strict=True):
                driver().memcpy_htod(memory, buffer)

    def download(self, store: ParameterStore) -> None:
        """Wait for the device, and copy what programs wrote to the host's arrays."""
        what = f"copying parameters from {self._device.name}"
        with self._device.active(), self._device.doing(what):
            self._device.wait(what)
            for memory, buffer in zip(self._memory, store.buffers):
                driver().memcpy_dtoh(buffer, memory)

    def _grow(self, store: ParameterStore) -> None:
        for buffer in store.buffers[len(self._memory) :]:
            what = "parameters and the optimizer's state"
            self._memory.append(self._device.allocate(buffer.nbytes, what, remedy="take a smaller model or device"))
