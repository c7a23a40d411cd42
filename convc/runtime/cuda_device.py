"""One GPU through PyCUDA: its context, its stream, its memory, and errors that say what went wrong where.

Nothing else in convc opens a device; PyCUDA is imported by the first call, never by an import.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from convc.errors import RunError, ToolchainError
from convc.locks import Lock, Once
from convc.runtime.cuda_probe import INSTALL_PYCUDA

MIB = 2**20


@Once
def driver() -> Any:
    """PyCUDA's driver module, initialised. Raises RunError, of one line, where it or the driver is missing."""
    try:
        import pycuda.driver as drv
    except ImportError as error:
        raise RunError(f"target cuda needs PyCUDA and NVIDIA's driver, and {error}: run `{INSTALL_PYCUDA}`") from None
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


def each_waits() -> bool:
    """$CONVC_CUDA_SYNC: whether every launch is waited for."""
    return os.environ.get("CONVC_CUDA_SYNC", "0") not in ("", "0")


class Device:
    """A GPU by number. Its primary context is on the stack only within `active()`, also after an exception.

    Whoever is within it has the device to himself: programs of several threads take turns on its one stream.

    A kernel's error shows at a later call, and at all calls after that, so the device keeps in mind which launches
    no wait has come back from: `doing` then names these. Raises RunError, with the devices there are, for a number
    that is none of them.
    """

    def __init__(self, number: int) -> None:
        drv = driver()
        with placed("counting the devices"):
            names = [drv.Device(i).name() for i in range(drv.Device.count())]
        if not 0 <= number < len(names):
            there = ", ".join(f"{i} ({name})" for i, name in enumerate(names)) or "none"
            raise RunError(f"a device is one of those there are: {there}; not {number}; give another --device")
        self.number, self.name = number, names[number]
        self._turn = Lock()
        with placed(f"opening device {number} ({self.name})"):
            device = drv.Device(number)
            self.capability: tuple[int, int] = device.compute_capability()
            self.context = device.retain_primary_context()
        # PyCUDA detaches a context that is left to the garbage collector in the wrong way.
        atexit.register(self.context.detach)
        with self.active(), placed(f"opening device {number} ({self.name})"):
            self.stream = drv.Stream()
        self._in_flight: dict[str, dict[str, str]] = {}  # by program, then by kernel: what is said of the launch

    @property
    def arch(self) -> str:
        """sm_90 for 9.0. The plain architecture, not sm_90a: what `a` adds (wgmma, setmaxnreg) no kernel uses, and
        the plain binary also runs on what comes after within the family."""
        return f"sm_{self.capability[0]}{self.capability[1]}"

    @contextmanager
    def active(self) -> Iterator[None]:
        """The device's context on top of the stack."""
        with self._turn:
            with placed(f"entering the context of {self.name}"):
                self.context.push()
            try:
                yield
            finally:
                with placed(f"leaving the context of {self.name}"):
                    driver().Context.pop()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """As `placed`, but an error of launches that nobody has waited for is said to be theirs."""
        try:
            yield
        except driver().Error as error:
            raise self.failure(what, str(error)) from error

    def failure(self, what: str, said: str) -> RunError:
        """The error to raise where CUDA `said` this in `what`: of it, or of a launch that was not waited for."""
        if self.works():
            return RunError(f"CUDA failed in {what}: {said}")
        launches = [launch for of_program in self._in_flight.values() for launch in of_program.items()]
        (first, text), (last, _) = launches[0], launches[-1]
        if len(launches) == 1:
            return RunError(f"CUDA failed in {text}: {said}")
        where = f"{', '.join(self._in_flight)} on {self.name}, in one of its {len(launches)} launches {first} to {last}"
        return RunError(f"CUDA failed in {where}: {said}; run with CONVC_CUDA_SYNC=1 to learn which kernel failed")

    def works(self) -> bool:
        """Whether no launch has failed so far: a call that is refused leaves the context alone, a fault ends it."""
        if not self._in_flight:
            return True
        try:
            self.stream.synchronize()
        except driver().Error:
            return False
        return True

    def launched(self, program: str, launches: Mapping[str, str]) -> None:
        """Launches of the program, by kernel, with what is to be said of each, are on the stream."""
        self._in_flight.setdefault(program, {}).update(launches)

    def wait(self, what: str) -> None:
        """Until all on the stream is done, within `active()`; `what` is waited for, for the message."""
        with self.doing(what):
            self.stream.synchronize()
        self._in_flight.clear()

    def memory(self) -> tuple[int, int]:
        """Free bytes and all bytes."""
        with self.active(), self.doing(f"asking {self.name} for its memory"):
            free, total = driver().mem_get_info()
        return int(free), int(total)

    def allocate(self, size: int, what: str, row_bytes: int = 0, remedy: str = "free some") -> Any:
        """Device memory, `size` bytes; `what` it is for, for the message.

        `row_bytes`: how much of it each row of the batch capacity takes. Raises RunError where there is too little,
        with what was asked, what is free and, from row_bytes, what capacity would fit.
        """
        drv = driver()
        with self.active(), self.doing(f"allocating {size} bytes for {what} on {self.name}"):
            try:
                return drv.mem_alloc(max(size, 1))
            except drv.MemoryError:
                pass
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
        with self.active(), self.doing(f"allocating {size} bytes of pinned host memory"):
            return driver().pagelocked_empty(max(size, 1), np.uint8)

    def load(self, image: bytes, what: str) -> Any:
        """A module from a binary. Raises ToolchainError where the device does not take it, RunError after a fault."""
        drv = driver()
        with self.active():
            try:
                return drv.module_from_buffer(image)
            except drv.Error as error:
                if not self.works():
                    raise self.failure(f"loading {what}", str(error)) from error
                raise ToolchainError(f"{self.name} does not load {what} for {self.arch}: {error}") from error


@Once
def open_device(number: int) -> Device:
    """The device of that number, opened once for all programs."""
    return Device(number)
