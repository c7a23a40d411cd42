"""A whole study: its files, its bytes, and going on after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import convc
from convc import nn
from convc.cli import main
from convc.cli.study import spread
from convc.data import Dataset, epoch_order
from convc.errors import DataError, RunError
from convc.nn import Module
from convc.optim import SGD
from convc.report.facts import StudyFacts
from convc.report.history import read_history, read_timing
from convc.report.summary import Recommendation, Summary
from convc.study import RATES, StudyPlan, engine, folder, run_study
from convc.study.folder import read_study
from convc.train import Trainer, evaluate

PLAN = StudyPlan("tiny", "bands", rates=(1e30, 0.1, 0.02), seeds=(7, 8), epochs=3, batch=16)
EPOCHS = 2 * (1 + 3 + 3)  # the first rate ends in its first epoch
RUNS = tuple(f"lr_{lr}_seed_{seed}" for lr in ("1e+30", "0.1", "0.02") for seed in (7, 8))
Reports = list[tuple[tuple[Summary, ...], Recommendation, StudyFacts]]


@pytest.fixture(autouse=True)
def slices_of_one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where slices end changes nothing: `unbroken` has others."""
    monkeypatch.setattr(engine, "SLICE_SECONDS", 0.0)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Reports:
    """What would have been reported, without drawing the figures."""
    written: Reports = []
    monkeypatch.setattr("convc.report.study_report.write_report", lambda out, *told: written.append(told))
    return written


