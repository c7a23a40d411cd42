"""The thread pool: every thread sees every other's writes, runs follow each other, forks start afresh."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from convc.build.toolchain import Unit, build_shared
from convc.errors import ConvcError, RunError
from convc.runtime import pool

SOURCE = """
#include <stdatomic.h>

enum { MOST = 64 };
struct context {
  long phases, base;          /* base: another in each run, or the writes of the last would serve */
  long written[MOST];         /* plain: only the barrier orders them */
  long calls[MOST];           /* how often each thread ran the body */
  long threads;               /* as the body was told */
  atomic_long unseen, at_once;  /* writes that a thread missed; runs that met another run */
  atomic_long *busy;
};

void phases(void *ctx, int thread, int threads, void (*barrier)(void)) {
  struct context *c = ctx;
  if (thread == 0) {
    c->at_once += atomic_fetch_add(c->busy, 1) != 0;
    c->threads = threads;
  }
  c->calls[thread]++;
  for (long phase = 0; phase < c->phases; phase++) {
    c->written[thread] = c->base + phase;
    barrier();
    for (int other = 0; other < threads; other++) c->unseen += c->written[other] != c->base + phase;
    barrier();
  }
  if (thread == 0) atomic_fetch_sub(c->busy, 1);
}
"""


class Context(ctypes.Structure):
    _fields_ = [
        ("phases", ctypes.c_long),
        ("base", ctypes.c_long),
        ("written", ctypes.c_long * 64),
        ("calls", ctypes.c_long * 64),
        ("threads", ctypes.c_long),
        ("unseen", ctypes.c_long),
        ("at_once", ctypes.c_long),
        ("busy", ctypes.POINTER(ctypes.c_long)),
    ]


BUSY = ctypes.c_long(0)
PYTHON_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVC_CACHE_DIR", str(folder))
        pool._library.cache_clear()
        yield folder


@pytest.fixture(autouse=True)
def hang_is_a_failure() -> Iterator[None]:
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def body(own_cache: Path) -> int:
    library = ctypes.CDLL(str(build_shared([Unit("phases", SOURCE)])))
    return address(library.phases)


def address(function: object) -> int:
    value = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert value is not None
    return value


def run_often(body: int, threads: int, runs: int, phases: int = 3) -> Context:
    context = Context(phases=phases, busy=ctypes.pointer(BUSY))
    for number in range(runs):
        context.base = number * phases + 1
        pool.run(body, ctypes.addressof(context), threads)
        if context.written[threads - 1] != context.base + phases - 1:  # the caller sees what the last thread wrote
            context.unseen += 1
    return context


def check(context: Context, threads: int, runs: int) -> None:
    assert context.unseen == 0
    assert context.at_once == 0
    assert context.threads == threads
    assert list(context.calls) == [runs] * threads + [0] * (64 - threads)


@pytest.mark.parametrize("threads", [1, 2, 3, pytest.param(5, marks=pytest.mark.slow)])
def test_threads_see_each_others_writes(body: int, threads: int) -> None:
    check(run_often(body, threads, 3000), threads, 3000)


def test_thread_count_may_change_from_run_to_run(body: int) -> None:
    for runs, threads in enumerate([5, 2, 1, 40, 3, 7, 2] * 10):
        check(run_often(body, threads, runs % 3 + 1), threads, runs % 3 + 1)


def test_sleeping_workers_wake(body: int) -> None:
    for _ in range(10):
        check(run_often(body, 4, 1), 4, 1)
        threading.Event().wait(0.005)  # long past the spinning: they sleep by now


def test_runs_of_several_python_threads_follow_each_other(body: int) -> None:
    counts = [1, 2, 3, 2]
    with ThreadPoolExecutor(len(counts)) as callers:
        contexts = list(callers.map(lambda threads: run_often(body, threads, 300), counts))
    for context, threads in zip(contexts, counts, strict=True):
        check(context, threads, 300)


def test_run_within_a_run_gets_one_thread() -> None:
    seen: list[tuple[int, int]] = []

    def inner(_ctx: object, thread: int, threads: int, _barrier: object) -> None:
        seen.append((thread, threads))

    def outer(_ctx: object, _thread: int, _threads: int, _barrier: object) -> None:
        pool.run(address(inner_body), 0, 4)

    inner_body, outer_body = PYTHON_BODY(inner), PYTHON_BODY(outer)
    pool.run(address(outer_body), 0, 3)
    assert seen == [(0, 1)] * 3
    pool.run(address(inner_body), 0, 2)  # and the pool is whole again
    assert sorted(seen[3:]) == [(0, 2), (1, 2)]


def exit_status_of_child(body: int, threads: int) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(30)  # a child that hangs ends the test, not the test run
        try:
            check(run_often(body, threads, 100), threads, 100)
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_of_a_fork_starts_afresh(body: int) -> None:
    run_often(body, 3, 10)
    assert exit_status_of_child(body, 2) == 0
    assert exit_status_of_child(body, 5) == 0
    check(run_often(body, 4, 100), 4, 100)  # the parent's workers are as they were


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork_while_another_thread_runs(body: int) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay(_ctx: object, _thread: int, _threads: int, _barrier: object) -> None:
        inside.set()
        leave.wait(30)

    stay_body = PYTHON_BODY(stay)
    other = threading.Thread(target=pool.run, args=(address(stay_body), 0, 2))
    other.start()
    assert inside.wait(30)
    try:
        assert exit_status_of_child(body, 3) == 0
    finally:
        leave.set()
        other.join()


# The number of threads


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(pool, "_chosen", None)
    monkeypatch.delenv("CONVC_NUM_THREADS", raising=False)
    return monkeypatch


def test_number_of_threads_by_default(undecided: pytest.MonkeyPatch) -> None:
    undecided.setattr(os, "sched_getaffinity", lambda _: {0, 3, 7}, raising=False)
    assert pool.get_num_threads() == 3
    undecided.delattr(os, "sched_getaffinity")
    undecided.setattr(os, "cpu_count", lambda: 6)
    assert pool.get_num_threads() == 6


def test_number_of_threads_asked_for(undecided: pytest.MonkeyPatch) -> None:
    undecided.setenv("CONVC_NUM_THREADS", " 9 ")
    assert pool.get_num_threads() == 9
    pool.set_num_threads(4)
    assert pool.get_num_threads() == 4


@pytest.mark.parametrize("text", ["0", "-1", "two", "2.5", "1025", "1_0"])
def test_bad_number_in_the_environment(undecided: pytest.MonkeyPatch, text: str) -> None:
    undecided.setenv("CONVC_NUM_THREADS", text)
    with pytest.raises(RunError, match="whole number from 1 to 1024: CONVC_NUM_THREADS got .*" + text) as error:
        pool.get_num_threads()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [0, -1, 1025, True, 2.0, "2", None])
def test_bad_number_in_a_call(undecided: pytest.MonkeyPatch, number: object) -> None:
    with pytest.raises(ConvcError, match="whole number from 1 to 1024: set_num_threads got"):
        pool.set_num_threads(number)  # type: ignore[arg-type]
    with pytest.raises(ConvcError, match="whole number from 1 to 1024: threads got"):
        pool.run(0, 0, number)  # type: ignore[arg-type]
    assert pool._chosen is None
