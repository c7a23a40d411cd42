"""How many blocks of a kernel an SM runs at once, and what stands in the way of more.

The rules are those of the occupancy section of the CUDA C++ Best Practices Guide; the numbers, those of
`convc.build.archs`. They need no device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convc.build.archs import Limits, limits_of
from convc.build.cubin import Resources
from convc.errors import ToolchainError

WARP = 32
Limiter = Literal["warps", "blocks", "registers", "shared", "barriers"]


@dataclass(frozen=True)
class Occupancy:
    """Blocks and warps on one SM; `fraction` of the warps that it could hold; what `limiter` allows no more of.

    0 blocks: the kernel cannot be launched so, and the limiter says which limit it breaks.
    """

    blocks_per_sm: int
    warps_per_sm: int
    fraction: float
    limiter: Limiter


def occupancy(resources: Resources, threads: int, dynamic_shared: int, arch: str) -> Occupancy:
    """The occupancy of a kernel launched with `threads` threads and `dynamic_shared` bytes a block.

    Where several limits allow equally few blocks, the first of warps, blocks, registers, shared, barriers is
    named. Raises ToolchainError on an unknown architecture, on fewer than 1 thread and on a negative size.
    """
    limits = limits_of(arch)
    if threads < 1 or dynamic_shared < 0:
        raise ToolchainError(
            "a block has at least 1 thread and 0 bytes of dynamic shared memory, "
            f"got {threads} threads and {dynamic_shared} bytes"
        )
    warps = -(-threads // WARP)
    shared = resources.shared_bytes + dynamic_shared
    allowed: dict[Limiter, int] = {
        "warps": limits.warps // warps if threads <= limits.block_threads else 0,
        "blocks": limits.blocks,
        "registers": _blocks_by_registers(resources.registers, warps, limits),
        "shared": _blocks_by_shared(shared, limits),
        "barriers": _blocks_by_barriers(resources.barriers, limits, arch),
    }
    limiter = min(allowed, key=lambda limit: allowed[limit])  # the first of equals
    blocks = allowed[limiter]
    return Occupancy(blocks, blocks * warps, blocks * warps / limits.warps, limiter)


def _blocks_by_registers(registers: int, warps: int, limits: Limits) -> int:
    if registers > limits.thread_registers:
        return 0
    per_warp = _round_up(max(registers, 1) * WARP, limits.register_unit)
    # Each scheduler's warps live in its own part of the registers.
    return limits.registers // limits.schedulers // per_warp * limits.schedulers // warps


def _blocks_by_shared(shared: int, limits: Limits) -> int:
    return limits.shared_bytes // _round_up(shared + limits.reserved_bytes, limits.shared_unit)


def _blocks_by_barriers(barriers: int, limits: Limits, arch: str) -> int:
    """From Hopper on the barriers (`bar.sync 0`, 1, ...) of an SM are shared by its blocks: 1 or 2 for each."""
    if arch.startswith("sm_8") or not barriers:
        return limits.blocks
    return limits.blocks * (2 if limits.blocks == 32 else 1) // barriers


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
