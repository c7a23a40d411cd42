"""What passes may know of a target: numbers, never syntax."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`lanes`: f32 lanes of a vector; `registers`: vector values that the register file holds at once."""

    name: str
    lanes: int
    registers: int


CPU = Target("cpu", lanes=16, registers=32)
