"""What a program asks of the target that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt

from convc.codegen.source import Source
from convc.ir.core import Graph

Array = npt.NDArray[Any]


class Executable(Protocol):
    """A planned graph, built. `bind` gives it parameters, state and constants, in the order of the graph's inputs.

    `run` takes arrays that are already of the right dtype, shape and contiguity; `rows` is n.
    """

    target: str
    graph: Graph

    @property
    def source(self) -> Source: ...

    def bind(self, stores: Sequence[Array]) -> None: ...

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], scalars: Sequence[float], rows: int) -> None: ...
