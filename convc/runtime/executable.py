"""What a program asks of the target that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from convc.codegen.source import Source
from convc.ir.core import Graph
from convc.runtime.store import ParameterStore

Array = npt.NDArray[Any]


class Executable(Protocol):
    """A planned graph, built. `bind`, called before all else, gives it the store of parameters, state and constants.

    `run` takes arrays that are already of the right dtype, shape and contiguity; `rows` is n. It has the store's
    arrays move to where it uses them, and holds the store's lock: what a run needs for itself is there once.

    Pickled or copied, it is its graph and options, and is built again, from the user's cache where that has it; what
    it was bound to is its program's business.
    """

    target: str
    graph: Graph

    @property
    def source(self) -> Source: ...

    def bind(self, store: ParameterStore) -> None: ...

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], scalars: Sequence[float], rows: int) -> None: ...


@runtime_checkable
class Counting(Executable, Protocol):
    """An executable that counts what its kernels move: the emulator."""

    def counted(self) -> Source:
        """The source, the counts of the last run on its cards; without them before the first."""
        ...


@runtime_checkable
class Sweeper(Executable, Protocol):
    """An executable that goes through many batches without waiting for each: a device's."""

    def sweep(
        self, arrays: Sequence[Array], order: Array | None, scalars: Callable[[int], Sequence[float]]
    ) -> Iterator[tuple[int, list[Array]]]:
        """For each batch the rows and the outputs, which must be of rank 0.

        The store's lock is held while batches are under way, and free whenever it is the caller's turn.

        `arrays`: one [N, ...] for each data input, of its dtype or u8; they must not change while this program
        is in use. `order`: their rows, [M] (None: all as they stand), taken a batch at a time. `scalars`: of the
        batch of that number, from 0, in the order of the graph's.
        """
        ...
