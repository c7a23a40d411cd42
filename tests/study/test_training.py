"""What `convc train` does beside training: early stopping, best weights, fine-tuning, freezing, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from convc import nn
from convc.cli import main
from convc.cli.training import make_optimizer
from convc.data import Dataset
from convc.errors import ConvcError, DataError, RunError
from convc.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from convc.train import EpochResult, Metrics, Watch
from convc.training_history import TrainRecord, best_epoch, read_train_history
from convc.training_run import TrainPlan, run_training

PLAN = TrainPlan("tiny", "bands", SGD(lr=0.05, momentum=0.9), epochs=4, batch=16, seed=3)
LOSSES = (0.9, 0.5, 0.6, 0.4, 0.7, 0.4, 0.8, 0.1, 0.2)
"""The lowest of the first seven is that of epoch 4, the first of two."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def fixed_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose validation losses are LOSSES, whatever they train."""

    def measured(*args: object, **fields: object) -> EpochResult:
        result = EpochResult(*args, **fields)  # type: ignore[arg-type]
        return replace(result, validation=Metrics(LOSSES[result.epoch - 1], 1, 2))

    monkeypatch.setattr("convc.train.EpochResult", measured)


def test_the_best_weights_are_those_of_the_lowest_validation_loss(
    model: nn.Module, bands: Dataset, tmp_path: Path, fixed_losses: None
) -> None:
    result = run_training(replace(PLAN, epochs=7), model, bands, tmp_path / "whole", resume=False)
    assert (result.best_epoch, result.stopped) == (4, False)
    last = {name: model.store[name].copy() for name in model.store.names("parameter")}
    four = run_training(replace(PLAN, epochs=4), model, bands, tmp_path / "four", resume=False)
    best, fourth = load_file(result.best_weights), load_file(four.weights)
    assert all((best[name] == array).all() for name, array in fourth.items())
    assert result.best_test == four.test == four.best_test
    kept = load_file(result.weights)
    assert all((kept[name] == array).all() for name, array in last.items()), "the model ends with the last weights"
    assert any((kept[name] != array).any() for name, array in best.items())


@pytest.mark.parametrize(("patience", "last"), [(1, 3), (2, 6), (3, 7), (4, 9)])
def test_early_stopping_waits_for_so_many_epochs_and_stops_there_again(
    model: nn.Module, bands: Dataset, tmp_path: Path, interrupter: Callable[..., Watch], fixed_losses: None,
    patience: int, last: int,
) -> None:  # fmt: skip
    plan = replace(PLAN, epochs=9, early_stop=patience)
    result = run_training(plan, model, bands, tmp_path / "whole", resume=False)
    assert len(result.history) == last
    assert result.stopped == (last < 9)
    for at in (1, 2, 3):
        out = tmp_path / f"cut{at}"
        with pytest.raises(KeyboardInterrupt):
            run_training(plan, model, bands, out, resume=False, watch=interrupter("epoch", at))
        run_training(plan, model, bands, out, resume=True)
        assert contents(out) == contents(tmp_path / "whole")
    assert run_training(plan, model, bands, tmp_path / "whole", resume=True) == result, "nothing is trained any more"
    assert contents(tmp_path / "cut1") == contents(tmp_path / "whole")
    patient = run_training(replace(plan, early_stop=None), model, bands, tmp_path / "whole", resume=True)
    assert len(patient.history) == 9


def test_the_best_epoch_is_the_first_of_the_lowest() -> None:
    records = [TrainRecord(i + 1, 0.1, 0.0, loss, 0.5) for i, loss in enumerate(LOSSES)]
    assert [best_epoch(records[:n]) for n in range(1, 10)] == [1, 2, 2, 4, 4, 4, 4, 8, 8]


