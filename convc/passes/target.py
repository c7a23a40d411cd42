"""What passes may know of a target: numbers, never syntax."""

from __future__ import annotations

from dataclasses import dataclass

STATIC_SHARED_BYTES = 48 * 1024
"""The most shared memory that a CUDA kernel may declare with a size; more is dynamic, and asked for at the launch."""
BLOCK_SHARED_BYTES = 227 * 1024
"""The most that a block may have on an H100, its dynamic shared memory included."""

BLOCK, WARP = 128, 32
"""Threads of a block that computes a loop nest, as many as small products have so that they can share a launch; of a
warp."""

SECTOR = 8
"""Elements of 32 bytes, which is the least that is moved."""

LAUNCH_SECONDS = 2e-6
"""What a kernel costs besides its work: what a pass that adds one has to win back."""


@dataclass(frozen=True)
class Target:
    """`lanes`: f32 lanes of a vector; `registers`: values of that kind that the register file holds at once.

    `multiprocessors`: 0 for a machine of vectors and few threads. Where it is not, blocks of threads run on so
    many multiprocessors: each value has one lane, and tensors stay row-major. Clock and memory bandwidth are
    for the model that chooses among schedules. `level`: how far up the ladder of optimizations kernels go.
    """

    name: str
    lanes: int
    registers: int
    multiprocessors: int = 0
    clock_hz: float = 0.0
    bytes_per_second: float = 0.0
    level: int = 5

    @property
    def simt(self) -> bool:
        """Whether kernels are written for blocks of threads."""
        return self.multiprocessors > 0

    @property
    def rearranges(self) -> bool:
        """Whether layouts, axes and sums are moved about where the model says that it pays: the last rung."""
        return self.simt and self.level >= 5

    @property
    def flops_per_second(self) -> float:
        """FP32: 128 fused multiply-adds for each multiprocessor and cycle."""
        return 2 * 128 * self.multiprocessors * self.clock_hz


CPU = Target("cpu", lanes=16, registers=32)
CUDA = Target("cuda", lanes=1, registers=255, multiprocessors=132, clock_hz=1.755e9, bytes_per_second=3.35e12)
"""An H100 SXM (NVIDIA H100 Tensor Core GPU Architecture, 2022), at its boost clock under load: what schedules are
chosen for. Another device runs the same program, a little less well balanced."""
