"""A study that grows in its folder holds what the larger study would have written; rates that it adds by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convc.data import Dataset
from convc.errors import DataError
from convc.nn import Module
from convc.report.history import RunHistory, Setting, read_history
from convc.study import StudyPlan, compare_studies, engine, run_study, slices
from convc.study.folder import read_study

PLAN = StudyPlan("tiny", "bands", rates=(1e30, 0.1, 0.02), seeds=(7, 8), epochs=3, batch=16, momenta=(0.0, 0.9))


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.report.study_report.write_report", lambda *_: None)
    monkeypatch.setattr(engine, "SLICE_SECONDS", 0.0)


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.suffix in (".csv", ".json", ".safetensors"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.name not in ("timing.csv", "clock.json")}


@pytest.fixture(scope="module")
def whole(bands: Dataset, shared_model: Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convc.report.study_report.write_report", lambda *_: None)
        run_study(PLAN, shared_model, bands, out)
    return contents(out)


SMALLER: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": 1},
    "rates": {"rates": (0.1,)},
    "seeds": {"seeds": (8,)},
    "momenta": {"momenta": (0.9,)},
    "another momentum": {"momenta": (0.0,)},
    "all": {"epochs": 2, "rates": (0.02,), "seeds": (7,), "momenta": (0.9,)},
}


@pytest.mark.parametrize("change", SMALLER.values(), ids=SMALLER)
def test_what_has_grown_is_what_the_larger_study_writes(
    change: dict[str, Any], model: Module, bands: Dataset, whole: dict[str, bytes], tmp_path: Path, interrupter: type
) -> None:
    small, rest = interrupter(), interrupter()
    run_study(replace(PLAN, **change), model, bands, tmp_path, small)
    run_study(PLAN, model, bands, tmp_path, rest)
    assert contents(tmp_path) == whole
    assert small.told.count("epoch") + rest.told.count("epoch") == 2 * 2 * (1 + 3 + 3), "nothing is trained twice"


def test_plans_join(model: Module, bands: Dataset, whole: dict[str, bytes], tmp_path: Path) -> None:
    """A plan that lacks some of what the folder holds goes on with all of it."""
    run_study(replace(PLAN, rates=(0.1, 1e30), seeds=(7,), epochs=2), model, bands, tmp_path)
    run_study(replace(PLAN, rates=(0.02,), seeds=(8,), momenta=(0.9,)), model, bands, tmp_path)
    assert contents(tmp_path) == whole
    again = run_study(replace(PLAN, rates=(0.02,), seeds=(8,), momenta=(0.9,), epochs=1), model, bands, tmp_path)
    assert contents(tmp_path) == whole
    assert [summary.setting for summary in again.summaries] == list(PLAN.settings)


@pytest.mark.parametrize("kind", ["epoch", "end"])
def test_growing_is_interrupted(
    kind: str, model: Module, bands: Dataset, whole: dict[str, bytes], tmp_path: Path, interrupter: type
) -> None:
    run_study(replace(PLAN, **SMALLER["all"]), model, bands, tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_study(PLAN, model, bands, tmp_path, interrupter(kind, 3))
    run_study(PLAN, model, bands, tmp_path)
    assert contents(tmp_path) == whole


def test_a_momentum_becomes_a_factor_in_one_go(
    model: Module, bands: Dataset, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is renamed when the study is interrupted."""
    import os

    run_study(replace(PLAN, momenta=(0.9,)), model, bands, tmp_path)
    real, left = os.replace, 4

    def replaced(old: Path, new: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(old, new)

    with monkeypatch.context() as patch:
        patch.setattr("convc.study.folder.os.replace", replaced)
        with pytest.raises(KeyboardInterrupt):
            run_study(PLAN, model, bands, tmp_path)
    run_study(PLAN, model, bands, tmp_path)
    assert contents(tmp_path) == whole
    (first, *_) = read_history(tmp_path / "history.csv", ("momentum",))
    assert first.setting == Setting(1e30, (("momentum", 0.0),))


def test_a_schedule_that_depends_on_the_epochs_does_not_grow(model: Module, bands: Dataset, tmp_path: Path) -> None:
    plan = replace(PLAN, rates=(0.1,), seeds=(7,), momenta=(), schedule="cosine")
    run_study(plan, model, bands, tmp_path)
    before = contents(tmp_path)
    line = (
        "the rates of the schedule cosine depend on the number of epochs, and this study was made with 3, not 4; choose"
    )
    with pytest.raises(DataError, match=line):
        run_study(replace(plan, epochs=4), model, bands, tmp_path)
    assert contents(tmp_path) == before
    more = run_study(replace(plan, seeds=(7, 8)), model, bands, tmp_path)
    assert [len(run.epochs) for run in more.runs] == [3, 3]


def test_a_step_schedule_grows(model: Module, bands: Dataset, tmp_path: Path) -> None:
    plan = replace(PLAN, rates=(0.1,), seeds=(7,), momenta=(), schedule="step:2,0.1", epochs=5)
    run_study(replace(plan, epochs=2), model, bands, tmp_path / "grown")
    run_study(plan, model, bands, tmp_path / "grown")
    run_study(plan, model, bands, tmp_path / "whole")
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("optimizer", "momenta", "schedule"),
    [
        ("sgd", (0.0, 0.9), "warmup:1+cosine"),
        ("rmsprop", (0.0, 0.5), "onecycle"),
        ("adamw", (), "warmup:2+step:1,0.5"),
        ("adam", (), "linear"),
    ],
)
def test_any_optimizer_and_schedule(
    optimizer: str,
    momenta: tuple[float, ...],
    schedule: str,
    tiny: Any,
    bands: Dataset,
    tmp_path: Path,
    interrupter: type,
) -> None:
    module = tiny()
    plan = replace(PLAN, rates=(0.01,), momenta=momenta, optimizer=optimizer, schedule=schedule)
    with pytest.raises(KeyboardInterrupt):
        run_study(
            replace(plan, momenta=momenta[:1], seeds=(8,)), module, bands, tmp_path / "grown", interrupter("epoch", 2)
        )
    run_study(plan, module, bands, tmp_path / "grown")
    result = run_study(plan, module, bands, tmp_path / "whole")
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")
    assert result.runs[0].epochs[-1].train_loss < result.runs[0].epochs[0].train_loss
    assert len({run.epochs for run in result.runs}) == len(result.runs) == 2 * max(1, len(momenta))


