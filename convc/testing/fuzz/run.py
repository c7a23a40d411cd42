"""Runs cases in processes of their own, makes those that fail small, and says what ran."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

from convc.build.files import write_atomically
from convc.errors import ConvcError
from convc.testing.fuzz.case import Case
from convc.testing.fuzz.oracle import Finding
from convc.testing.fuzz.sample import Job, draw_case
from convc.testing.fuzz.shrink import shrink

SECONDS = 120.0
"""After which a case counts as one that does not end."""


COMMAND = (sys.executable, "-m", "convc.testing.fuzz.worker")


class Worker:
    """One process that answers requests; started anew where it died."""

    def __init__(self, seconds: float = SECONDS, command: Sequence[str] = COMMAND) -> None:
        self.seconds = seconds
        self.command = command
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer; a process that dies or does not end is one too, of kind `crash` or `no end`."""
        if self._process is None:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.seconds, stop)
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line:
            return dict(json.loads(line))
        self._process = None
        said = process.communicate()[1].strip().splitlines()[-1:]
        if late.is_set():
            return {"kind": "no end", "message": f"not done after {self.seconds:g} seconds"}
        return {"kind": "crash", "message": " ".join([f"the process ended with status {process.returncode}", *said])}

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


@dataclass(frozen=True)
class Failure:
    """A job that failed, with the case it came down to and the file that this is in."""

    job: Job
    finding: Finding
    case: Case | None
    path: Path | None

    def __str__(self) -> str:
        lines = [f"{self.job.check}, target {self.job.target}, seed {self.job.seed}: {self.finding}"]
        if self.path is not None and self.case is not None:
            lines += [self.case.text.rstrip(), f"replay: {sys.executable} -m convc.testing.fuzz {self.path}"]
        else:
            lines.append(
                f"replay: {sys.executable} -m convc.testing.fuzz --check {self.job.check} --target {self.job.target}"
                f" --seed {self.job.seed} --graphs 1"
            )
        return "\n".join(lines)


@dataclass
class Summary:
    """What ran."""

    graphs: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    nodes: int = 0
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        by_check = "; ".join(f"{n} {name}" for name, n in sorted(self.graphs.items()))
        by_operator = ", ".join(f"{name} {n}" for name, n in sorted(self.operators.items()))
        return (
            f"{sum(self.graphs.values())} graphs ({by_check}), {self.nodes} nodes, {len(self.failures)} failed\n"
            f"operators: {by_operator}"
        )


def run_jobs(
    jobs: Iterable[Job],
    folder: Path,
    workers: int = 1,
    until: Callable[[Failure], bool] = lambda failure: False,
    shrinking: bool = True,
    said: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Checks every job's case, on so many processes; failures are made small and written to `folder`.

    Ends early with a failure that is one to wait `until`. `said` is told of each as it comes.
    """
    summary = Summary()
    free: Queue[Worker] = Queue()
    for _ in range(workers):
        free.put(Worker())
    lock = threading.Lock()

    def one(job: Job) -> None:
        if any(map(until, summary.failures)):
            return
        worker = free.get()
        try:
            found = worker.ask({"check": job.check, "target": job.target, "seed": job.seed})
            failure = None
            if found["kind"] is not None:
                finding = Finding(found["kind"], found["message"])
                failure = _small(job, finding, worker, folder) if shrinking else Failure(job, finding, None, None)
        finally:
            free.put(worker)
        with lock:
            summary.graphs[f"{job.check}, {job.target}"] += 1
            summary.operators.update(found.get("operators", {}))
            summary.nodes += found.get("nodes", 0)
            if failure is not None:
                summary.failures.append(failure)
                said(str(failure))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, jobs))
    while not free.empty():
        free.get().close()
    return summary


def _small(job: Job, finding: Finding, worker: Worker, folder: Path) -> Failure:
    """The failure with its case made small. An invalid graph is replayed by its seed."""
    if job.check == "invalid":
        return Failure(job, finding, None, None)

    last = finding

    def fails(case: Case) -> bool:
        nonlocal last
        answer = worker.ask({"check": job.check, "case": case.text})
        found = Finding(str(answer["kind"]), answer["message"])
        same = found.signature == finding.signature
        last = found if same else last
        return same

    try:
        case = shrink(draw_case(job), fails)
    except ConvcError as error:
        return Failure(job, Finding(finding.kind, f"{finding.message} ({error})"), None, None)
    path = write_atomically(folder / f"{job.check}-{job.target}-{job.seed}.conv", f"{case.text}// {_comment(last)}\n")
    return Failure(job, last, case, path)


def _comment(finding: Finding) -> str:
    return str(finding).replace("\n", " ")
