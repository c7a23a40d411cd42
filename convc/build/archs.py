"""The GPU architectures that convc emits for, and what one of their multiprocessors (SM) holds. Needs no CUDA."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from convc.errors import ToolchainError

KIB = 1024
DEFAULT_ARCH = "sm_90a"
"""Where none is asked for: an H100 or H200."""


@dataclass(frozen=True)
class Limits:
    """What one SM holds at once. `shared_bytes` is all of its shared memory that blocks can be given."""

    warps: int
    blocks: int
    shared_bytes: int
    registers: int = 64 * 1024
    register_unit: int = 256  # a warp's registers are given out in multiples of this
    schedulers: int = 4  # each has its own quarter of the registers
    shared_unit: int = 128  # a block's shared memory is given out in multiples of this many bytes
    reserved_bytes: int = KIB  # of every block's shared memory, for the system
    block_threads: int = 1024
    thread_registers: int = 255

    @property
    def block_shared_bytes(self) -> int:
        """The most shared memory, static and dynamic, that one block may have, by opting in."""
        return self.shared_bytes - self.reserved_bytes


# CUDA C++ Programming Guide, "Compute Capabilities", table "Technical Specifications per Compute Capability"
# (warps and blocks per SM; shared memory per SM), and the Best Practices and tuning guides of the architectures
# for the 1 KiB that the system keeps of each block's.
_AMPERE, _DATA_CENTRE = Limits(64, 32, 164 * KIB), Limits(64, 32, 228 * KIB)
_DESKTOP = Limits(48, 24, 100 * KIB)
_CAPABILITIES = {
    "80": _AMPERE,
    "86": Limits(48, 16, 100 * KIB),
    "87": Limits(48, 16, 164 * KIB),
    "89": _DESKTOP,
    "90": _DATA_CENTRE,
    "100": _DATA_CENTRE,
    "103": _DATA_CENTRE,
    "110": Limits(48, 24, 228 * KIB),
    "120": _DESKTOP,
    "121": _DESKTOP,
}


def _variants(capability: str) -> tuple[str, ...]:
    """`a`: with the instructions of this one architecture; `f`: with those of its family."""
    number = int(capability)
    return ("", *(("a",) if number >= 90 else ()), *(("f",) if number >= 100 else ()))


ARCHS: dict[str, Limits] = {
    f"sm_{capability}{variant}": limits
    for capability, limits in _CAPABILITIES.items()
    for variant in _variants(capability)
}
"""By name, as `--arch` takes it: sm_80, sm_90a, sm_100f, ..."""


def check_arch(name: str, known: Collection[str] = tuple(ARCHS), who: str = "convc emits") -> str:
    """`name`, where it is one of `known`. Raises ToolchainError, of one line, with the nearest and all that are."""
    if name in known:
        return name
    close = get_close_matches(name, known, n=1)
    meant = f"; did you mean '{close[0]}'?" if close else ""
    raise ToolchainError(f"unknown GPU architecture {name!r}{meant}; {who} for {', '.join(known)}")


def limits_of(arch: str) -> Limits:
    """What an SM of this architecture holds. Raises ToolchainError where convc does not know it."""
    return ARCHS[check_arch(arch)]
