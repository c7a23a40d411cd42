"""A compiled GPU binary (cubin) and what its kernels take, read off the compiler's log and the ELF file itself."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from convc.build.nvidia import INSTALL
from convc.errors import ToolchainError
from convc.passes.target import STATIC_SHARED_BYTES

CONSTANT_BANK = ".nv.constant0."
"""Of every kernel and of no other function: the ELF section of launch parameters and arguments."""

_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '\S+'\n"
    r".*Function properties for (?P=name)\n"
    r"\D*(?P<frame>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads\n"
    r".*Used (?P<registers>\d+) registers(?P<rest>.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Resources:
    """What one kernel takes: registers a thread; static shared memory and barriers a block.

    `stack_bytes`: local memory of a thread, of the functions that it calls too; `spill_stores`, `spill_loads`:
    bytes that the kernel's own body moves to local memory and back for want of registers; `constant_bytes`:
    launch parameters and arguments.
    """

    registers: int
    shared_bytes: int = 0
    stack_bytes: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    constant_bytes: int = 0
    barriers: int = 0


@dataclass(frozen=True)
class Cubin:
    """A binary for one architecture: its bytes, the compiler's log, its kernels by symbol, its file in the cache."""

    data: bytes
    log: str
    kernels: dict[str, Resources]
    path: Path


def read_resources(data: bytes, log: str) -> dict[str, Resources]:
    """What each kernel of a cubin takes; `log` is what `--ptxas-options=-v` wrote.

    The log has everything but the constant bank, which it leaves out from sm_90 on. Raises ToolchainError
    where it lacks a kernel.
    """
    reported = {match["name"]: match for match in _ENTRY.finditer(log)}
    banks = {
        name.removeprefix(CONSTANT_BANK): size
        for name, size in elf_sections(data).items()
        if name.startswith(CONSTANT_BANK)
    }
    if missing := sorted(banks.keys() - reported.keys()):
        raise ToolchainError(
            f"the compiler's log says nothing of kernel {missing[0]} ({len(missing)} of {len(banks)} are missing): "
            f"run `{INSTALL}` for an NVRTC that convc is tested with"
        )
    return {name: _resources(reported[name], size) for name, size in sorted(banks.items())}


def check_shared(log: str, file: str, arch: str) -> None:
    """Raises ToolchainError where a kernel declares more shared memory than the programming guide allows.

    From sm_90 on the assembler lets it pass; before, `-v` makes it refuse without a word.
    """
    for match in _ENTRY.finditer(log):
        if (size := _resources(match, 0).shared_bytes) > STATIC_SHARED_BYTES:
            raise ToolchainError(
                f"kernel {match['name']} of {file} declares {size} bytes of shared memory for {arch}, and at most "
                f"{STATIC_SHARED_BYTES} can be: declare it `extern __shared__` and give its size at the launch"
            )


def _resources(match: re.Match[str], constant_bytes: int) -> Resources:
    def used(what: str) -> int:
        found = re.search(rf"(\d+) {what}", match["rest"])
        return int(found[1]) if found else 0

    return Resources(
        registers=int(match["registers"]),
        shared_bytes=used("bytes smem"),
        stack_bytes=max(int(match["frame"]), used("bytes cumulative stack size")),
        spill_stores=int(match["stores"]),
        spill_loads=int(match["loads"]),
        constant_bytes=constant_bytes,
        barriers=used("barriers"),
    )


def elf_sections(data: bytes) -> dict[str, int]:
    """Size in bytes of every section of a 64-bit ELF file, by name. Raises ToolchainError on any other file."""
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        raise ToolchainError(f"a cubin is a 64-bit little-endian ELF file, got {len(data)} bytes {data[:6]!r}...")
    (table,) = struct.unpack_from("<Q", data, 40)
    entry_size, entries, names_at = struct.unpack_from("<3H", data, 58)
    headers = [struct.unpack_from("<IIQQQQ", data, table + entry_size * i) for i in range(entries)]
    names = headers[names_at][4]  # the file offset of the names' own section
    return {_text_at(data, names + header[0]): header[5] for header in headers}


def _text_at(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
