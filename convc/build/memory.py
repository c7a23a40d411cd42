"""How much memory this process can still have: asked before it is taken.

A system may promise more than it has, and end the process that takes it at its word. So nobody waits for an allocation
to fail.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def available(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes: the least of what the machine has free, swap included, of its control groups' and of `ulimit -v`."""
    return max(0, min([_machine(proc), *_groups(proc, cgroups), *_address_space(proc)]))


def text(size: int) -> str:
    """12.3 GiB"""
    if size >= 2**80:
        return f"2^{size.bit_length() - 1} bytes"
    power = 0
    while size >= 1024 ** (power + 1) and power + 1 < len(UNITS):
        power += 1
    return f"{size / 1024**power:.3g} {UNITS[power]}" if power else f"{size} bytes"


def _machine(proc: Path) -> int:
    found = _table(proc / "meminfo")
    if "MemAvailable" in found:
        return 1024 * (found["MemAvailable"] + found.get("SwapFree", 0))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # all there is: no more is known elsewhere


def _groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What each control group around this process leaves; pages of files that it could drop count as free."""
    for line in _read(proc / "self/cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        root = cgroups if not kinds else cgroups / "memory" if kinds == "memory" else None
        if root is None:
            continue
        limit, used, cache = ("memory.max", "memory.current", "inactive_file")
        if kinds:
            limit, used, cache = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            most, now = _read(folder / limit).strip(), _read(folder / used).strip()
            if most.isdecimal() and now.isdecimal():
                yield int(most) - int(now) + _table(folder / "memory.stat").get(cache, 0)
            if folder == root:
                break


def _address_space(proc: Path) -> Iterator[int]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _read(proc / "self/statm").split()
    if limit != resource.RLIM_INFINITY and pages:
        yield limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")


def _table(path: Path) -> dict[str, int]:
    """`name: 12 kB`, or `name 12`, line by line."""
    rows = (line.replace(":", " ").split() for line in _read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
