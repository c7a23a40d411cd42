"""What passes may know of a target: numbers, never syntax."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`lanes`: f32 lanes of a vector; `registers`: values of that kind that the register file holds at once.

    `multiprocessors`: 0 for a machine of vectors and few threads. Where it is not, blocks of threads run on so
    many multiprocessors: each value has one lane, and tensors stay row-major.
    """

    name: str
    lanes: int
    registers: int
    multiprocessors: int = 0

    @property
    def simt(self) -> bool:
        """Whether kernels are written for blocks of threads."""
        return self.multiprocessors > 0


CPU = Target("cpu", lanes=16, registers=32)
CUDA = Target("cuda", lanes=1, registers=255, multiprocessors=132)
"""An H100: what schedules are chosen for. Another device runs the same program, a little less well balanced."""
