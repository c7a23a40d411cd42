"""Work for all cores, in threads: compilers are processes, or libraries that need no interpreter lock."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A thread a core. Until the end no cycles are collected: what a GPU gave must not be freed by another thread."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield pool
    finally:
        if collecting:
            gc.enable()


def side_by_side(make: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
    """`make` of every item, in order."""
    with workers() as pool:
        return list(pool.map(make, items))