def test_best_weights_are_written_anew_where_the_run_was_cut_before_them(
    model: nn.Module, bands: Dataset, tmp_path: Path, interrupter: Callable[..., Watch], fixed_losses: None
) -> None:
    run_training(PLAN, model, bands, tmp_path / "whole", resume=False)
    with pytest.raises(KeyboardInterrupt):
        run_training(PLAN, model, bands, tmp_path / "cut", resume=False, watch=interrupter("epoch", 4))
    (tmp_path / "cut" / "weights_best.safetensors").unlink()  # epoch 4 is the best, and the checkpoint's
    run_training(PLAN, model, bands, tmp_path / "cut", resume=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_training(PLAN, model, bands, tmp_path / "lost", resume=False, watch=interrupter("epoch", 3))
    (tmp_path / "lost" / "weights_best.safetensors").unlink()  # epoch 2's are nowhere else
    with pytest.raises(DataError, match="holds no weights of epoch 2, the best one, and they cannot be had again"):
        run_training(PLAN, model, bands, tmp_path / "lost", resume=True)


# Fine-tuning


class Told(Watch):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def loaded(self, path: Path, found: object) -> None:
        self.lines.append(str(found))


def net(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        ("conv", nn.Conv2d(1, 4, 3, padding=1)), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        ("fc", nn.Linear(36, classes)), name="net",
    )  # fmt: skip


@pytest.fixture
def weights(bands: Dataset, tmp_path: Path) -> Path:
    return run_training(replace(PLAN, epochs=1), net(), bands, tmp_path / "first", resume=False).weights


def test_a_run_begins_with_loaded_weights_and_goes_on_with_its_own(
    bands: Dataset, tmp_path: Path, weights: Path, interrupter: Callable[..., Watch]
) -> None:
    plan, told = replace(PLAN, weights=weights, optimizer=Adam(lr=1e-12)), Told()
    module = net()
    run_training(plan, module, bands, tmp_path / "whole", resume=False, watch=told)
    assert told.lines == ["4 arrays loaded"]
    for name, array in load_file(weights).items():
        np.testing.assert_allclose(module.store[name], array, atol=1e-6)  # rates of 1e-12 move nothing
    with pytest.raises(KeyboardInterrupt):
        run_training(plan, net(), bands, tmp_path / "cut", resume=False, watch=interrupter("epoch", 2))
    run_training(plan, net(), bands, tmp_path / "cut", resume=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    other = tmp_path / "first" / "weights_best.safetensors"
    other.write_bytes((tmp_path / "cut" / "weights.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"was made with weights .*, not "):
        run_training(replace(plan, weights=other), net(), bands, tmp_path / "cut", resume=True)


def test_a_head_for_other_classes_begins_anew_where_that_is_said(bands: Dataset, tmp_path: Path, weights: Path) -> None:
    plan = replace(PLAN, weights=weights, epochs=1, optimizer=SGD(lr=1e-12))
    with pytest.raises(DataError) as caught:
        run_training(plan, net(5), bands, tmp_path / "tuned", resume=False)
    assert str(caught.value) == (
        f"{weights} has other shapes than the model for fc.weight [5, 36], fc.bias [5]; add --new-head to begin these "
        "with first values, or take the model that the weights are of"
    )
    assert not (tmp_path / "tuned" / "train.json").exists()
    module, told = net(5), Told()
    run_training(replace(plan, new_head=True), module, bands, tmp_path / "tuned", resume=False, watch=told)
    assert told.lines == ["2 arrays loaded; of another shape: fc.weight, fc.bias"]
    loaded = load_file(weights)
    np.testing.assert_allclose(module.store["conv.weight"], loaded["conv.weight"], atol=1e-6)
    with pytest.raises(RunError, match="a new head is one of loaded weights, and none are loaded; add --weights FILE"):
        replace(PLAN, new_head=True)


def test_what_a_file_lacks_is_told(bands: Dataset, tmp_path: Path, weights: Path) -> None:
    longer = nn.Sequential(*net().layers, ("more", nn.Linear(3, 3)), name="longer")
    told = Told()
    run_training(replace(PLAN, weights=weights, epochs=1), longer, bands, tmp_path / "o", resume=False, watch=told)
    assert told.lines == ["4 arrays loaded; missing: more.weight, more.bias"]


def test_frozen_layers_keep_the_loaded_weights(bands: Dataset, tmp_path: Path, weights: Path) -> None:
    plan = replace(PLAN, weights=weights, freeze=("conv",))
    module = net()
    result = run_training(plan, module, bands, tmp_path / "tuned", resume=False)
    before, after = load_file(weights), load_file(result.weights)
    assert set(after) == set(before)
    assert {n for n in before if (before[n] != after[n]).any()} == {"fc.weight", "fc.bias"}
    checkpoint = load_file(tmp_path / "tuned" / "checkpoint" / "train.safetensors")
    assert set(checkpoint) == {*before, "fc.weight.velocity", "fc.bias.velocity"}
    more = replace(plan, epochs=5)
    run_training(more, net(), bands, tmp_path / "tuned", resume=True)
    with pytest.raises(DataError, match="was made with freeze conv, not None"):
        run_training(replace(more, freeze=()), net(), bands, tmp_path / "tuned", resume=True)


@pytest.mark.parametrize("optimizer", [AdamW(), RMSprop(momentum=0.5), SGD(momentum=0.9, clip_norm=0.3)], ids=repr)
def test_a_resumed_run_of_any_optimizer_ends_in_the_same_bytes(
    model: nn.Module, bands: Dataset, tmp_path: Path, interrupter: Callable[..., Watch], optimizer: Optimizer
) -> None:
    plan = replace(PLAN, optimizer=optimizer, schedule="warmup:2+cosine")
    run_training(plan, model, bands, tmp_path / "whole", resume=False)
    with pytest.raises(KeyboardInterrupt):
        run_training(plan, model, bands, tmp_path / "cut", resume=False, watch=interrupter("batch", 5))
    run_training(plan, model, bands, tmp_path / "cut", resume=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    with pytest.raises(DataError, match="made with epochs 4, not 6"):
        run_training(replace(plan, epochs=6), model, bands, tmp_path / "cut", resume=True)


# What is refused, and the command


@pytest.mark.parametrize(
    ("changes", "classes"),
    [({"weights": "none.safetensors"}, 3), ({"freeze": ("cnv",)}, 3), ({}, 2), ({"freeze": ("*",)}, 3)],
)
def test_a_refused_run_leaves_no_settings(
    bands: Dataset, tmp_path: Path, changes: dict[str, object], classes: int
) -> None:
    with pytest.raises(ConvcError):
        run_training(replace(PLAN, **changes), net(classes), bands, tmp_path / "run", resume=False)  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "train.json").exists()
    run_training(replace(PLAN, epochs=1), net(), bands, tmp_path / "run", resume=False)


def test_a_number_for_early_stopping_is_a_count() -> None:
    with pytest.raises(RunError, match="the epochs of early stopping is a whole number of at least 1, not 0"):
        replace(PLAN, early_stop=0)


@pytest.mark.parametrize(
    ("name", "numbers", "made"),
    [
        ("sgd", {}, SGD(momentum=0.9)),
        ("sgd", {"momentum": 0.0, "lr": 0.3, "clip_norm": 2.0}, SGD(lr=0.3, clip_norm=2.0)),
        ("adam", {"weight_decay": 0.1}, Adam(weight_decay=0.1)),
        ("adamw", {}, AdamW()),
        ("adamw", {"weight_decay": 0.0, "clip_norm": 1.0}, AdamW(weight_decay=0.0, clip_norm=1.0)),
        ("rmsprop", {"momentum": 0.5}, RMSprop(momentum=0.5)),
    ],
)
def test_optimizers_of_the_command_line(name: str, numbers: dict[str, float], made: Optimizer) -> None:
    assert make_optimizer(name, **numbers) == made


def convc(*args: str) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


TRAIN = ("train", "model.py:tiny", "--data", "bands.npz", "--epochs", "2", "--batch", "16")


def test_the_command_says_what_it_measured_and_where_it_is(files: Path) -> None:
    first = convc(*TRAIN, "--out", "run", "--clip-norm", "1", "--schedule", "warmup:1+constant")
    assert first.exit_code == 0, first.output
    lines = first.stdout.splitlines()
    epochs = [line for line in lines if " epoch " in line and line.startswith("lr ")]
    assert len(epochs) == 2
    assert all("validation loss" in line and "accuracy" in line.split("validation")[1] for line in epochs)
    best = best_epoch(read_train_history(Path("run/history.csv")))
    assert f"best: epoch {best}, validation loss " in first.stdout
    assert "validation accuracy" in first.stdout
    assert "best weights: run/weights_best.safetensors" in lines
    assert {p.name for p in Path("run").glob("*.png")} == {"loss.png", "accuracy.png"}
    assert all(len(line) <= 80 for line in lines)
    tuned = convc(*TRAIN, "--weights", "run/weights.safetensors", "--freeze", "0", "--early-stop", "1", "--out", "more")
    assert tuned.exit_code == 0, tuned.output
    assert "weights from run/weights.safetensors: 4 arrays loaded" in tuned.stdout


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--optimizer", "adamw", "--momentum", "0.9"], "adamw has no momentum of that kind; leave out --momentum"),
        (["--clip-norm", "0"], "SGD: clip_norm is a positive number, not 0.0"),
        (["--early-stop", "0"], "the epochs of early stopping is a whole number of at least 1, not 0"),
        (["--new-head"], "a new head is one of loaded weights, and none are loaded; add --weights FILE"),
        (["--weights", "none"], "cannot read weights from none"),
        (["--freeze", "conv"], "what is frozen is layers, or parameters of layers, but 'conv' is none of 0, 4"),
    ],
)
def test_bad_input_is_one_line(files: Path, args: Sequence[str], line: str) -> None:
    result = convc(*TRAIN, *args, "--out", "run")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"convc: error: {line}")
    assert result.stderr.count("\n") == 1
    assert not Path("run/train.json").exists()
