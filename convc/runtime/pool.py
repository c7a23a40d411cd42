"""The thread pool that every program of the C target runs on; the C side is `templates/c/pool.c`."""

from __future__ import annotations

import ctypes
import os
from importlib import resources

from convc.build.shared_library import load_library
from convc.build.toolchain import Unit, build_shared
from convc.checks import shown, whole
from convc.errors import RunError
from convc.locks import Once

MAX_THREADS = 1024  # as in pool.c

_chosen: int | None = None


def run(body_address: int, ctx_address: int, threads: int) -> None:
    """Calls the C function `body(ctx, thread, threads, barrier)` on each thread and waits for them all.

    The caller's thread is thread 0. Calls from several Python threads wait for each other, without the GIL.
    `body` may be given fewer threads than asked: one within another body, and as many as the system grants.
    Raises RunError where `threads` is not in 1 .. 1024, ToolchainError where the pool cannot be compiled.
    """
    _checked(threads, "threads")
    _library().convc_pool_run(body_address, ctx_address, threads)


def set_num_threads(n: int) -> None:
    """Sets how many threads programs run on, 1 .. 1024, over $CONVC_NUM_THREADS; else raises RunError."""
    global _chosen
    _chosen = _checked(n, "set_num_threads")


def get_num_threads() -> int:
    """What set_num_threads said, else $CONVC_NUM_THREADS, else how many CPUs this process may use."""
    if _chosen is not None:
        return _chosen
    text = os.environ.get("CONVC_NUM_THREADS", "").strip()
    if text:
        return _checked(int(text) if text.isdecimal() else text, "CONVC_NUM_THREADS")
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)


def _checked(n: object, place: str) -> int:
    try:
        return whole(n, "a number of threads", 1, MAX_THREADS)
    except RunError:
        rule = f"a number of threads is a whole number from 1 to {MAX_THREADS}"
        raise RunError(f"{rule}: {place} got {shown(n)}") from None


@Once
def _library() -> ctypes.CDLL:
    source = resources.files("convc").joinpath("templates/c/pool.c").read_text(encoding="utf-8")
    library = load_library(build_shared([Unit("pool", source)]))
    library.convc_pool_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    library.convc_pool_run.restype = None
    return library
