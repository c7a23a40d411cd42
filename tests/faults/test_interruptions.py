"""Runs that are killed at any instant, or whose writes fail, go on to the same bytes as unbroken ones."""

from __future__ import annotations

import errno
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from convc.report.history import read_timing
from tests.faults.conftest import Commands
from tests.faults.damage import damaged

STUDY = (
    "study",
    "model.py:tiny",
    "--data",
    "bands.npz",
    "--lr",
    "0.1",
    "0.02",
    "--seeds",
    "1",
    "--epochs",
    "2",
    "--batch",
    "16",
)
TRAIN = ("train", "model.py:tiny", "--data", "bands.npz", "--epochs", "3", "--batch", "16")
COMMANDS = {"study": STUDY, "train": TRAIN}
ERRORS = (errno.ENOSPC, errno.EIO)
HARMLESS = re.compile("remove .*|mkdir .*|open checkpoint")
"""What is there already is not made; leftovers that stay are removed the next time; and the library for locks asks
first whether the folder takes files without a name, and can do without."""


class Runs:
    """One of the two commands, run into a folder as often as a test asks, and what it leaves when nothing happens."""

    def __init__(self, commands: Commands, name: str) -> None:
        self.commands, self.name = commands, name
        self.out = commands.folder / f"{name}-run"
        self.go()  # compiles what is not in the cache yet
        shutil.rmtree(self.out)
        unbroken = self.go()
        self.operations: list[str] = unbroken["operations"]
        self.seconds: float = unbroken["seconds"]
        self.expected = self.contents()
        shutil.rmtree(self.out)

    def go(self, **fault: Any) -> dict[str, Any]:
        resume = ("--resume",) if self.name == "train" and (self.out / "train.json").exists() else ()
        arguments = (*COMMANDS[self.name], "--out", self.out.name, *resume)
        return self.commands.run(*arguments, sketch=True, watch=self.out.name, **fault)

    def contents(self) -> dict[str, Any]:
        """All that is left: bytes, but for the clock's."""
        found: dict[str, Any] = {}
        for path in self.out.rglob("*"):
            name = str(path.relative_to(self.out))
            if name == "timing.csv":
                found[name] = [(row.run, row.epoch) for row in read_timing(path)]
            elif name == "report.md":
                found[name] = re.sub(r"\n- Time: .*", "", path.read_text())
            elif path.is_file() and name not in ("report.html", "checkpoint/lock", "checkpoint/clock.json"):
                found[name] = path.read_bytes()
        return found

    def check_resumed(self) -> None:
        """The run goes on and ends as an unbroken one."""
        done = self.go()
        assert done["code"] == 0, done["err"]
        assert self.contents() == self.expected
        shutil.rmtree(self.out)


@pytest.fixture(scope="module", params=COMMANDS)
def runs(request: pytest.FixtureRequest, commands: Commands) -> Runs:
    return Runs(commands, request.param)


def killed_at_instants(runs: Runs, count: int, seed: int) -> int:
    """Kills at random instants, each of a run that goes on afterwards; returns how many found it still running."""
    instants = random.Random(seed)
    killed = 0
    for _ in range(count):
        killed += runs.go(kill_after=instants.random() * runs.seconds)["code"] == -9
        runs.check_resumed()
    return killed


def check_failure(runs: Runs, at: int) -> None:
    """The operation of that number fails: one line or no harm, nothing half-written, and the next run goes on."""
    operation = runs.operations[at]
    done = runs.go(fail_at=at, error=ERRORS[at % 2])
    if done["code"] == 0:
        assert HARMLESS.fullmatch(operation), operation
    else:
        assert done["code"] == 1, (operation, done["err"])
        assert re.fullmatch(r"convc: error: [^\n]+\n", done["err"]), (operation, done["err"])
        assert "Traceback" not in done["out"] + done["err"]
    left = [path for path in runs.out.rglob("*") if path.name.endswith(".partial")] if runs.out.exists() else []
    assert not left, operation
    runs.check_resumed()


