"""Parameters and state in a device's memory, one copy for all programs of a model."""

from __future__ import annotations

from typing import Any

from convc.runtime.cuda_device import Device, driver, placed
from convc.runtime.store import ParameterStore


class DeviceStore:
    """The buffers of a store in the memory of one device; see ParameterStore.move_to for when they are copied."""

    def __init__(self, store: ParameterStore, device: Device) -> None:
        self._store, self._device = store, device
        self._memory: list[Any] = []

    def address(self, name: str) -> int:
        """Where the array lies; it stays there."""
        self._grow()
        number, offset = self._store.place(name)
        return int(self._memory[number]) + offset

    def upload(self) -> None:
        """The host's arrays are the newest: copy them here."""
        self._grow()
        with self._device.active(), placed(f"copying parameters to {self._device.name}"):
            for memory, buffer in zip(self._memory, self._store.buffers, strict=True):
                driver().memcpy_htod(memory, buffer)

    def download(self) -> None:
        """Wait for the device, and copy what programs wrote to the host's arrays."""
        with self._device.active(), placed(f"copying parameters from {self._device.name}"):
            self._device.stream.synchronize()
            for memory, buffer in zip(self._memory, self._store.buffers):
                driver().memcpy_dtoh(buffer, memory)

    def _grow(self) -> None:
        for buffer in self._store.buffers[len(self._memory) :]:
            what = "parameters and the optimizer's state"
            self._memory.append(self._device.allocate(buffer.nbytes, what, remedy="take a smaller model or device"))
