"""What a launch found: reports of the check, and counters of the memory accesses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convc.emulator.ptx import Place

KINDS = (
    "race-write-write", "race-read-write", "race-write-read",
    "blocks-write-write", "blocks-read-write", "blocks-write-read",
    "uninitialised-shared", "uninitialised-global", "out-of-bounds", "read-only", "misaligned",
    "barrier-missing", "barrier-divergent", "deadlock",
    "copy-read", "copy-overwritten", "copy-never-waited", "warp-sync", "trap", "budget", "bad-branch",
)  # fmt: skip
"""Every kind of report, in the order of the engine's numbers."""

_TEXTS = {
    "race-write-write": "race: two threads of a block write one address with no barrier between",
    "race-read-write": "race: a thread reads what another thread of its block writes, with no barrier between",
    "race-write-read": "race: a thread overwrites what another thread of its block reads, with no barrier between",
    "blocks-write-write": "race: two blocks of one launch write one address",
    "blocks-read-write": "race: a block reads what another block of the same launch writes",
    "blocks-write-read": "race: a block overwrites what another block of the same launch reads",
    "uninitialised-shared": "shared memory is read before anybody wrote it",
    "uninitialised-global": "global memory is read that nobody ever wrote",
    "out-of-bounds": "access outside the memory that the kernel was given",
    "read-only": "write into a buffer that the kernel may only read",
    "misaligned": "the address is no multiple of the access's size",
    "barrier-missing": "threads exited while others of the block wait for them at a barrier",
    "barrier-divergent": "threads of a block meet at two different barriers",
    "deadlock": "deadlock: these threads wait at a barrier that the others of the block never reach",
    "copy-read": "shared memory is read while cp.async still copies to it",
    "copy-overwritten": "shared memory is written while cp.async still copies to it",
    "copy-never-waited": "the thread exits before it waited for its cp.async",
    "warp-sync": "lanes that a warp-wide instruction names or reads do not take part in it",
    "trap": "the kernel trapped",
    "budget": "hang: a warp ran more instructions than the launch allows",
    "bad-branch": "a branch by table leaves its table",
}


@dataclass(frozen=True)
class Access:
    """Who did it: the source line where the PTX has it, the PTX instruction and line, block (x, y, z), thread."""

    place: Place | None
    instruction: str
    ptx_line: int
    block: tuple[int, int, int]
    thread: tuple[int, int, int]

    def __str__(self) -> str:
        where = str(self.place) if self.place else f"PTX line {self.ptx_line}"
        return f"{where}, block {_triple(self.block)}, thread {_triple(self.thread)}: {self.instruction}"


@dataclass(frozen=True)
class Report:
    """One mistake: `kind` is one of KINDS, `count` how often it was met at the same pair of instructions.

    The rest is of the first time: who, which `buffer` (an argument's name, `shared`, `local`, or empty) at which
    byte, the bytes of the access, and the other access, if there is one.
    """

    kind: str
    kernel: str
    access: Access
    other: Access | None
    buffer: str
    offset: int
    size: int
    count: int

    def __str__(self) -> str:
        where = f", {self.size} bytes of {self.buffer} at byte {self.offset}" if self.buffer else ""
        if not self.buffer and self.size:
            where = f", {self.size} bytes at address {self.offset:#x}"
        times = f", {self.count} times" if self.count > 1 else ""
        lines = [f"{_TEXTS[self.kind]} [{self.kind}] in kernel {self.kernel}{where}{times}", f"  {self.access}"]
        if self.other:
            lines.append(f"  {self.other}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Counter:
    """One memory instruction's traffic, over a launch.

    `requests` counts warps that ran it, `lanes` their threads that did. In global memory `moved` counts sectors of
    32 bytes, in shared memory passes over the banks (wavefronts); `ideal` is the least that would have done.
    """

    place: Place | None
    instruction: str
    ptx_line: int
    space: str
    requests: int
    lanes: int
    moved: int
    ideal: int

    @property
    def stores(self) -> bool:
        """Whether it only writes; all else are loads, cp.async and atomics that return a value among them."""
        return re.match(r"(@\S+ )?(st|red)\.", self.instruction) is not None

    def __str__(self) -> str:
        where = str(self.place) if self.place else f"PTX line {self.ptx_line}"
        unit = "wavefronts" if self.space == "shared" else "sectors"
        return f"{where}: {self.requests} requests, {self.moved} {unit}, ideal {self.ideal}: {self.instruction}"


def _triple(numbers: tuple[int, int, int]) -> str:
    """(3, 0, 0) as 3, (3, 1, 0) as (3, 1)."""
    kept = list(numbers)
    while len(kept) > 1 and not kept[-1]:
        kept.pop()
    return str(kept[0]) if len(kept) == 1 else f"({', '.join(map(str, kept))})"
