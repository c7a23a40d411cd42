"""One GPU through PyCUDA: its context, its stream, its memory, and errors that say what went wrong where.

Nothing else in convc opens a device; PyCUDA is imported by the first call, never by an import.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from convc.errors import RunError, ToolchainError
from convc.runtime.cuda_probe import INSTALL

MIB = 2**20


@functools.cache
def driver() -> Any:
    """PyCUDA's driver module, initialised. Raises RunError, of one line, where it or the driver is missing."""
    try:
        import pycuda.driver as drv
    except ImportError as error:
        raise RunError(f"target cuda needs PyCUDA and NVIDIA's driver, and {error}: run `{INSTALL}`") from None
    try:
        drv.init()
    except drv.Error as error:
        raise RunError(f"target cuda needs a GPU, and the driver does not start ({error}); try --target cpu") from None
    return drv


@contextmanager
def placed(where: str) -> Iterator[None]:
    """CUDA's errors inside come out as one RunError that says where: `CUDA failed in <where>: <what it said>`."""
    try:
        yield
    except driver().Error as error:
        raise RunError(f"CUDA failed in {where}: {error}") from error


class Device:
    """A GPU by number. Its primary context is on the stack only within `active()`, also after an exception.

    Raises RunError, with the devices there are, for a number that is none of them.
    """

    def __init__(self, number: int) -> None:
        drv = driver()
        with placed("counting the devices"):
            names = [drv.Device(i).name() for i in range(drv.Device.count())]
        if not 0 <= number < len(names):
            there = ", ".join(f"{i} ({name})" for i, name in enumerate(names)) or "none"
            raise RunError(f"a device is one of those there are: {there}; not {number}; give another --device")
        self.number, self.name = number, names[number]
        with placed(f"opening device {number} ({self.name})"):
            device = drv.Device(number)
            self.capability: tuple[int, int] = device.compute_capability()
            self.context = device.retain_primary_context()
        # PyCUDA detaches a context that is left to the garbage collector in the wrong way.
        atexit.register(self.context.detach)
        with self.active(), placed(f"opening device {number} ({self.name})"):
            self.stream = drv.Stream()

    @property
    def arch(self) -> str:
        """sm_90 for 9.0. The plain architecture, not sm_90a: what `a` adds (wgmma, setmaxnreg) no kernel uses, and
        the plain binary also runs on what comes after within the family."""
        return f"sm_{self.capability[0]}{self.capability[1]}"

    @contextmanager
    def active(self) -> Iterator[None]:
        """The device's context on top of the stack."""
        self.context.push()
        try:
            yield
        finally:
            driver().Context.pop()

    def memory(self) -> tuple[int, int]:
        """Free bytes and all bytes."""
        with self.active(), placed(f"asking {self.name} for its memory"):
            free, total = driver().mem_get_info()
        return int(free), int(total)

    def allocate(self, size: int, what: str, row_bytes: int = 0, remedy: str = "free some") -> Any:
        """Device memory, `size` bytes; `what` it is for, for the message.

        `row_bytes`: how much of it each row of the batch capacity takes. Raises RunError where there is too little,
        with what was asked, what is free and, from row_bytes, what capacity would fit.
        """
        drv = driver()
        with self.active():
            try:
                return drv.mem_alloc(max(size, 1))
            except drv.MemoryError:
                pass
            except drv.Error as error:
                raise RunError(f"CUDA failed allocating {size} bytes for {what} on {self.name}: {error}") from error
        free, total = self.memory()
        fits = max(free // row_bytes, 0) if row_bytes else 0
        if fits:
            remedy = f"a batch of about {fits} rows would fit"
        raise RunError(
            f"out of memory on device {self.number} ({self.name}): {size / MIB:.1f} MiB ({size} bytes) were asked for "
            f"{what}, and {free / MIB:.1f} of {total / MIB:.1f} MiB are free; {remedy}"
        )

    def pinned(self, size: int) -> Any:
        """uint8 [size] of host memory that copies to and from the device need not wait for."""
        with self.active(), placed(f"allocating {size} bytes of pinned host memory"):
            return driver().pagelocked_empty(max(size, 1), np.uint8)

    def load(self, image: bytes, what: str) -> Any:
        """A module from a binary. Raises ToolchainError where the device does not take it."""
        drv = driver()
        with self.active():
            try:
                return drv.module_from_buffer(image)
            except drv.Error as error:
                raise ToolchainError(f"{self.name} does not load {what} for {self.arch}: {error}") from error


@functools.cache
def open_device(number: int) -> Device:
    """The device of that number, opened once for all programs."""
    return Device(number)