@pytest.fixture(scope="module")
def unbroken(bands: Dataset, shared_model: Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nothing interrupted, its report drawn."""
    out = tmp_path_factory.mktemp("unbroken")
    run_study(PLAN, shared_model, bands, out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """All that must not differ between two studies with the same settings: no clock, and no report that tells it."""
    kinds, clocks = (".csv", ".json", ".safetensors"), ("timing.csv", "clock.json")
    files = (p for p in folder.rglob("*") if p.suffix in kinds and p.name not in clocks)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def epochs_timed(folder: Path) -> list[tuple[str, int]]:
    return [(row.run, row.epoch) for row in read_timing(folder / "timing.csv")]


def epochs_of(folder: Path) -> dict[str, int]:
    return {run.name: len(run.epochs) for run in read_study(folder).runs}


def test_a_study_leaves_history_times_weights_and_a_report(unbroken: Path) -> None:
    names = {p.name for p in unbroken.rglob("*")}
    assert names >= {"history.csv", "timing.csv", "study.json", "report.md", "report.html", "overview.png"}
    assert names >= {f"{run}_last.safetensors" for run in RUNS} | {f"{run}.safetensors" for run in RUNS}
    assert {n for n in names if n.endswith("_best.safetensors")} == {f"{r}_best.safetensors" for r in RUNS[2:]}
    assert not [name for name in names if name.startswith(".")], "temporary files"

    exploded, _, fast, _, slow, _ = runs = read_history(unbroken / "history.csv")
    assert [run.name for run in runs] == list(RUNS)
    assert exploded.ended_early
    record = exploded.epochs[0]
    assert all(map(math.isnan, (record.train_loss, record.validation_loss, record.test_accuracy)))
    assert (len(exploded.epochs), len(fast.epochs), len(slow.epochs)) == (1, 3, 3)
    assert fast.epochs[-1].train_loss < fast.epochs[0].train_loss
    assert fast.epochs[-1].test_accuracy > 0.9
    assert epochs_timed(unbroken) == [(run.name, record.epoch) for run in runs for record in run.epochs]


def test_best_and_last_weights_are_those_of_their_epochs(
    model: Module, bands: Dataset, unbroken: Path, compiled: dict[Any, Trainer], tmp_path: Path, reports: Reports
) -> None:
    run_study(PLAN, model, bands, tmp_path)
    (trainer,) = (t for key, t in compiled.items() if key == (id(model), 16, PLAN.compiled_optimizer()))
    data = bands.normalized()
    for run in read_history(unbroken / "history.csv")[2:]:
        losses = [record.validation_loss for record in run.epochs]
        for which, record in (("best", run.epochs[losses.index(min(losses))]), ("last", run.epochs[-1])):
            path = unbroken / "weights" / f"{run.name}_{which}.safetensors"
            model.store.load(path)
            assert evaluate(trainer.evaluation, data.validation).loss == record.validation_loss, path
            assert evaluate(trainer.evaluation, data.validation).accuracy == record.validation_accuracy
            assert evaluate(trainer.evaluation, data.test).accuracy == record.test_accuracy


def test_seeds_are_paired_and_a_run_does_not_depend_on_the_others(
    model: nn.Sequential, bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    watch = interrupter()
    run_study(replace(PLAN, rates=(0.02,), seeds=(8,)), model, bands, tmp_path, watch)
    assert watch.told.count("compiling") == watch.told.count("begin") == watch.told.count("end") == 1
    for name in ("weights/lr_0.02_seed_8_best.safetensors", "weights/lr_0.02_seed_8_last.safetensors"):
        assert (tmp_path / name).read_bytes() == (unbroken / name).read_bytes(), name
    (run,) = read_history(tmp_path / "history.csv")
    assert run == read_history(unbroken / "history.csv")[5]

    step, data = convc.compile(model, (16, 1, 6, 6), mode="train", optimizer=SGD(momentum=0.9)), bands.normalized()
    for lr in (0.1, 0.02):  # the same first weights and the same order
        model.reset(8)
        order = epoch_order(44, seed=8, epoch=1)
        losses = [
            step(data.train.images[i], data.train.labels[i], lr=lr) for i in (order[:16], order[16:32], order[32:])
        ]
        (wanted,) = (r for r in read_history(unbroken / "history.csv") if r.name == f"lr_{lr}_seed_8")
        assert wanted.epochs[0].train_loss == (16 * losses[0] + 16 * losses[1] + 12 * losses[2]) / 44


def test_everything_is_compiled_once(
    model: Module, bands: Dataset, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    watch = interrupter()
    run_study(replace(PLAN, momenta=(0.0, 0.9)), model, bands, tmp_path, watch)
    assert watch.told.count("compiling") == 1
    assert watch.told.count("begin") == watch.told.count("end") == 12
    assert watch.told.count("epoch") == 2 * EPOCHS


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
    ("epoch", 3),
    ("epoch", 8),
    ("end", 1),
    ("end", 2),
    ("end", 6),
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
    told = tuple(run for summary in reports[-1][0] for run in summary.runs)
    assert str(told) == str(read_history(unbroken / "history.csv"))
    assert epochs_timed(tmp_path) == epochs_timed(unbroken)
    if kind == "epoch":
        assert again.told.count("epoch") == EPOCHS - at, "finished epochs are not trained again"


def test_an_interrupted_study_recommends_nothing(
    model: Module, bands: Dataset, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    plan = replace(PLAN, rates=(0.1, 0.02), epochs=6)
    with pytest.raises(KeyboardInterrupt):
        run_study(plan, model, bands, tmp_path, interrupter("epoch", 20))
    ((summaries, recommendation, facts),) = reports
    assert recommendation.setting is None
    assert [len(run.epochs) for summary in summaries for run in summary.runs] == [6, 6, 6, 2]
    assert facts.settings == plan.settings
    assert run_study(plan, model, bands, tmp_path).recommendation.setting is not None


FILES = ["write_timing", "write_history", "write_best", "write_checkpoint", "write_last"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [1, 2, 4, 12])
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
    place = folder if hasattr(folder, name) else folder.StudyFolder
    write = getattr(place, name)

    def interrupted(*args: Any) -> None:
        calls.append(args)
        if len(calls) == at:
            raise KeyboardInterrupt
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, interrupted)
        if name == "write_last" and at > 6:
            run_study(PLAN, model, bands, tmp_path)
        else:
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
    assert str(again.summaries) == str(first.summaries)
    assert reports[1][2].compile_seconds is None
    assert reports[1][2].wall_seconds > reports[0][2].wall_seconds


def test_lost_files_cost_their_run_alone(
    model: Module, bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    run_study(PLAN, model, bands, tmp_path)
    for lost, epochs in (
        ("weights/lr_0.1_seed_7_last", 0),
        ("weights/lr_0.1_seed_7_best", 3),
        ("checkpoint/lr_0.1_seed_7", 0),
    ):
        (tmp_path / f"{lost}.safetensors").unlink()
        watch = interrupter()
        run_study(PLAN, model, bands, tmp_path, watch)
        assert watch.told.count("epoch") == epochs, lost
        if epochs or "last" in lost:
            assert contents(tmp_path) == contents(unbroken)
    (tmp_path / "history.csv").unlink()
    run_study(PLAN, model, bands, tmp_path)
    assert contents(tmp_path) == contents(unbroken)


def test_a_checkpoint_without_its_history_is_not_trusted(
    model: Module, bands: Dataset, unbroken: Path, tmp_path: Path, reports: Reports, interrupter: type
) -> None:
    plan = replace(PLAN, rates=(0.1,), seeds=(7,))
    with pytest.raises(KeyboardInterrupt):
        run_study(plan, model, bands, tmp_path, interrupter("epoch", 2))
    (tmp_path / "history.csv").unlink()
    run_study(plan, model, bands, tmp_path)
    (run,) = read_history(tmp_path / "history.csv")
    assert run == read_history(unbroken / "history.csv")[2]


# Refusals


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"batch": 8}, "batch 16, not 8"),
        ({"optimizer": "adam", "momenta": ()}, "optimizer sgd, not adam"),
        ({"schedule": "cosine"}, "schedule constant, not cosine"),
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
        ("checkpoint/lr_0.1_seed_7.safetensors", "lr_0.1_seed_7.safetensors is damaged, or not written .* delete it"),
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
        ({"seeds": ()}, "a study needs seeds that differ, not none"),
        ({"seeds": (1, 1)}, "a study needs seeds that differ, not 1 1"),
        ({"momenta": (1.0,)}, "momentum is a number with 0 <= number < 1, not 1.0"),
        ({"momenta": (math.nan,)}, "momentum is a number with 0 <= number < 1, not nan"),
        ({"momenta": (0.5, 0.5)}, "a study needs momenta that differ, not 0.5 0.5"),
        ({"momenta": (0.5,), "optimizer": "adam"}, "adam has no momentum; leave out --momentum"),
        ({"optimizer": "agd"}, "unknown optimizer 'agd'; did you mean 'sgd'"),
        ({"schedule": "flat"}, "a schedule is constant, cosine"),
        ({"refine": 0}, "the budget of --refine, in epochs, is a whole number of at least 1, not 0"),
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


def test_several_folders_after_one_flag() -> None:
    args = ["--compare", "a", "b", "--out", "c", "d"]
    assert spread(args, "--compare") == ["--compare", "a", "--compare", "b", "--out", "c", "d"]


def study(*args: str) -> Result:
    return CliRunner().invoke(main, ["study", *args])


def test_the_defaults_are_the_study_of_the_handbook(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[StudyPlan] = []

    def stop(plan: StudyPlan, *_: object) -> None:
        plans.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("convc.cli.study.run_study", stop)
    assert study().exit_code == 130
    assert study("--lr", "0.1", "0.01", "lenet5", "--epochs", "2", "--seed", "3", "--seeds", "2").exit_code == 130
    assert study("--momentum", "0.9", "0", "--refine", "--schedule", "cosine").exit_code == 130
    assert study("--refine", "40", "--optimizer", "adam").exit_code == 130
    assert plans == [
        StudyPlan("lenet5", "mnist5k", (1.0, 0.1, 0.01, 0.005, 0.001), (0, 1, 2), 30, 128, (0.9,), "sgd", "constant"),
        StudyPlan("lenet5", "mnist5k", (0.1, 0.01), (3, 4), 2, 128),
        StudyPlan(momenta=(0.0, 0.9), refine=True, schedule="cosine"),
        StudyPlan(refine=40, optimizer="adam"),
    ]
    assert plans[0].rates == RATES
    assert plans[3].momenta == ()


def test_the_command_from_interruption_to_report(
    files: Path, monkeypatch: pytest.MonkeyPatch, interrupter: type
) -> None:
    args = ("model.py:tiny", "--data", "bands.npz", "--lr", "0.1", "0.02", "--seeds", "1")
    args += ("--epochs", "2", "--batch", "16", "--jobs", "1")
    watch = interrupter("epoch", 3)
    with monkeypatch.context() as patch:
        patch.setattr("convc.cli.study.StudyDisplay.epoch", watch.epoch)
        interrupted = study(*args, "--out", "out")
    assert interrupted.exit_code == 130
    assert interrupted.stderr == (
        "convc: interrupted; out keeps the finished epochs: run the same command again to resume\n"
    )
    assert "1 of 2 epochs" in Path("out/report.md").read_text()

    resumed = study(*args, "--out", "out")
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stderr == ""
    lines = [line for line in resumed.stdout.splitlines() if line.startswith("0.02 seed")]
    assert len(lines) == 2
    assert lines[0] == "0.02 seed 0 goes on after epoch 1"
    assert lines[1].startswith("0.02 seed 0       epoch 2/2  loss ")
    assert "report: out/report.html" in resumed.stdout
    assert [line.split()[0] for line in resumed.stdout.splitlines() if "too short to tell" in line] == ["0.1", "0.02"]
    assert max(map(len, resumed.stdout.splitlines())) <= 80
    assert "1 of 2 epochs" not in Path("out/report.md").read_text()

    refused = study(*args, "--batch", "8", "--out", "out")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "convc: error: a run goes on with the settings it began with, but out was made with batch 16, not 8; "
        "choose another --out or delete it\n"
    )

    grown = study(*args, "--seed", "5", "--out", "out")
    assert grown.exit_code == 0, grown.output
    assert "with what the folder holds it is a study of 2 rates x 2 seeds x 2 epochs" in grown.stdout
    assert "(2 of 2 seeds)" in grown.stdout


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--jobs", "0"), "the number of jobs is a whole number of at least 1, not 0; give another --jobs"),
        (("--jobs", "2", "--workers", "x"), "trained by --jobs processes here or by --workers elsewhere; leave one"),
        (("--jobs", "2", "--target", "emulator"), "--jobs goes with target cpu, where a run takes a core, not with em"),
        (("--seeds", "0"), "the number of seeds is a whole number of at least 1, not 0; give another --seeds"),
        (("--compare", "none"), "two studies or more are compared, in folders that differ, not none; give others"),
        (("--compare", "none", "other"), "none holds no study; choose another --out or delete it"),
        (("--schedule", "step:1"), "a schedule is constant, cosine"),
    ],
)
def test_what_does_not_fit_together_is_one_line(args: tuple[str, ...], line: str) -> None:
    result = study(*args)
    assert result.exit_code == 1
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_augmentation_is_a_setting_of_the_study(
    bands: Dataset, shared_model: Module, tmp_path: Path, reports: Reports
) -> None:
    plan = replace(PLAN, rates=(0.02,), seeds=(7,), epochs=2)
    plain = run_study(plan, shared_model, bands, tmp_path / "plain").runs[0]
    moved = run_study(replace(plan, augment="flip"), shared_model, bands, tmp_path / "moved").runs[0]
    assert plain.epochs[0].train_loss != moved.epochs[0].train_loss
    assert reports[1][2].augment == "flip"
    with pytest.raises(DataError, match="augment"):
        run_study(plan, shared_model, bands, tmp_path / "moved")


def test_a_result_shows_what_to_take_and_every_setting(
    bands: Dataset, shared_model: Module, tmp_path: Path, reports: Reports
) -> None:
    result = run_study(replace(PLAN, seeds=(7,)), shared_model, bands, tmp_path)
    lines = repr(result).splitlines()
    assert lines[0] == result.headline
    assert max(map(len, lines)) <= 80 or str(tmp_path) in max(lines, key=len)
    assert [line.split()[0] for line in lines[2:5]] == ["1e+30", "0.1", "0.02"]
    page = result._repr_html_()
    assert page.count("<tr>") == 4
    assert "diverged or at chance" in page
