"""Memory of parameters and state: buffers on the host with their copies on devices, and places in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from convc.build.memory import available, text
from convc.errors import RunError
from convc.ir.core import Role
from convc.ir.types import DTYPES, TensorType
from convc.locks import SharedLock

Array = npt.NDArray[Any]
ALIGNMENT = 64


class Copy(Protocol):
    """A buffer's room in the memory of a device."""

    def upload(self, host: Array) -> None:
        """Copy the host's bytes there."""

    def download(self, host: Array) -> None:
        """Wait for the device, and copy what programs wrote back."""


class Buffer:
    """`size` bytes, zero at first, that live in one place at a time: on the host, or in a device's memory.

    They are copied only when that changes: by the first run on a device, and when somebody asks for an array, who
    may also write to it. Stores that share a buffer share its lock, under which all of this happens.
    """

    def __init__(self, size: int, lock: SharedLock) -> None:
        self.host = aligned_zeros(size)
        self.lock = lock
        self.version = 1
        """Grows whenever the bytes may have changed."""
        self.copies: dict[int, Copy] = {}
        """By the number of a device: the copy there that all its programs share."""
        self._at: Copy | None = None

    def move_to(self, device: int | None) -> None:
        """Make this device, or with None the host, the place where the bytes are read and written from now on."""
        wanted = None if device is None else self.copies[device]
        if wanted is self._at:
            return
        # Forgotten only when its values are here: a download that fails fails again for who asks next.
        if self._at is not None:
            self._at.download(self.host)
            self._at = None
        if wanted is not None:
            wanted.upload(self.host)
            self._at = wanted

    def __getstate__(self) -> dict[str, Any]:
        with self.lock.held():
            self.move_to(None)
            return {"host": self.host.copy(), "lock": self.lock, "version": self.version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        host = state["host"]
        self.__init__(host.size, state["lock"])  # type: ignore[misc]  # on a boundary again
        self.host[...] = host
        self.version = state["version"]


@dataclass(frozen=True, eq=False)
class Slot:
    """The place of one tensor in a buffer. It is the tensor's identity: whoever holds it shares the numbers."""

    buffer: Buffer
    offset: int
    kind: Role
    type: TensorType

    @property
    def array(self) -> Array:
        """The host's view of it; the newest numbers only while the buffer lives there."""
        part = self.buffer.host[self.offset : self.offset + self.type.nbytes]
        return part.view(DTYPES[self.type.dtype]).reshape(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(e) for e in self.type.shape)


def aligned_zeros(size: int) -> Array:
    """uint8 [size] on a 64-byte boundary, already touched: the first write to fresh pages is slow.

    Raises RunError where that is more than is free.
    """
    free = available()
    if size > free:
        raise RunError(f"{size} bytes ({text(size)}) were asked for, and {text(free)} are free; take a smaller batch")
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    raw[...] = 0
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]
