"""A whole study: its files, its bytes, and going on after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import convc.study
from convc import nn
from convc.cli import main
from convc.cli.study import spread
from convc.data import Dataset
from convc.errors import DataError, RunError
from convc.nn import Module
from convc.report.history import RunHistory, read_history, read_timing
from convc.report.study_report import StudyFacts
from convc.study import RATES, StudyPlan, run_study

PLAN = StudyPlan("tiny", "bands", rates=(1e30, 0.1, 0.02), epochs=3, batch=16, seed=7)
EPOCHS = 1 + 3 + 3  # the first rate ends in its first epoch
Reports = list[tuple[tuple[RunHistory, ...], StudyFacts]]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Reports:
    """What would have been reported, without drawing the figures."""
    written: Reports = []
    monkeypatch.setattr(convc.study, "write_report", lambda out, runs, facts: written.append((runs, facts)))
    return written


@pytest.fixture(scope="module")
def unbroken(bands: Dataset, shared_model: Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nothing interrupted, its report drawn."""
    out = tmp_path_factory.mktemp("unbroken")
    run_study(PLAN, shared_model, bands, out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """All that must not differ between two studies with the same settings: no clock, and no report that tells it."""
    kinds = (".csv", ".json", ".safetensors")
    files = (p for p in folder.rglob("*") if p.suffix in kinds and p.name != "timing.csv")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def epochs_timed(folder: Path) -> list[tuple[float, int]]:
    return [(row.lr, row.epoch) for row in read_timing(folder / "timing.csv")]


def test_a_study_leaves_history_times_weights_and_a_report(unbroken: Path) -> None:
    names = {p.name for p in unbroken.iterdir()}
    assert names >= {"history.csv", "timing.csv", "study.json", "report.md", "report.html", "overview.png"}
    assert names >= {f"weights_lr_{lr}.safetensors" for lr in ("1e+30", "0.1", "0.02")}
    assert not [name for name in names if name.startswith(".")], "temporary files"

    exploded, fast, slow = read_history(unbroken / "history.csv")
    assert exploded.ended_early
    record = exploded.epochs[0]
    assert all(map(math.isnan, (record.train_loss, record.validation_loss, record.test_accuracy)))
    assert (len(exploded.epochs), len(fast.epochs), len(slow.epochs)) == (1, 3, 3)
    assert fast.epochs[-1].train_loss < fast.epochs[0].train_loss
    assert fast.epochs[-1].test_accuracy > 0.9
    seven = [(1e30, 1), *((lr, epoch) for lr in (0.1, 0.02) for epoch in (1, 2, 3))]
    assert epochs_timed(unbroken) == seven


def test_every_rate_begins_anew_and_nothing_compiles_twice(
    model: nn.Sequential, bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    watch = interrupter()
    run_study(replace(PLAN, rates=(0.02, 0.1)), model, bands, tmp_path, watch)
    assert watch.told.count("compiling") == 1
    assert watch.told.count("begin") == watch.told.count("end") == 2
    for name in ("weights_lr_0.02.safetensors", "weights_lr_0.1.safetensors"):
        assert (tmp_path / name).read_bytes() == (unbroken / name).read_bytes(), name


@pytest.mark.parametrize("count", [1, 2])
def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(
    count: int,
    tiny: Callable[[], Module],
    bands: Dataset,
    unbroken: Path,
    tmp_path: Path,
    reports: Reports,
    threads: Callable[[int], None],
) -> None:
    threads(count)
    run_study(PLAN, tiny(), bands, tmp_path)
    assert contents(tmp_path) == contents(unbroken)


# Interrupting and going on

POINTS = [
    ("compiling", 1),
    ("begin", 1),
    ("begin", 2),
    ("batch", 2),
    ("batch", 9),
    ("batch", 14),
    ("end", 1),
    ("end", 2),
    ("end", 3),
]


@pytest.mark.parametrize(("kind", "at"), POINTS)
def test_a_resumed_study_ends_in_the_same_bytes(
    kind: str,
    at: int,
    model: Module,
    bands: Dataset,
    unbroken: Path,
    tmp_path: Path,
    reports: Reports,
    interrupter: type,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(PLAN, model, bands, tmp_path, interrupter(kind, at))
    trained = (tmp_path / "history.csv").exists()
    assert len(reports) == trained, "there is a report of what is there, and none of nothing"
    assert trained == ((kind, at) not in (("compiling", 1), ("begin", 1)))
    again = interrupter()
    run_study(PLAN, model, bands, tmp_path, again)
    assert contents(tmp_path) == contents(unbroken)
    assert str(reports[-1][0]) == str(read_history(unbroken / "history.csv"))  # nan is not equal to itself
    assert epochs_timed(tmp_path) == epochs_timed(unbroken)
    if kind == "epoch":
        assert again.told.count("epoch") == EPOCHS - at, "finished epochs are not trained again"


@pytest.mark.parametrize("name", ["write_timing", "save_checkpoint"])
@pytest.mark.parametrize("at", [1, 2, 4, EPOCHS])
def test_an_interruption_between_two_files_is_mended(
    name: str,
    at: int,
    model: Module,
    bands: Dataset,
    unbroken: Path,
    tmp_path: Path,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    write = getattr(convc.study, name)

    def interrupted(*args: Any) -> None:
        calls.append(args)
        if len(calls) == at:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(convc.study, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(PLAN, model, bands, tmp_path)
    run_study(PLAN, model, bands, tmp_path)
    assert contents(tmp_path) == contents(unbroken)
    assert epochs_timed(tmp_path) == epochs_timed(unbroken)


def test_three_interruptions_in_a_row(
    model: Module, bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    for at in (3, 4, 3):
        with pytest.raises(KeyboardInterrupt):
            run_study(PLAN, model, bands, tmp_path, interrupter("batch", at))
    run_study(PLAN, model, bands, tmp_path)
    assert contents(tmp_path) == contents(unbroken)


def test_a_finished_study_is_only_reported_again(
    model: Module, bands: Dataset, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    first = run_study(PLAN, model, bands, tmp_path)
    before = contents(tmp_path)
    watch = interrupter()
    again = run_study(PLAN, model, bands, tmp_path, watch)
    assert watch.told == []
    assert contents(tmp_path) == before
    assert str(again) == str(first)
    assert reports[1][1].compile_seconds is None


def test_lost_files_cost_their_rate_alone(
    model: Module, bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    run_study(PLAN, model, bands, tmp_path)
    (tmp_path / "weights_lr_0.1.safetensors").unlink()
    watch = interrupter()
    run_study(PLAN, model, bands, tmp_path, watch)
    assert watch.told.count("epoch") == 3
    assert {k: v for k, v in contents(tmp_path).items() if "checkpoint" not in k} == {
        k: v for k, v in contents(unbroken).items() if "checkpoint" not in k
    }
    (tmp_path / "history.csv").unlink()
    run_study(PLAN, model, bands, tmp_path)
    assert contents(tmp_path) == contents(unbroken)


def test_a_checkpoint_without_its_history_is_not_trusted(
    model: Module, bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    plan = replace(PLAN, rates=(0.1,))
    with pytest.raises(KeyboardInterrupt):
        run_study(plan, model, bands, tmp_path, interrupter("epoch", 2))
    (tmp_path / "history.csv").unlink()
    run_study(plan, model, bands, tmp_path)
    (run,) = read_history(tmp_path / "history.csv")
    assert run == read_history(unbroken / "history.csv")[1]


# Refusals


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"rates": (0.1, 0.02)}, r"rates 1e\+30 0.1 0.02, not 0.1 0.02"),
        ({"epochs": 4}, "epochs 3, not 4"),
        ({"batch": 8}, "batch 16, not 8"),
        ({"momentum": 0.5}, "momentum 0.9, not 0.5"),
        ({"seed": 8}, "seed 7, not 8"),
        ({"model": "other"}, "model tiny, not other"),
        ({"data": "other"}, "data bands, not other"),
    ],
)
def test_other_settings_are_refused(
    changed: dict[str, Any], line: str, model: Module, bands: Dataset, unbroken: Path
) -> None:
    before = contents(unbroken)
    with pytest.raises(DataError, match=f"made with {line}; choose another --out or delete it$"):
        run_study(replace(PLAN, **changed), model, bands, unbroken)
    assert contents(unbroken) == before


def test_settings_that_trained_nothing_bind_nobody(
    model: Module, tiny: Callable[[int], Module], bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports
) -> None:
    with pytest.raises(DataError, match="has 2 and bands has 3; choose another model"):
        run_study(PLAN, tiny(2), bands, tmp_path)
    run_study(PLAN, model, bands, tmp_path)
    assert contents(tmp_path) == contents(unbroken)


def test_what_a_name_stands_for_must_not_have_changed(model: Module, bands: Dataset, unbroken: Path) -> None:
    with pytest.raises(DataError, match=r"made with model contents [0-9a-f]{16}, not [0-9a-f]{16}; choose"):
        run_study(PLAN, nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), bands, unbroken)
    with pytest.raises(DataError, match=r"made with data contents [0-9a-f]{16}, not [0-9a-f]{16}; choose"):
        run_study(PLAN, model, replace(bands, test=bands.validation), unbroken)


def test_files_that_are_not_a_studys_are_refused(
    model: Module, bands: Dataset, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    (tmp_path / "history.csv").write_text("mine\n")
    with pytest.raises(DataError, match="holds the history of something else; choose another --out or delete it"):
        run_study(PLAN, model, bands, tmp_path)
    assert (tmp_path / "history.csv").read_text() == "mine\n"

    out = tmp_path / "study"
    with pytest.raises(KeyboardInterrupt):
        run_study(PLAN, model, bands, out, interrupter("epoch", 3))
    for name, line in (
        ("checkpoint/study.safetensors", "study.safetensors is damaged, or not written by .* delete it"),
        ("timing.csv", "timing.csv, line 1: the header must be .* delete .*timing.csv"),
        ("history.csv", "line 1: the header must be"),
        ("study.json", "study.json holds no settings; choose another --out or delete"),
    ):
        (out / name).write_text("learning_rate,epoch\n0.1\n")
        with pytest.raises(DataError, match=line):
            run_study(PLAN, model, bands, out)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"rates": ()}, "a study needs learning rates that differ"),
        ({"rates": (0.1, 0.1)}, "a study needs learning rates that differ, not 0.1 0.1"),
        ({"rates": (0.1, -0.1)}, "a learning rate is a positive number, not -0.1"),
        ({"epochs": 0}, "epochs is a whole number of at least 1, not 0"),
        ({"batch": 0}, "batch is a whole number of at least 1, not 0"),
        ({"momentum": 1.0}, "momentum is a number with 0 <= number < 1, not 1.0"),
        ({"momentum": math.nan}, "momentum is a number with 0 <= number < 1, not nan"),
    ],
)
def test_numbers_out_of_range_are_refused(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(RunError, match=line):
        replace(PLAN, **changed)


# The command


@pytest.mark.parametrize(
    ("args", "spread_out"),
    [
        ("--lr 1.0 0.1 1e-2", "--lr 1.0 --lr 0.1 --lr 1e-2"),
        ("lenet5 --lr 1.0 0.1", "lenet5 --lr 1.0 --lr 0.1"),
        ("--lr 1.0 0.1 lenet5", "--lr 1.0 --lr 0.1 lenet5"),
        ("--lr 1.0 --lr 0.1 0.01 --epochs 3", "--lr 1.0 --lr 0.1 --lr 0.01 --epochs 3"),
        ("--lr=1.0 0.1 --epochs 3 x", "--lr=1.0 --lr 0.1 --epochs 3 x"),
        ("--lr 0.1 lenet5 0.2", "--lr 0.1 lenet5 0.2"),
        ("--epochs 3 7 --lr x 0.1", "--epochs 3 7 --lr x --lr 0.1"),
        ("--lr 0.1 -- 0.2", "--lr 0.1 -- 0.2"),
        ("--lr", "--lr"),
    ],
)
def test_several_rates_after_one_flag(args: str, spread_out: str) -> None:
    assert spread(args.split(), "--lr") == spread_out.split()


def study(*args: str) -> Result:
    return CliRunner().invoke(main, ["study", *args])


def test_the_defaults_are_the_study_of_the_handbook(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[StudyPlan] = []

    def stop(plan: StudyPlan, *_: object) -> None:
        plans.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("convc.cli.study.run_study", stop)
    assert study().exit_code == 130
    assert study("--lr", "0.1", "0.01", "lenet5", "--epochs", "2", "--seed", "3").exit_code == 130
    assert plans == [
        StudyPlan("lenet5", "mnist5k", (1.0, 0.1, 0.01, 0.005, 0.001), 30, 128, 0.9, 0, "auto"),
        StudyPlan("lenet5", "mnist5k", (0.1, 0.01), 2, 128, 0.9, 3, "auto"),
    ]
    assert plans[0].rates == RATES


def test_the_command_from_interruption_to_report(
    files: Path, monkeypatch: pytest.MonkeyPatch, interrupter: type
) -> None:
    args = ("model.py:tiny", "--data", "bands.npz", "--lr", "0.1", "0.02", "--epochs", "2", "--batch", "16")
    watch = interrupter("epoch", 3)
    with monkeypatch.context() as patch:
        patch.setattr("convc.cli.study.Display.epoch", watch.epoch)
        interrupted = study(*args, "--out", "out")
    assert interrupted.exit_code == 130
    assert interrupted.stderr == (
        "convc: interrupted; out keeps the finished epochs: run the same command again to resume\n"
    )
    assert "Learning rate 0.02 stopped after 1 of 2 epochs." in Path("out/report.md").read_text()

    resumed = study(*args, "--out", "out")
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stderr == ""
    lines = [line for line in resumed.stdout.splitlines() if line.startswith("lr ")]
    assert len(lines) == 2
    assert lines[0] == "lr 0.02 goes on after epoch 1"
    assert lines[1].startswith("lr 0.02   epoch 2/2  loss ")
    assert "report: out/report.html" in resumed.stdout
    assert "│ 0.1" in resumed.stdout
    assert "stopped after" not in Path("out/report.md").read_text()

    refused = study(*args, "--seed", "1", "--out", "out")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "convc: error: a run goes on with the settings it began with, but out was made with seed 0, not 1; "
        "choose another --out or delete it\n"
    )