def test_a_few_kills_and_failures(runs: Runs) -> None:
    check_operations(runs)
    killed_at_instants(runs, 1, seed=1)
    assert runs.go(kill_at=len(runs.operations) // 3)["code"] == -9
    runs.check_resumed()
    for kind in ("write", "fsync", "rename"):
        at = [i for i, operation in enumerate(runs.operations) if operation.startswith(kind)]
        check_failure(runs, at[len(at) // 2])
    check_damages(runs, 3, seed=3)


def check_damages(runs: Runs, count: int, seed: int) -> int:
    """A finished run whose files are damaged goes on right, or is refused in one line; returns how often the latter."""
    assert runs.go()["code"] == 0
    kept = runs.out.with_name(f"{runs.out.name}-kept")
    shutil.copytree(runs.out, kept)
    generator = random.Random(seed)
    names = [name for name in runs.expected if name.endswith((".csv", ".json", ".safetensors"))]
    refused = 0
    for _ in range(count):
        path = runs.out / generator.choice(names)
        path.write_bytes(damaged(path.read_bytes(), generator))
        done = runs.go()
        if done["code"] == 0:
            # Whole rows that are gone are trained again, as is the rate that they belong to; only times are lost.
            own = ("timing.csv",)
            left = runs.contents()
            assert all(left[name] == runs.expected[name] for name in runs.expected if name not in own), path
        else:
            refused += 1
            assert done["code"] == 1, (path, done["err"])
            assert re.fullmatch(r"convc: error: [^\n]*(delete|choose another --out)[^\n]*\n", done["err"]), done["err"]
        shutil.rmtree(runs.out)
        shutil.copytree(kept, runs.out)
    shutil.rmtree(runs.out)
    shutil.rmtree(kept)
    return refused


def check_operations(runs: Runs) -> None:
    kinds = {operation.split()[0] for operation in runs.operations}
    assert kinds >= {"open", "write", "fsync", "chmod", "rename", "mkdir"}
    for file in ("history.csv", "study.json" if runs.name == "study" else "train.json"):
        assert any(re.fullmatch(rf"rename \.{file}\.\w+\.partial", operation) for operation in runs.operations)
    # Each rename comes after its file is on the disk, and its folder follows.
    for i, operation in enumerate(runs.operations):
        if operation.startswith("rename"):
            name = operation.removeprefix("rename ")
            assert runs.operations[i - 1] == f"fsync {name}"
            assert runs.operations[i + 1] == f"fsync {Path(name).parent}"


@pytest.mark.slow
def test_fifty_kills_at_random_instants(runs: Runs) -> None:
    killed = killed_at_instants(runs, 50, seed=50)
    print(f"{runs.name}: 50 kills, {killed} of a run that had not ended")
    assert killed >= 40


@pytest.mark.slow
def test_a_kill_before_each_file_operation(runs: Runs) -> None:
    for at, operation in enumerate(runs.operations):
        assert runs.go(kill_at=at)["code"] == -9, operation
        runs.check_resumed()
    print(f"{runs.name}: killed before each of {len(runs.operations)} file operations")


@pytest.mark.slow
def test_each_file_operation_fails_in_turn(runs: Runs) -> None:
    for at in range(len(runs.operations)):
        check_failure(runs, at)
    print(f"{runs.name}: each of {len(runs.operations)} file operations failed once")


@pytest.mark.slow
def test_kills_of_a_run_that_goes_on_again_and_again(runs: Runs) -> None:
    """Ten times five kills without a clean run between them."""
    instants = random.Random(5)
    for _ in range(10):
        for _ in range(5):
            runs.go(kill_after=instants.random() * runs.seconds)
        runs.check_resumed()


@pytest.mark.slow
def test_damaged_files_of_a_run(runs: Runs) -> None:
    refused = check_damages(runs, 200, seed=200)
    print(f"{runs.name}: 200 damaged files of a finished run, {refused} refused in one line")
    assert refused >= 100
