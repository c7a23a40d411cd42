"""Calls from several Python threads: each gives what it gives alone, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc.locks import Lock, Once, SharedLock
from convc.runtime.program import Program

Array = npt.NDArray[Any]
THREADS = 4
SECONDS = 120
"""After so long a call that waits for ever ends the test."""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Two threads a call, and Python threads that change often."""
    before, interval = convc.get_num_threads(), sys.getswitchinterval()
    convc.set_num_threads(2)
    sys.setswitchinterval(1e-5)
    yield
    convc.set_num_threads(before)
    sys.setswitchinterval(interval)


def at_once(work: Callable[[int], Any], number: int = THREADS) -> list[Any]:
    """`work` of 0 .. number - 1, each in a thread of its own, all begun together; what one raises is raised here."""
    ready = threading.Barrier(number)

    def begin(i: int) -> Any:
        ready.wait(SECONDS)
        return work(i)

    with ThreadPoolExecutor(number) as pool:
        return [f.result(SECONDS) for f in [pool.submit(begin, i) for i in range(number)]]


def net() -> convc.nn.Sequential:
    layers = convc.nn.Conv2d(2, 5, 3, padding=1), convc.nn.ReLU(), convc.nn.Flatten(), convc.nn.Linear(180, 3)
    return convc.nn.Sequential(*layers, name="net")


def images(thread: int, call: int) -> Array:
    """Other numbers and another number of rows in each call."""
    rng = np.random.default_rng([thread, call])
    return rng.standard_normal((1 + (thread + call) % 8, 2, 6, 6)).astype(np.float32)


CALLS = {"cpu": 200, "emulator": 6}


@pytest.mark.parametrize("target", CALLS)
def test_calls_of_one_program_do_not_mix(target: str) -> None:
    program = convc.compile(net(), (8, 2, 6, 6), target=target)
    given = [[images(thread, call) for call in range(CALLS[target])] for thread in range(THREADS)]
    alone = [[program(x) for x in xs] for xs in given]

    def calls(thread: int) -> int:
        return sum(not np.array_equal(program(x), y) for x, y in zip(given[thread], alone[thread], strict=True))

    assert at_once(calls) == [0] * THREADS


def test_a_number_that_a_call_gives_is_its_own() -> None:
    graph = convc.parse_graph("graph @g(%x: f32[n<=9,4], %k: f32[] scalar) { %0: f32[n<=9,4] = mul(%x, %k) return %0 }")
    program = convc.compile(graph)

    def calls(thread: int) -> int:
        ones = np.ones((1 + thread, 4), np.float32)
        return sum(not (program(ones, k=100 * thread + i) == 100 * thread + i).all() for i in range(300))

    assert at_once(calls) == [0] * THREADS


def trainer() -> tuple[convc.nn.Sequential, Program, Program]:
    model = net()
    step = convc.compile(model, (8, 2, 6, 6), mode="train", optimizer=convc.SGD(momentum=0.9))
    return model, step, convc.compile(model, (8, 2, 6, 6), mode="eval")


def test_steps_and_evaluations_take_turns() -> None:
    """All threads train on one batch: whichever steps when, the losses are those of so many steps in a row."""
    x, labels = images(3, 4), np.arange(8) % 3
    model, step, _ = trainer()
    alone = [step(x, labels, lr=0.01) for _ in range(THREADS * 25)]
    after = model.store.snapshot()
    model, step, evaluation = trainer()

    def train(thread: int) -> list[float]:
        found = []
        for _ in range(25):
            found.append(step(x, labels, lr=0.01))
            loss, _ = evaluation(x, labels)
            assert np.isfinite(loss)
        return found

    assert sorted(loss for losses in at_once(train) for loss in losses) == sorted(alone)
    for name, array in model.store.snapshot().items():
        np.testing.assert_array_equal(array, after[name])


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    """And so is a file: %b is always %a + 1, though the two are written one after the other."""
    graph = convc.parse_graph("""
        graph @g(%x: f32[30000], %a: f32[30000] parameter, %b: f32[30000] state) {
          %0: f32[30000] = add(%a, %x)
          %1: f32[30000] = add(%b, %x)
          %2: f32[] = sum(%0) {axes=[0]}
          return %2
          update %a = %0
          update %b = %1
        }""")
    program = convc.compile(graph)
    store = program.parameters
    store["b"][...] = 1
    one = np.ones(30000, np.float32)
    store.save(tmp_path / "zero.safetensors", state=True)

    def work(thread: int) -> None:
        for i in range(40):
            if thread < 2:
                program(one)
                continue
            if thread == 2:
                found = store.snapshot()
                assert len(set((found["b"] - found["a"]).tolist())) == 1
                assert found["b"][0] - found["a"][0] == 1
            else:
                store.save(tmp_path / f"{i}.safetensors", state=True)
                store.load(tmp_path / f"{i}.safetensors")
                store.restore(store.snapshot())

    at_once(work)
    found = store.snapshot()
    np.testing.assert_array_equal(found["b"], found["a"] + 1)


