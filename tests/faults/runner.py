"""Runs convc's commands in forked children, which may be killed at any instant and whose writes may fail.

    python runner.py WORKING_FOLDER

reads one JSON request a line, and answers each by a line:

    {"args": [...], "kill_after": seconds}     the command, killed after so long
    {"args": [...], "kill_at": k}              killed before its k-th file operation, from 0
    {"args": [...], "fail_at": k, "error": 28} its k-th file operation raises that error, and no other does
    {"args": [...], "watch": "folder"}         file operations are those that write below this folder
    {"args": [...], "sketch": true}            the report's figures are a few bytes each, which takes less time

The answer: {"code": exit code, -9 where it was killed; "out", "err": what it printed; "seconds": how long it took;
"operations": ["open study.json", ...]}.

Everything is imported once, and programs come from the cache, so that a run takes a fraction of a second.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any

from matplotlib.figure import Figure

from convc.cli import main

# What commands import when they are called: each child would do so again.
LATER = (
    *("matplotlib.backends.backend_agg", "PIL.Image", "rich.progress", "safetensors.numpy", "filelock"),
    *(f"convc.cli.{name}" for name in ("evaluate", "opt", "run", "study", "train", "compile")),
)

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Operations:
    """Counts what a process does to files below a folder, and kills it, or raises an error, before the one asked for.

    `open` for writing, `mkdir`, `rename`, `chmod` and `unlink` are seen by Python's audit hook wherever they are
    called; write and fsync, which have no audit event, where convc calls them, in `os`.
    """

    def __init__(self, folder: str, log: int, kill_at: int | None, fail_at: int | None, error: int) -> None:
        self.folder, self.log = os.path.abspath(folder), log
        self.kill_at, self.fail_at, self.error = kill_at, fail_at, error
        self.seen = 0
        self.write, self.fsync = os.write, os.fsync
        os.write, os.fsync = self._by_handle("write", os.write), self._by_handle("fsync", os.fsync)
        sys.addaudithook(self._heard)

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str) and isinstance(args[2], int) and args[2] & WRITING:
            self._operation("open", args[0])
        elif event in ("os.mkdir", "os.rename", "os.chmod", "os.remove"):
            name = args[0] if not isinstance(args[0], int) else f"/proc/self/fd/{args[0]}"
            self._operation(event[3:], os.fspath(name))

    def _by_handle(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(handle: int, *rest: Any) -> Any:
            self._operation(name, f"/proc/self/fd/{handle}")
            return real(handle, *rest)

        return called

    def _operation(self, name: str, path: str) -> None:
        # Links are followed in the name of the folder only: a handle's name is the file's.
        path = os.readlink(path) if path.startswith("/proc/self/fd/") else os.path.abspath(path)
        if not (path + "/").startswith(self.folder + "/"):
            return
        at, self.seen = self.seen, self.seen + 1
        self.write(self.log, f"{name} {os.path.relpath(path, self.folder)}\n".encode())
        if at == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if at == self.fail_at:
            raise OSError(self.error, os.strerror(self.error), path)


def child(request: dict[str, Any], out: int, err: int, log: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)
    if "watch" in request:
        Operations(request["watch"], log, request.get("kill_at"), request.get("fail_at"), request.get("error", 28))
    if request.get("sketch"):
        Figure.savefig = sketch  # type: ignore[method-assign]
    sys.argv = ["convc", *request["args"]]
    main(request["args"], prog_name="convc")


def sketch(figure: Figure, file: IO[Any], *, format: str, **_: Any) -> None:
    file.write(b"png" if format == "png" else '<svg viewBox="0 0 1 1"></svg>')


def serve(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as log:
        return served(request, [out, err, log])


def served(request: dict[str, Any], files: list[IO[bytes]]) -> dict[str, Any]:
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            child(request, *(f.fileno() for f in files))
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if "kill_after" in request:
        time.sleep(request["kill_after"])
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode(errors="replace"))
    out, err, log = texts
    seconds = time.perf_counter() - began
    return {"code": status, "out": out, "err": err, "operations": log.splitlines(), "seconds": seconds}


def answer_requests() -> None:
    os.chdir(sys.argv[1])
    for module in LATER:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    answer_requests()
