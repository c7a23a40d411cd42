"""Parameters and state in a device's memory, one copy for all programs of a model."""

from __future__ import annotations

from convc.runtime.cuda_device import Device, driver
from convc.runtime.memory import Array, Buffer


class DeviceCopy:
    """Room for a buffer of `size` bytes in the memory of one device; see Buffer for when it is copied to and fro."""

    def __init__(self, device: Device, size: int) -> None:
        self._device = device
        what = "parameters and the optimizer's state"
        self._memory = device.allocate(size, what, remedy="take a smaller model or device")

    @property
    def address(self) -> int:
        """It stays there."""
        return int(self._memory)

    def upload(self, host: Array) -> None:
        with self._device.active(), self._device.doing(f"copying parameters to {self._device.name}"):
            driver().memcpy_htod(self._memory, host)

    def download(self, host: Array) -> None:
        what = f"copying parameters from {self._device.name}"
        with self._device.active(), self._device.doing(what):
            self._device.wait(what)
            driver().memcpy_dtoh(host, self._memory)


def device_copy(device: Device, buffer: Buffer) -> DeviceCopy:
    """The buffer's copy on the device, made when the first program there needs it."""
    if device.number not in buffer.copies:
        buffer.copies[device.number] = DeviceCopy(device, buffer.host.nbytes)
    copy = buffer.copies[device.number]
    assert isinstance(copy, DeviceCopy)
    return copy
