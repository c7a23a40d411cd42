"""Runs trained by worker processes and by Dask's workers: the same bytes, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import distributed
import pytest

from convc.data import Dataset
from convc.errors import RunError
from convc.nn import Module
from convc.study import Dask, Processes, StudyPlan, StudyWatch, engine, run_study, workers

PLAN = StudyPlan("tiny", "bands", rates=(1e30, 0.1, 0.02), seeds=(7, 8), epochs=3, batch=16, target="cpu")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.report.study_report.write_report", lambda *_: None)
    monkeypatch.setattr(engine, "SLICE_SECONDS", 0.0)


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.suffix in (".csv", ".json", ".safetensors"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.name not in ("timing.csv", "clock.json")}


@pytest.fixture
def alone(model: Module, bands: Dataset, tmp_path: Path) -> dict[str, bytes]:
    """What this process leaves, training one run after the other."""
    run_study(PLAN, model, bands, tmp_path / "alone")
    return contents(tmp_path / "alone")


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


class Killer(StudyWatch):
    """Kills one of the processes `pids` after the second epoch; without any, presses Ctrl-C."""

    def __init__(self, pids: Any = None) -> None:
        self.pids, self.epochs = pids, 0

    def epoch(self, *_: object) -> None:
        self.epochs += 1
        if self.epochs == 2 and self.pids is None:
            raise KeyboardInterrupt
        if self.epochs == 2:
            os.kill(self.pids()[0], signal.SIGKILL)


def test_processes_leave_the_same_bytes_and_are_gone(
    model: Module, bands: Dataset, alone: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Interrupted, then with a worker killed, then to the end."""
    out, before = tmp_path / "out", set(children())
    with pytest.raises(KeyboardInterrupt):
        run_study(PLAN, model, bands, out, Killer(), Processes(2))
    assert not set(workers_of(before)), "Ctrl-C ends them"
    with pytest.raises(RunError, match=r"a worker is gone .*out keeps the finished epochs: run the same command again"):
        run_study(PLAN, model, bands, out, Killer(lambda: workers_of(before)), Processes(2))
    watch = Killer(lambda: [])
    watch.epochs = 2
    result = run_study(PLAN, model, bands, out, watch, Processes(2))
    assert 2 < watch.epochs < 2 + 14, "what was trained is not trained again"
    assert contents(out) == alone
    assert result.facts.workers == "2 processes, one thread each"
    assert not set(workers_of(before))
    assert capfd.readouterr() == ("", ""), "workers print nothing"


def workers_of(before: set[int]) -> list[int]:
    """The worker processes that there are; multiprocessing's tracker of resources stays."""
    found = []
    for pid in set(children()) - before:
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in text:
            found.append(pid)
    return found


STUDY = """
import sys
from convc.study import Processes, StudyPlan, StudyWatch, run_study
from convc.data import load
from convc import nn

class Says(StudyWatch):
    def epoch(self, run, timing):
        print(run, flush=True)

if __name__ == "__main__":
    plan = StudyPlan("tiny", "made up", rates=(0.1,), seeds=(0, 1), epochs=10**6, target="cpu")
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    run_study(plan, module, load("synthetic:1x4x4:2:60"), sys.argv[1], Says(), Processes(2))
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(STUDY)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", tmp_path / "out"], stdout=subprocess.PIPE, env={**os.environ}
    )
    assert parent.stdout is not None
    assert parent.stdout.readline()
    text = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
    found = [int(pid) for pid in text.split()]
    assert len(found) >= 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(map(alive, found)):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_what_a_worker_cannot_load_is_raised_by_its_first_slice(threads: Callable[[int], None]) -> None:
    threads(1)
    workers.hold("broken", b"no pickle", 1)
    try:
        with pytest.raises(Exception, match="invalid load key"):
            workers.train_held("broken", None)  # type: ignore[arg-type]
    finally:
        workers.release("broken")


# Dask


def test_a_missing_dask_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RunError, match=r"^--workers needs Dask; pip install 'convc\[dask\]', or leave --workers out$"):
        Dask("tcp://127.0.0.1:8786")


def test_an_address_where_nobody_answers_is_one_line(
    model: Module, bands: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(RunError, match=r"^--workers is the address of a Dask scheduler, and none [^\n]*$"):
            run_study(PLAN, model, bands, tmp_path, None, Dask(address))


@pytest.mark.slow
def test_a_worker_of_dask_is_killed_and_the_bytes_are_the_same(
    model: Module, bands: Dataset, alone: dict[str, bytes], tmp_path: Path
) -> None:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        crew = Dask(cluster.scheduler_address)
        watch = Killer(lambda: [nanny.pid for nanny in cluster.workers.values()])
        result = run_study(PLAN, model, bands, tmp_path / "out", watch, crew)
        assert contents(tmp_path / "out") == alone
        assert result.facts.workers == f"2 workers of Dask at {cluster.scheduler_address}"
        more = replace(PLAN, seeds=(7, 8, 9))
        run_study(more, model, bands, tmp_path / "out", None, crew)
    run_study(more, model, bands, tmp_path / "alone")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