def test_a_study_of_an_earlier_form_is_one_line(model: Module, bands: Dataset, tmp_path: Path) -> None:
    from convc.checkpoint import write_settings

    (tmp_path / "history.csv").write_text("learning_rate,epoch\n")
    write_settings(tmp_path / "study.json", {"model": "tiny", "rates": [0.1], "seed": 0})
    with pytest.raises(DataError, match=r"study.json is of another form .*; choose another --out or delete"):
        run_study(PLAN, model, bands, tmp_path)


# Rates that nobody asked for


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Offers 0.07, then 0.05, then nothing, and notes for how many it was asked. 0.07 is stopped after 2 epochs."""
    asked: list[int] = []

    def next_rates(summaries: Any, count: int) -> tuple[float, ...]:
        asked.append(count)
        rates = {summary.setting.lr for summary in summaries}
        return tuple(lr for lr in (0.07, 0.05) if lr not in rates)[: min(count, 1)]

    def should_stop(run: RunHistory, best: tuple[RunHistory, ...], classes: int, images: int) -> bool:
        assert {other.setting.lr for other in best} <= {0.1, 0.02}
        return run.lr == 0.07 and len(run.epochs) >= 2

    monkeypatch.setattr(engine, "next_rates", next_rates)
    monkeypatch.setattr(slices, "should_stop", should_stop)
    return asked


REFINED = replace(PLAN, rates=(0.1, 0.02), momenta=(), epochs=6, refine=30)


def test_rates_are_added_within_the_budget(
    model: Module, bands: Dataset, tmp_path: Path, offers: list[int], interrupter: type
) -> None:
    result = run_study(REFINED, model, bands, tmp_path)
    assert offers == [2, 2, 1], "30, then 26, then 14 epochs are left for settings of 12"
    lengths = {run.name: (len(run.epochs), run.stopped) for run in result.runs}
    assert lengths == {
        **{f"lr_{lr}_seed_{seed}": (6, False) for lr in (0.1, 0.05, 0.02) for seed in (7, 8)},
        **{f"lr_0.07_seed_{seed}": (2, True) for seed in (7, 8)},
    }
    assert [(s.setting.lr, s.asked) for s in result.summaries] == [
        (0.1, True),
        (0.07, False),
        (0.05, False),
        (0.02, True),
    ]
    assert result.summaries[1].verdicts == (None, None)
    assert result.facts.refined == (Setting(0.07), Setting(0.05))
    assert result.facts.budget.startswith("30 epochs at rates added by the study, of which 16 were used")

    watch, before = interrupter(), contents(tmp_path)
    run_study(REFINED, model, bands, tmp_path, watch)
    run_study(replace(REFINED, refine=False), model, bands, tmp_path, watch)
    assert watch.told == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("kind", "at"), [("epoch", 26), ("epoch", 30), ("begin", 5), ("end", 7)])
def test_refining_is_interrupted(
    kind: str, at: int, model: Module, bands: Dataset, tmp_path: Path, offers: list[int], interrupter: type
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(REFINED, model, bands, tmp_path / "again", interrupter(kind, at))
    run_study(REFINED, model, bands, tmp_path / "again")
    run_study(REFINED, model, bands, tmp_path / "whole")
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_a_rate_that_is_asked_for_later_is_trained_to_its_end(
    model: Module, bands: Dataset, tmp_path: Path, offers: list[int]
) -> None:
    run_study(REFINED, model, bands, tmp_path / "again")
    plan = replace(REFINED, rates=(0.1, 0.07, 0.05, 0.02), refine=False)
    result = run_study(plan, model, bands, tmp_path / "again")
    assert all(len(run.epochs) == 6 and not run.stopped for run in result.runs)
    assert all(summary.asked for summary in result.summaries)
    run_study(plan, model, bands, tmp_path / "whole")
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_without_a_number_the_budget_is_a_third_of_the_runs() -> None:
    assert StudyPlan(refine=True).budget == 5 * 30
    assert replace(REFINED, refine=True).budget == 2 * 6, "one rate at least"
    assert REFINED.budget == 30
    assert replace(REFINED, refine=False).budget == 0


# Studies side by side


def test_studies_are_compared(
    model: Module, tiny: Callable[[], Module], bands: Dataset, tmp_path: Path, interrupter: type
) -> None:
    plan = replace(PLAN, rates=(0.1, 0.02), momenta=(), epochs=6)
    run_study(plan, model, bands, tmp_path / "sgd")
    run_study(replace(plan, optimizer="adam", momenta=(), seeds=(8, 9)), tiny(), bands, tmp_path / "adam")
    run_study(replace(plan, seeds=(20,), batch=8), tiny(), bands, tmp_path / "apart")
    found = compare_studies([tmp_path / name for name in ("sgd", "adam", "apart")])
    assert [(Path(row[0]).name, row[1]) for row in found.rows] == [
        (name, lr) for name in ("sgd", "adam", "apart") for lr in ("0.1", "0.02")
    ]
    differences = [row[-1] for row in found.rows]
    assert differences.count("the reference") == 1
    assert "the reference" in differences[:2]
    assert any("(2 seeds)" in text and " to " in text for text in differences[:2])
    assert all("(1 seed)" in text for text in differences[2:4])
    assert differences[4:] == ["no seed pairs"] * 2

    stored, other = (read_study(tmp_path / name) for name in ("sgd", "adam"))
    notes = "\n".join(found.notes)
    assert f"Different optimizer: sgd in {tmp_path / 'sgd'}, adam in {tmp_path / 'adam'}" in notes
    assert "Different seeds: 7 8 in" in notes
    assert "Different batch: 16 in" in notes
    assert stored.settings["data contents"] == other.settings["data contents"]
    assert "Different data" not in notes
    text = found.write(tmp_path / "out").read_text()
    assert all(cell in text for row in found.rows for cell in row)

    with pytest.raises(KeyboardInterrupt):
        run_study(plan, model, bands, tmp_path / "half", interrupter("epoch", 8))
    with pytest.raises(DataError, match=r"only finished studies are compared, and .*half has 1 of 4 runs; run its"):
        compare_studies([tmp_path / "sgd", tmp_path / "half"])
