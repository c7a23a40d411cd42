"""One run at a time writes into a folder; another one is told who does."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from convc.build.files import remove_partial, write_atomically
from convc.errors import DataError


@contextmanager
def folder_lock(out: Path) -> Iterator[None]:
    """Hold the folder of a run, which is made where there is none, and clear away what killed runs left half-written.

    The lock is the operating system's, on OUT/checkpoint/lock, and ends with the process however that ends;
    OUT/checkpoint/holder.txt only says whose it is. Raises DataError where another run holds it, with its process,
    host, time of start and command, and where the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # here, for a fast start

    folder = out / "checkpoint"
    holder = folder / "holder.txt"
    lock = FileLock(folder / "lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise DataError(
            f"another run writes into {out}: {_read(holder)}; wait until it ends, or choose another --out"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot write {out}: {reason}; choose another --out") from None
    try:
        remove_partial(out)
        remove_partial(folder)
        write_atomically(holder, _own_text())
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _own_text() -> str:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}, {shlex.join(sys.argv)}\n"


def _read(holder: Path) -> str:
    try:
        return " ".join(holder.read_text(encoding="utf-8", errors="replace").split()) or "it has not said who it is"
    except OSError:  # it has only just begun, or just ended
        return "it has not said who it is"
