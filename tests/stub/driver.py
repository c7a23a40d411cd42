"""The stub driver from Python: built once, loaded in place of libcuda, its launches run in convc's emulator.

PyCUDA and cuda-bindings find it because a library of the name libcuda.so.1 is loaded already. A module is a cubin;
`expect` says which PTX the same source gives, since the emulator runs that.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from convc.build.cache import Cache
from convc.build.nvidia import find_files
from convc.build.toolchain import find_compiler, find_cxx
from convc.emulator import Buffer, Module
from convc.emulator.ptx import Parameter
from convc.errors import ToolchainError

FOLDER = Path(__file__).parent
SOURCES = ("libcuda.cpp", "streams.cpp", "absent.c")
LOAD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
FIND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_uint * 6),
    ctypes.c_uint,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
OUT_OF_MEMORY, LAUNCH_FAILED, INVALID_DEVICE = 2, 719, 101


def missing() -> str:
    """Why the stub cannot be built here, or nothing."""
    try:
        find_cxx()
    except ToolchainError as error:
        return f"the stub driver is C++: {error}"
    if next(find_files(("include",), "cuda.h"), None) is None:
        return "there is no cuda.h: pip install 'convc[emit]'"
    return ""


@cache
def build() -> Path:
    """The library's file, kept in the cache by what it is made of."""
    header = next(find_files(("include",), "cuda.h"))
    cache, name = Cache(), "libcuda.so.1"
    key = cache.key("stub", str(header), *(FOLDER.joinpath(f).read_bytes() for f in (*SOURCES, "state.h")))
    if not cache.get(key, name):
        with cache.scratch({}) as folder:
            places = [str(FOLDER / f) for f in SOURCES]
            commands = (
                [*find_compiler().argv, "-fPIC", "-O1", "-w", "-c", places[-1], "-o", "absent.o"],
                [*find_cxx().argv, "-std=c++17", "-O1", "-fPIC", "-shared", f"-I{header.parent}", *places[:-1],
                 "absent.o", f"-Wl,-soname,{name}", "-ldl", "-o", name],
            )  # fmt: skip
            for command in commands:
                subprocess.run(command, cwd=folder, check=True)
            cache.put(key, {name: folder / name})
    return cache.root / key / name


@dataclass
class Image:
    """What a loaded module runs. `sizes`: for a kernel, the bytes behind each of its pointers, where known."""

    module: Module
    sizes: Mapping[str, Sequence[tuple[int, bool]]] = field(default_factory=dict)


class Stub:
    """The loaded driver: what it has run, what it found, and what it is told to fail at."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(str(build()))
        self.library.stub_calls.restype = ctypes.c_long
        self.library.stub_allocations.restype = ctypes.c_size_t
        self._callbacks = LOAD(self._guarded(self._load)), FIND(self._guarded(self._find)), LAUNCH(
            self._guarded(self._launch)
        )  # fmt: skip
        self.library.stub_connect(*self._callbacks)
        self._expected: dict[bytes, Image] = {}
        self._modules: list[Image] = []
        self.reset()

    def reset(self) -> None:
        """One device of 8 GiB, nothing to fail, nothing found."""
        self.library.stub_reset()
        self.device("Stub H100", (9, 0), 8 << 30)
        self.launches: list[str] = []
        self.reports: list[Any] = []
        self.errors: list[BaseException] = []
        self.launches_fail = False
        """Whether every launch from now on fails, as one that the check reports does."""
        self.launches_left = -1
        """How many launches from now on do not fail before one does; below 0: all."""

    def device(self, name: str, capability: tuple[int, int], memory: int) -> None:
        """One device more, its memory in bytes."""
        self.library.stub_device(name.encode(), *capability, ctypes.c_size_t(memory))

    def devices(self, *names: str, memory: int = 8 << 30) -> None:
        """These instead of those there were."""
        self.library.stub_reset()
        for name in names:
            self.device(name, (9, 0), memory)

    def fail(self, api: str, code: int, call: int = 1, times: int = 1) -> None:
        """From the `call`-th from now, `times` calls of this function, by its exported name, give the error `code`."""
        self.library.stub_fail(api.encode(), code, ctypes.c_long(call), ctypes.c_long(times))

    def lazy(self, first: bool, others: bool) -> None:
        """Let what is enqueued on the first stream, or on the others, run only when something waits for it."""
        self.library.stub_lazy(first | others << 1)

    def calls(self, api: str) -> int:
        return int(self.library.stub_calls(api.encode()))

    @property
    def pushed(self) -> int:
        """Contexts on the stack of this thread."""
        return int(self.library.stub_pushed())

    @property
    def allocations(self) -> int:
        return int(self.library.stub_allocations())

    def expect(self, cubin: bytes, ptx: str, sizes: Mapping[str, Sequence[tuple[int, bool]]]) -> None:
        """A module of these bytes runs this PTX."""
        if cubin not in self._expected:
            self._expected[cubin] = Image(Module(ptx), sizes)

    def _guarded(self, call: Callable[..., int]) -> Callable[..., int]:
        def guarded(*args: Any) -> int:
            try:
                return call(*args)
            except Exception as error:  # an exception cannot pass the C code between
                self.errors.append(error)
                return -1

        return guarded

    def _load(self, image: int, size: int) -> int:
        data = ctypes.string_at(image, size)
        found = next((x for known, x in self._expected.items() if known[:size] == data), None)
        if found is None and data[:4] == b"\x7fELF":
            return -1
        self._modules.append(found or Image(Module(data.decode())))
        return len(self._modules) - 1

    def _find(self, module: int, name: bytes) -> int:
        return int(name.decode() not in self._modules[module].module.names)

    def _launch(self, module: int, name: bytes, shape: Any, shared: int, arguments: int, size: int) -> int:
        image, kernel = self._modules[module], self._modules[module].module[name.decode()]
        data = ctypes.string_at(arguments, size)
        sizes = image.sizes.get(kernel.name) or [None] * len(kernel.parameters)
        given = [self._argument(p, data, limit) for p, limit in zip(kernel.parameters, sizes, strict=True)]
        grid, block = tuple(shape.contents[:3]), tuple(shape.contents[3:])
        self.launches.append(kernel.name)
        result = kernel.launch(grid, block, given, shared)  # type: ignore[arg-type]
        self.reports += result.reports
        self.launches_left -= 1
        fails = self.launches_fail or self.launches_left == -1
        return LAUNCH_FAILED if result.reports or fails else 0

    def _argument(self, p: Parameter, data: bytes, limit: tuple[int, bool] | None) -> Buffer | int:
        value = int.from_bytes(data[p.offset : p.offset + p.size], "little")
        if p.size != 8:
            return value
        start, size, written = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_void_p()
        found = self.library.stub_find(
            ctypes.c_void_p(value), ctypes.byref(start), ctypes.byref(size), ctypes.byref(written)
        )
        if not found:
            raise AssertionError(f"{p.name} points to no device memory")
        offset = value - (start.value or 0)
        length, writable = limit or (size.value - offset, True)
        assert offset + length <= size.value, f"{p.name} reaches behind its allocation"
        return Buffer(p.name, _bytes(value, length), writable, _bytes((written.value or 0) + offset, length))


def _bytes(address: int, size: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)


@cache
def stub() -> Stub:
    return Stub()