def test_models_are_compiled_side_by_side_and_one_model_too() -> None:
    shared = net()
    x = images(0, 6)
    programs = at_once(lambda i: convc.compile(shared, (8, 2, 6, 6), seed=i, mode="infer"))
    for program in programs[1:]:
        np.testing.assert_array_equal(program(x), programs[0](x))
    assert list(shared.store) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    others = at_once(lambda i: convc.compile(net(), (8, 2, 6, 6), seed=5)(x))
    for y in others[1:]:
        np.testing.assert_array_equal(y, others[0])


FIRST = """
import threading, numpy as np, convc
found = []
def work(i):
    net = convc.nn.Sequential(convc.nn.Flatten(), convc.nn.Linear(4, 3))
    found.append(convc.compile(net, (2, 1, 2, 2), target="cpu")(np.ones((2, 1, 2, 2), np.float32)).tobytes())
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(found), len(set(found)))
"""


def test_the_first_calls_of_a_process_may_be_side_by_side(tmp_path: Path) -> None:
    """All is still to be imported, built and loaded."""
    environment = {**os.environ, "CONVC_CACHE_DIR": str(tmp_path / "cache")}
    result = subprocess.run(
        [sys.executable, "-c", FIRST], capture_output=True, text=True, env=environment, timeout=SECONDS
    )
    assert (result.stdout, result.stderr) == ("4 1\n", "")


def test_a_child_of_a_fork_computes_whatever_other_threads_were_doing() -> None:
    program = convc.compile(net(), (8, 2, 6, 6))
    x = images(0, 5)
    wanted = program(x)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with program.parameters.locked():
            inside.set()
            leave.wait(SECONDS)

    other = threading.Thread(target=hold)
    other.start()
    assert inside.wait(SECONDS)
    child = os.fork()
    if not child:  # no assertion may leave the child
        signal.alarm(SECONDS)
        os._exit(0 if np.array_equal(program(x), wanted) else 1)
    leave.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_locks_that_were_joined_are_one() -> None:
    one, two, three = SharedLock(), SharedLock(), SharedLock()
    one.join(two)
    three.join(two)
    two.join(one)
    with three.held(), one.held():  # a thread may take it again
        taken: list[SharedLock] = []

        def take(lock: SharedLock) -> None:
            with lock.held():
                taken.append(lock)

        waiting = [threading.Thread(target=take, args=(lock,)) for lock in (one, two, three)]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join(0.05)
        assert not taken
    for thread in waiting:
        thread.join(SECONDS)
    assert len(taken) == 3


def test_who_waits_while_locks_are_joined_gets_the_joint_one() -> None:
    for _ in range(50):
        joined_by_turns()


def joined_by_turns() -> None:
    """Each of four threads joins two of four locks; when all have, only one at a time is inside."""
    locks, ready, counter = [SharedLock() for _ in range(THREADS)], threading.Barrier(THREADS), [0]

    def work(i: int) -> None:
        locks[i].join(locks[(i + 1) % THREADS])
        for other in locks:
            with other.held():
                pass
        ready.wait(SECONDS)
        for _ in range(20):
            with locks[i].held():
                seen = counter[0]
                counter[0] = seen + 1

    at_once(work)
    assert counter == [20 * THREADS]


def test_once_makes_one_for_all_who_ask() -> None:
    made = []

    @Once
    def make(number: int) -> object:
        made.append(number)
        return object()

    assert len(set(map(id, at_once(lambda i: make(7))))) == 1
    assert made == [7]
    assert make(8) is not make(7)
    make.cache_clear()
    make(7)
    assert made == [7, 8, 7]


def test_a_lock_of_a_fork_is_free() -> None:
    lock = Lock()
    with lock:
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            free = threading.Thread(target=lambda: lock.__enter__())
            free.start()
            free.join(SECONDS)
            os._exit(int(free.is_alive()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
