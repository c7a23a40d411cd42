"""Where slices are trained: in this process, in worker processes, or on Dask's workers."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from convc.checks import whole
from convc.errors import RunError
from convc.runtime.pool import get_num_threads, set_num_threads
from convc.study.slices import Payload, Slice, SliceResult, train_slice

RETRIES = 3
"""How often Dask trains a slice again whose worker was lost."""
CONNECT_SECONDS = 20


@dataclass(frozen=True)
class Crew:
    """Workers that are ready: `submit` gives them a slice; `hands` is how many are worked on at once."""

    submit: Callable[[Slice], Future[SliceResult]]
    hands: int


class Workers(Protocol):
    """Something that trains slices. What `lost` names is raised, by a future, where a worker is gone for good."""

    lost: tuple[type[BaseException], ...]

    @property
    def text(self) -> str:
        """For the report."""
        ...

    def start(self, payload: Payload) -> AbstractContextManager[Crew]:
        """The crew; at the end of the context none of it is left, whatever it was doing. Raises RunError."""
        ...


class InProcess:
    """One slice after the other, in this process and on all its threads; `after_batch` is told the images trained."""

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, after_batch: Callable[[int], None] | None = None) -> None:
        self.after_batch = after_batch

    @property
    def text(self) -> str:
        threads = get_num_threads()
        return f"one process, {threads} thread{'s' if threads > 1 else ''}"

    @contextmanager
    def start(self, payload: Payload) -> Iterator[Crew]:
        def submit(part: Slice) -> Future[SliceResult]:
            future: Future[SliceResult] = Future()
            future.set_result(train_slice(payload, part, self.after_batch))
            return future

        yield Crew(submit, 1)


class Processes:
    """`jobs` processes of one thread each. They end with this one, however that ends, and leave Ctrl-C to it.

    A script that uses them needs the usual guard, `if __name__ == "__main__"`: each imports it anew.
    """

    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, jobs: int) -> None:
        self.jobs = whole(jobs, "the number of jobs", 1, remedy="give another --jobs")

    @property
    def text(self) -> str:
        return f"{self.jobs} process{'es' if self.jobs > 1 else ''}, one thread each"

    @contextmanager
    def start(self, payload: Payload) -> Iterator[Crew]:
        key, data = _packed(payload)
        context = get_context("spawn")  # a fork would take half of our threads and locks along
        ours, theirs = context.Pipe()
        pool = ProcessPoolExecutor(self.jobs, context, _begin_process, (theirs, key, data))
        try:
            # One slice more than there are processes: none waits while files are written.
            yield Crew(partial(_submit, pool, key), self.jobs + 1)
        except BaseException:
            ours.close()  # at once, whatever they are training
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            ours.close()
            theirs.close()


class Dask:
    """The workers of a Dask cluster, which has a scheduler at `address`, such as tcp://host:8786.

    Each takes one slice at a time, on all its threads. A slice whose worker is lost is trained by another one; one
    that comes back, or comes late, is given what it needs. They need convc, and a C compiler where the target is cpu.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._count = 0
        distributed = _distributed()
        killed, closed = distributed.scheduler.KilledWorker, distributed.comm.CommClosedError
        self.lost: tuple[type[BaseException], ...] = (killed, closed, CancelledError)

    @property
    def text(self) -> str:
        return f"{self._count} worker{'s' if self._count != 1 else ''} of Dask at {self.address}"

    @contextmanager
    def start(self, payload: Payload) -> Iterator[Crew]:
        distributed = _distributed()
        key, data = _packed(payload)
        with self._client(distributed) as client:
            self._count = len(client.nthreads())
            client.register_plugin(_plugin(distributed, key, data), name=key)
            executor = client.get_executor(retries=RETRIES)
            try:
                yield Crew(partial(_submit, executor, key), self._count + 1)
            finally:
                executor.shutdown(wait=False)
                client.unregister_worker_plugin(key)

    def _client(self, distributed: Any) -> Any:
        try:
            client = distributed.Client(self.address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RunError(
                f"--workers is the address of a Dask scheduler, and none answers at {self.address} ({reason}); "
                "start `dask scheduler` and `dask worker ADDRESS`, or leave --workers out"
            ) from None
        if client.nthreads():
            return client
        client.close()
        raise RunError(f"the Dask scheduler at {self.address} has no workers; start `dask worker {self.address}` first")


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise RunError("--workers needs Dask; pip install 'convc[dask]', or leave --workers out") from None
    return distributed


def _packed(payload: Payload) -> tuple[str, bytes]:
    """A name that no other study has, and the bytes to be sent to each worker once."""
    try:
        return f"convc-study-{uuid.uuid4().hex}", pickle.dumps(payload)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise RunError(
            f"what worker processes need is sent to them, and this model's programs cannot be ({error}); give --jobs 1"
        ) from None


def _plugin(distributed: Any, key: str, data: bytes) -> Any:
    """Has each worker of Dask, also one that comes later, hold the payload while the study is there."""

    class StudyPlugin(distributed.WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:
            hold(key, data, worker.state.nthreads)

        def teardown(self, worker: Any) -> None:
            release(key)

    return StudyPlugin()


# In a worker


_held: dict[str, Payload | Exception] = {}
_one_at_a_time = threading.Lock()
"""Slices share the programs' store: a worker with several threads trains them one after the other."""


def hold(key: str, data: bytes, threads: int) -> None:
    """Unpack the payload of the study `key`, whose programs are built, or taken from the cache; use so many threads.

    What that raises is raised by the first slice: where a worker begins, there is nobody to tell.
    """
    try:
        set_num_threads(threads)
        _held[key] = pickle.loads(data)
    except Exception as error:
        _held[key] = error


def release(key: str) -> None:
    """The study is over."""
    _held.pop(key, None)


def train_held(key: str, part: Slice) -> SliceResult:
    """`train_slice` with what the worker holds for the study."""
    with _one_at_a_time:
        payload = _held[key]
        if isinstance(payload, Exception):
            raise payload
        return train_slice(payload, part)


def _submit(executor: Executor, key: str, part: Slice) -> Future[SliceResult]:
    return executor.submit(train_held, key, part)


def _begin_process(parent: Connection, key: str, data: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    hold(key, data, 1)


def _end_with(parent: Connection) -> None:
    """Ends this process as soon as the other end of the pipe is closed: by its owner, or by the system after a kill."""
    parent.poll(None)
    os._exit(0)
