"""Files of a run that were damaged or are another's are never trusted, and two runs never share a folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from convc import nn
from convc.data import Dataset
from convc.errors import DataError
from convc.folder_lock import folder_lock
from convc.optim import SGD
from convc.study import StudyPlan, run_study
from convc.training_run import TrainPlan, run_training

PLAN = StudyPlan("tiny", "bands", rates=(0.1, 0.02), seeds=(7,), epochs=2, batch=16)
TRAIN = TrainPlan("tiny", "bands", SGD(lr=0.05, momentum=0.9), epochs=2, batch=16, seed=3)
WEIGHTS = "weights/lr_0.1_seed_7_last.safetensors"
BEST = "weights/lr_0.1_seed_7_best.safetensors"
CHECKPOINT = "checkpoint/lr_0.02_seed_7.safetensors"


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.report.study_report.write_report", lambda *_: None)


def study(model: nn.Module, bands: Dataset, out: Path) -> dict[str, bytes]:
    run_study(PLAN, model, bands, out)
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    weights = (str(path.relative_to(out)) for path in sorted((out / "weights").iterdir()))
    return {name: (out / name).read_bytes() for name in ("study.json", "history.csv", *weights)}


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "garbage": lambda data: b"garbage" * 50,
    "a bit of a number flipped": lambda data: flipped(data, len(data) - 40),
    "a bit of the header flipped": lambda data: flipped(data, 30),
    "longer": lambda data: data + b"\0",
}


# Another end of the last line is no damage to a text.
BINARY = [(name, damage) for name in (WEIGHTS, BEST, CHECKPOINT) for damage in DAMAGES]
TEXT = [(name, d) for name in ("study.json", "history.csv") for d in DAMAGES if d not in ("a byte short", "longer")]


@pytest.mark.parametrize(("name", "damage"), BINARY + TEXT)
def test_a_damaged_file_stops_the_study_and_deleting_it_mends_all(
    model: nn.Module, bands: Dataset, tmp_path: Path, name: str, damage: str
) -> None:
    before = study(model, bands, tmp_path)
    if name == CHECKPOINT:  # which is read where a rate is not at its end
        (tmp_path / "weights" / "lr_0.02_seed_7_last.safetensors").unlink()
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(DAMAGES[damage](whole))
    kept = contents_but(tmp_path)
    with pytest.raises(DataError) as error:
        run_study(PLAN, model, bands, tmp_path)
    line = str(error.value)
    assert "\n" not in line
    assert str(tmp_path / name) in line
    assert "delete" in line
    assert contents_but(tmp_path) == kept, "nothing is changed"
    (tmp_path / name).unlink()
    if name == "study.json":
        (tmp_path / "history.csv").unlink()
    assert study(model, bands, tmp_path) == before


def contents_but(out: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_every_flipped_bit_of_weights_is_seen(model: nn.Module, bands: Dataset, tmp_path: Path) -> None:
    study(model, bands, tmp_path)
    path = tmp_path / WEIGHTS
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(flipped(whole, at, at % 8))
        with pytest.raises(DataError, match=Path(WEIGHTS).name):
            model.store.load(path)


def test_the_digest_is_that_of_the_file_with_zeros_for_it(model: nn.Module, bands: Dataset, tmp_path: Path) -> None:
    study(model, bands, tmp_path)
    for name in (WEIGHTS, CHECKPOINT):
        with safe_open(tmp_path / name, "numpy") as file:
            digest = json.loads(file.metadata()["convc"])["sha256"]
        data = (tmp_path / name).read_bytes()
        assert data.count(digest.encode()) == 1
        assert hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_weights_of_other_tools_have_no_digest_and_load(model: nn.Module, bands: Dataset, tmp_path: Path) -> None:
    study(model, bands, tmp_path)
    arrays = load_file(tmp_path / WEIGHTS)
    save_file(arrays, tmp_path / "plain.safetensors")
    model.reset(0)
    model.store.load(tmp_path / "plain.safetensors")
    for name, array in arrays.items():
        assert np.array_equal(model.store[name], array)


@pytest.mark.parametrize("name", [WEIGHTS, BEST, CHECKPOINT])
def test_files_of_a_study_with_other_settings_are_not_taken_for_its_own(
    model: nn.Module, bands: Dataset, tmp_path: Path, name: str
) -> None:
    """They stay behind where somebody deletes the history of one study and begins another one."""
    before = study(model, bands, tmp_path / "right")
    run_study(replace(PLAN, batch=8), model, bands, tmp_path / "other")
    for stale in (name, "weights/lr_0.02_seed_7_last.safetensors"):
        (tmp_path / "right" / stale).write_bytes((tmp_path / "other" / stale).read_bytes())
    assert study(model, bands, tmp_path / "right") == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_of_a_training_run_is_one_line(
    model: nn.Module, bands: Dataset, tmp_path: Path, damage: str
) -> None:
    run_training(TRAIN, model, bands, tmp_path, resume=False)
    before = {n: (tmp_path / n).read_bytes() for n in ("history.csv", "weights.safetensors")}
    path = tmp_path / "checkpoint" / "train.safetensors"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(DataError, match=r"^[^\n]*train.safetensors is damaged[^\n]*; delete it") as error:
        run_training(TRAIN, model, bands, tmp_path, resume=True)
    assert "\n" not in str(error.value)
    path.unlink()
    run_training(TRAIN, model, bands, tmp_path, resume=True)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


# The lock

HOLD = """
import sys, time
from pathlib import Path
from convc.folder_lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_told_who_writes_and_a_dead_one_holds_nothing(
    model: nn.Module, bands: Dataset, tmp_path: Path
) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for attempt in (
            lambda: run_study(PLAN, model, bands, tmp_path),
            lambda: run_training(TRAIN, model, bands, tmp_path, resume=False),
        ):
            with pytest.raises(DataError) as error:
                attempt()
            when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"
            assert re.fullmatch(
                rf"another run writes into {tmp_path}: process {holder.pid} on \S+ since {when}, -c {tmp_path}; "
                r"wait until it ends, or choose another --out",
                str(error.value),
            )
        assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()  # type: ignore[union-attr]
    (tmp_path / "weights").mkdir()
    for name in (".history.csv.xyz.partial", "weights/.lr_0.1_seed_7_best.safetensors.xyz.partial"):
        (tmp_path / name).write_text("half")
    study(model, bands, tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == [
        "clock.json",
        "lock",
        "lr_0.02_seed_7.safetensors",
        "lr_0.1_seed_7.safetensors",
    ]
    assert not list(tmp_path.rglob(".*"))


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
        _ = 1 // 0
    busy = pytest.raises(DataError, match=f"another run .*process {os.getpid()} on")
    with folder_lock(tmp_path), busy, folder_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(DataError, match=r"cannot write .*file/out: Not a directory; choose another --out")
    with refused, folder_lock(tmp_path / "file" / "out"):
        pass
