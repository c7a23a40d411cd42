"""The kernel that takes a batch out of a data set on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convc.codegen.env import render

NAME, THREADS = "gather_batch", 256
TYPES = {"f32": "float", "i32": "int", "u8": "unsigned char"}


@dataclass(frozen=True)
class Gathered:
    """One input of a step: the C types that the data set holds and the step takes, and the elements of a row."""

    held: str
    taken: str
    size: int


def gather_source(inputs: Sequence[tuple[str, str, int]], cells: int) -> str:
    """CUDA for inputs (dtype of the data set, dtype of the step, elements of a row) and `cells` run-time numbers.

    Launched with a block row for each row of the batch and `slices(...)` blocks in each.
    """
    assert cells <= THREADS
    rows = [Gathered(TYPES[held], TYPES[taken], size) for held, taken, size in inputs]
    return render("cuda/batch.cu.j2", name=NAME, threads=THREADS, inputs=rows, cells=cells)


def slices(inputs: Sequence[tuple[str, str, int]]) -> int:
    """Blocks that share a row: four elements of the longest for each thread."""
    return max(1, *(-(-size // (4 * THREADS)) for _, _, size in inputs))
