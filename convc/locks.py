"""Locks between threads of one process; in the child of a fork every one of them is free."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class Lock:
    """A lock that its thread may take again: `with lock:`. A copy of it, pickled or not, is a lock of its own."""

    def __init__(self) -> None:
        self.renew()
        _LOCKS.add(self)

    def renew(self) -> None:
        """Free, whoever held it."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return Lock, ()


_LOCKS: weakref.WeakSet[Lock] = weakref.WeakSet()
"""All of them: a thread that held one is not there after a fork, and would never give it back."""


def _renew_all() -> None:
    for lock in _LOCKS:
        lock.renew()


os.register_at_fork(after_in_child=_renew_all)
_JOINING = Lock()


class SharedLock:
    """A lock that can become one with another for good, as those of stores do that come to share arrays."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._into: SharedLock | None = None

    def _last(self) -> SharedLock:
        lock = self
        while lock._into is not None:
            lock = lock._into
        return lock

    @contextmanager
    def held(self) -> Iterator[None]:
        """The thread has it; it may take it again inside."""
        while True:
            last = self._last()
            with last._lock:
                if last._into is not None:
                    continue  # joined while this thread waited
                yield
                return

    def join(self, other: SharedLock) -> None:
        """From now on both are one lock."""
        with _JOINING:
            one, two = self._last(), other._last()
            if one is not two:
                with one._lock, two._lock:
                    two._into = one


class Once(Generic[Made]):
    """As functools.cache, but threads that ask at the same time wait for one result, which all of them get."""

    def __init__(self, make: Callable[..., Made]) -> None:
        functools.update_wrapper(self, make)
        self._lock = Lock()
        self._made = functools.cache(make)
        self.cache_clear = self._made.cache_clear

    def __call__(self, *arguments: Any) -> Made:
        with self._lock:
            return self._made(*arguments)
