"""Work for all cores, in threads: compilers are processes, or libraries that need no interpreter lock."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from convc.locks import Lock

Given = TypeVar("Given")
Made = TypeVar("Made")


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A thread a core. Until the end no cycles are collected: what a GPU gave must not be freed by another thread."""
    with _NO_CYCLES, ThreadPoolExecutor(os.cpu_count()) as pool:
        yield pool


class _Uncollected:
    """Cycles are collected again when the last of the threads that asked for peace has left."""

    def __init__(self) -> None:
        self._lock, self._inside, self._collecting = Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._collecting = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._collecting:
                gc.enable()


_NO_CYCLES = _Uncollected()


def side_by_side(make: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
    """`make` of every item, in order."""
    with workers() as pool:
        return list(pool.map(make, items))
