"""Going through a split batch by batch, in any order, on the host or on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from convc.data import Split, batches
from convc.runtime.program import Program

Numbers = Callable[[int], Mapping[str, float]]
"""The run-time numbers of the batch of that number, from 0."""


class Sweep:
    """A program whose inputs are images and labels, over one split; each batch is as large as the program takes.

    A target with a memory of its own keeps the split there, or streams it, and waits only once for many batches.
    """

    def __init__(self, program: Program, split: Split) -> None:
        self.program, self.split = program, split
        self.capacity = int(program.graph.inputs_of("data")[0].type.shape[0])
        self._gathered: Split | None = None

    def run(self, order: np.ndarray | None, numbers: Numbers = lambda batch: {}) -> Iterator[tuple[int, Any]]:
        """The rows of each batch and what the program returned. `order`: integers [M] (None: the split as it is)."""
        if self.program.sweeps:
            yield from self.program.sweep((self.split.images, self.split.labels), order, numbers)
            return
        split = self.split if order is None else self._gather(order)
        for number, (images, labels) in enumerate(batches(split, self.capacity, order=None)):
            yield len(labels), self.program(images.astype(np.float32, copy=False), labels, **numbers(number))

    def _gather(self, order: np.ndarray) -> Split:
        """The rows in their order, gathered once an epoch: a batch is then a slice that is read where it lies."""
        if self._gathered is None or len(self._gathered) != len(order):
            self._gathered = self.split.take(order)
            return self._gathered
        np.take(self.split.images, order, axis=0, out=self._gathered.images, mode="clip")
        np.take(self.split.labels, order, out=self._gathered.labels, mode="clip")
        return self._gathered
