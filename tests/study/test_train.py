"""The fit loop, evaluation, schedules; `convc train` and `convc eval`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from convc import compile
from convc.checkpoint import save_checkpoint
from convc.cli import main
from convc.data import Augmentation, Dataset, epoch_order, load
from convc.errors import DataError, RunError
from convc.model_info import ModelInfo, read_info
from convc.nn import Module
from convc.optim import SGD, Adam
from convc.runtime.program import Program
from convc.schedule import schedule
from convc.train import Trainer, compile_trainer, evaluate, fit
from convc.training_run import TrainPlan, read_train_history, run_training

PLAN = TrainPlan("tiny", "bands", SGD(lr=0.05, momentum=0.9), "step:1,0.5", epochs=3, batch=16, seed=3)
Shared = tuple[Module, Trainer]


def parameters(module: Module) -> bytes:
    return b"".join(module.store[name].tobytes() for name in module.store)


def by_hand(trainer: Trainer, data: Dataset, epochs: int, seed: int, **scalars: float) -> list[float]:
    """The mean training loss of each epoch, batch by batch of 16."""
    losses = []
    for epoch in range(1, epochs + 1):
        order = epoch_order(44, seed=seed, epoch=epoch)
        total = 0.0
        for rows in (order[:16], order[16:32], order[32:]):
            loss = trainer.step(data.train.images[rows], data.train.labels[rows], **scalars)
            total += loss * len(rows)
        losses.append(total / 44)
    return losses


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9, nesterov=True), Adam()], ids=["plain", "sgd", "adam"])
def test_fit_visits_every_image_once_an_epoch_in_its_order(
    tiny: Callable[..., Module], bands: Dataset, optimizer: SGD | Adam
) -> None:
    module = tiny()
    trainer = compile_trainer(module, bands, batch=16, optimizer=optimizer, seed=5)
    wanted = by_hand(trainer, bands, 3, seed=5, lr=0.02)
    learnt = parameters(module)
    module.reset(5)
    results = fit(trainer.step, trainer.evaluation, bands, lr=0.02, epochs=3, seed=5)
    assert [r.train_loss for r in results] == wanted
    assert parameters(module) == learnt
    assert [r.epoch for r in results] == [1, 2, 3]
    assert results[-1].validation == evaluate(trainer.evaluation, bands.validation)
    assert results[-1].train_loss < results[0].train_loss

    module.reset(5)
    fit(trainer.step, trainer.evaluation, bands, lr=0.02, epochs=1, seed=5)
    assert parameters(module) != learnt
    fit(trainer.step, trainer.evaluation, bands, lr=0.02, epochs=3, seed=5, start=1)
    assert parameters(module) == learnt


def test_fit_takes_further_numbers_and_stops_where_it_is_told(sgd: Shared, bands: Dataset) -> None:
    module, trainer = sgd
    module.reset(5)
    wanted = by_hand(trainer, bands, 2, seed=5, lr=0.02, momentum=0.25)
    module.reset(5)
    results = fit(
        trainer.step,
        trainer.evaluation,
        bands,
        lr=0.02,
        epochs=9,
        seed=5,
        numbers={"momentum": 0.25, "beta1": 0.5},  # what the step has no input for is left out
        after_epoch=lambda result: result.epoch == 2,
    )
    assert [r.train_loss for r in results] == wanted


def test_evaluation_weighs_every_image_alike(sgd: Shared, bands: Dataset) -> None:
    module, trainer = sgd
    module.reset(0)
    whole = compile(module, (21, 1, 6, 6), mode="eval")
    loss, correct = whole(bands.test.images, bands.test.labels)
    metrics = evaluate(trainer.evaluation, bands.test)  # 16 + 5 rows
    assert metrics.loss == pytest.approx(loss, rel=1e-6)
    assert (metrics.correct, metrics.images) == (correct, 21)
    assert metrics.accuracy == correct / 21


def test_the_rate_of_a_schedule_reaches_the_step(sgd: Shared, bands: Dataset) -> None:
    module, trainer = sgd
    module.reset(0)
    results = fit(trainer.step, trainer.evaluation, bands, lr=schedule("step:2,0.1", 0.05, 4), epochs=4)
    assert [r.lr for r in results] == pytest.approx([0.05, 0.05, 0.005, 0.005])
    stepped = parameters(module)
    module.reset(0)
    for lr, start in ((0.05, 0), (results[-1].lr, 2)):
        fit(trainer.step, trainer.evaluation, bands, lr=lr, epochs=start + 2, start=start)
    assert parameters(module) == stepped


def test_augmentation_is_the_epochs_own(sgd: Shared, bands: Dataset) -> None:
    """By hand, by `fit`, and resumed after an epoch: the same bits."""
    module, trainer = sgd
    augment = Augmentation.parse("shift:1,flip")
    losses = []
    module.reset(5)
    for epoch in (1, 2, 3):
        seen = replace(bands, train=augment.split(bands.train, seed=5, epoch=epoch))
        results = fit(trainer.step, trainer.evaluation, seen, lr=0.02, epochs=epoch, seed=5, start=epoch - 1)
        losses += [r.train_loss for r in results]
    learnt = parameters(module)
    module.reset(5)
    results = fit(trainer.step, trainer.evaluation, bands, lr=0.02, epochs=3, seed=5, augment=augment)
    assert [r.train_loss for r in results] == losses
    assert parameters(module) == learnt
    module.reset(5)
    for start, epochs in ((0, 1), (1, 3)):
        fit(trainer.step, trainer.evaluation, bands, lr=0.02, epochs=epochs, seed=5, start=start, augment=augment)
    assert parameters(module) == learnt
    module.reset(5)
    fit(trainer.step, trainer.evaluation, bands, lr=0.02, epochs=3, seed=5)
    assert parameters(module) != learnt


def test_a_loss_that_is_no_number_ends_the_run(sgd: Shared, bands: Dataset) -> None:
    module, trainer = sgd
    module.reset(0)
    batches: list[int] = []
    results = fit(trainer.step, trainer.evaluation, bands, lr=1e30, epochs=5, after_batch=batches.append)
    assert len(results) == 1
    assert sum(batches) < 44  # the rest of the epoch is not trained
    assert math.isnan(results[0].train_loss)
    assert math.isnan(results[0].validation.loss)
    assert math.isnan(results[0].validation_accuracy)
    assert not results[0].finite


def test_threads_change_no_bit(sgd: Shared, bands: Dataset, threads: Callable[[int], None]) -> None:
    module, trainer = sgd
    seen = []
    for n in (1, 2):
        threads(n)
        module.reset(0)
        results = fit(trainer.step, trainer.evaluation, bands, lr=0.1, epochs=2)
        seen.append(([(r.train_loss, r.validation) for r in results], parameters(module)))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_not_positive_is_refused(sgd: Shared, bands: Dataset, lr: float) -> None:
    with pytest.raises(RunError, match="a learning rate is a positive number, not "):
        fit(sgd[1].step, sgd[1].evaluation, bands, lr=lr, epochs=1)


def test_a_model_with_too_few_classes_is_refused(tiny: Callable[..., Module], bands: Dataset) -> None:
    with pytest.raises(DataError, match="sequential has 2 and bands has 3; choose another model"):
        compile_trainer(tiny(2), bands, batch=16, optimizer=SGD(), seed=0)


@pytest.mark.parametrize(
    ("batch", "seed", "line"), [(0, 0, "batch is a whole number of at least 1"), (4, 2**64, "a seed is")]
)
def test_numbers_out_of_range_are_refused(
    tiny: Callable[..., Module], bands: Dataset, batch: int, seed: int, line: str
) -> None:
    with pytest.raises(RunError, match=line):
        compile_trainer(tiny(), bands, batch=batch, optimizer=SGD(), seed=seed)


# What `convc train` leaves in its folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("optimizer", [PLAN.optimizer, Adam()], ids=["sgd", "adam"])
def test_a_resumed_run_ends_in_the_same_bytes(
    model: Module, bands: Dataset, tmp_path: Path, interrupter: type, optimizer: SGD | Adam
) -> None:
    plan = replace(PLAN, optimizer=optimizer)
    unbroken = run_training(plan, model, bands, tmp_path / "unbroken", resume=False)
    assert [r.learning_rate for r in unbroken.history] == [optimizer.lr * 0.5**k for k in range(3)]
    assert set(contents(tmp_path / "unbroken")) == {
        "accuracy.png", "checkpoint/lock", "checkpoint/train.safetensors", "history.csv", "loss.png", "train.json",
        "weights.safetensors", "weights_best.safetensors",
    }  # fmt: skip
    for kind, at in (("compiling", 1), ("batch", 2), ("batch", 5), ("epoch", 2), ("end", 1)):
        out = tmp_path / f"{kind}{at}"
        with pytest.raises(KeyboardInterrupt):
            run_training(plan, model, bands, out, resume=False, watch=interrupter(kind, at))
        assert not (out / "weights.safetensors").exists()
        run_training(plan, model, bands, out, resume=True)
        assert contents(out) == contents(tmp_path / "unbroken"), (kind, at)


def test_a_history_ahead_of_its_checkpoint_is_cut(
    model: Module, bands: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(PLAN, model, bands, tmp_path / "unbroken", resume=False)

    def interrupted(path: Path, step: Program, run: str, epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        save_checkpoint(path, step, run, epoch)

    with monkeypatch.context() as patch:
        patch.setattr("convc.training_run.save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_training(PLAN, model, bands, tmp_path / "resumed", resume=False)
    assert len(read_train_history(tmp_path / "resumed" / "history.csv")) == 2
    run_training(PLAN, model, bands, tmp_path / "resumed", resume=True)
    assert contents(tmp_path / "resumed") == contents(tmp_path / "unbroken")


def test_a_finished_run_goes_on_to_more_epochs(model: Module, bands: Dataset, tmp_path: Path) -> None:
    run_training(PLAN, model, bands, tmp_path / "whole", resume=False)
    run_training(replace(PLAN, epochs=2), model, bands, tmp_path / "parts", resume=False)
    run_training(PLAN, model, bands, tmp_path / "parts", resume=True)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    with pytest.raises(DataError, match="holds 3 epochs already, more than --epochs 1"):
        run_training(replace(PLAN, epochs=1), model, bands, tmp_path / "parts", resume=True)


def test_a_run_refuses_another_ones_folder(model: Module, bands: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run to go on with; leave out --resume"):
        run_training(PLAN, model, bands, tmp_path, resume=True)
    run_training(PLAN, model, bands, tmp_path, resume=False)
    with pytest.raises(DataError, match="holds a run already; go on with it by --resume"):
        run_training(PLAN, model, bands, tmp_path, resume=False)
    for changed, line in (
        ({"seed": 4}, "seed 3, not 4"),
        ({"optimizer": SGD(lr=0.05, momentum=0.8)}, "momentum 0.9, not 0.8"),
        ({"optimizer": Adam(lr=0.05)}, "optimizer SGD, not Adam"),
        ({"schedule": "cosine"}, "schedule step:1,0.5, not cosine"),
    ):
        with pytest.raises(DataError, match=line):
            run_training(replace(PLAN, **changed), model, bands, tmp_path, resume=True)
    (tmp_path / "history.csv").write_text("epoch,learning_rate\n1,x\n")
    with pytest.raises(DataError, match=r"history.csv, line 1: the header must be epoch,.* delete .* to train it anew"):
        run_training(PLAN, model, bands, tmp_path, resume=True)


def test_a_run_that_comes_apart_says_so(model: Module, bands: Dataset, tmp_path: Path) -> None:
    plan = replace(PLAN, optimizer=SGD(lr=1e30, momentum=0.9))
    with pytest.raises(RunError, match=r"the loss of epoch 1 is no number, at learning rate 1e\+30; try a lower"):
        run_training(plan, model, bands, tmp_path, resume=False)
    (record,) = read_train_history(tmp_path / "history.csv")
    assert np.isnan([record.train_loss, record.validation_loss, record.validation_accuracy]).all()
    assert not (tmp_path / "weights.safetensors").exists()


# The commands


def convc(*args: str) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


TRAIN = ("train", "model.py:tiny", "--data", "bands.npz", "--epochs", "2", "--batch", "16")


def test_train_then_eval(files: Path) -> None:
    trained = convc(*TRAIN, "--optimizer", "adam", "--lr", "0.02", "--schedule", "cosine", "--out", "run")
    assert trained.exit_code == 0, trained.output
    assert "epoch 2/2" in trained.output
    test = next(line for line in trained.output.splitlines() if line.startswith("test: "))
    weights = ("--weights", "run/weights.safetensors", "--data", "bands.npz")
    data = load("bands.npz").normalized()
    assert read_info("run/weights.safetensors") == ModelInfo.of(data, "model.py:tiny")
    lines = convc("eval", "model.py:tiny", *weights, "--batch", "16", "--out", "eval").output.splitlines()
    assert lines[0] == test
    assert lines[1].startswith("accuracy of such images: ")
    assert lines[-1] == "wrote eval/confusion.csv, misread.csv and confusion.png beside it"
    assert max(map(len, lines)) <= 80
    assert sorted(path.name for path in Path("eval").iterdir()) == ["confusion.csv", "confusion.png", "misread.csv"]
    header, first, last = Path("run/history.csv").read_text().splitlines()
    assert header == "epoch,learning_rate,train_loss,validation_loss,validation_accuracy,test_accuracy,sha256"
    assert first.startswith("1,0.02,")
    assert first.split(",")[-2] == ""
    assert f"{float(last.split(',')[-2]):.2%}" in test

    other = convc("eval", "model.py:tiny", *weights, "--split", "train").output
    assert other.startswith("train: loss ")
    assert other.splitlines()[0].endswith("of 44)")
    Path("model.py").write_text(Path("model.py").read_text().replace("nn.ReLU(), ", ""))
    wrong = convc("eval", "model.py:tiny", *weights)
    assert wrong.exit_code == 1
    assert "weights must be those of the model" in wrong.stderr


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([*TRAIN, "--out", "run", "--optimizer", "adam", "--momentum", "0.9"], "adam has no momentum of that kind"),
        ([*TRAIN, "--out", "run", "--momentum", "1"], "SGD: momentum is a number with 0 <= number < 1, not 1.0"),
        ([*TRAIN, "--out", "run", "--weight-decay", "-1"], "SGD: weight_decay is a number of at least 0, not -1.0"),
        ([*TRAIN, "--out", "run", "--epochs", "0"], "epochs is a whole number of at least 1, not 0"),
        ([*TRAIN, "--out", "run", "--resume"], "run holds no run to go on with"),
        (["train", "net.conv", "--data", "bands.npz", "--out", "run"], "a graph in text form has no first weights"),
        (["eval", "model.py:tiny", "--weights", "none", "--data", "bands.npz"], "cannot read weights from none"),
        (
            ["eval", "model.py:tiny", "--weights", "model.py", "--data", "bands.npz"],
            "model.py is not a safetensors",
        ),
        (["eval", "model.py:tiny", "--weights", "x", "--data", "none.npz"], "no such file: none.npz"),
    ],
)
def test_bad_input_is_one_line(files: Path, args: Sequence[str], line: str) -> None:
    result = convc(*args)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"convc: error: {line}")
    assert result.stderr.count("\n") == 1
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["train", "eval", "study"])
def test_help_shows_an_example(command: str) -> None:
    result = convc(command, "--help")
    assert result.exit_code == 0
    assert f"\n    convc {command} lenet5" in result.output


def test_a_run_trains_on_augmented_images(bands: Dataset, shared_model: Module, tmp_path: Path) -> None:
    plan = replace(PLAN, augment=" shift:1, flip")
    assert plan.augment == "shift:1,flip"
    found = run_training(plan, shared_model, bands, tmp_path / "own", resume=False)
    data = bands.normalized()
    trainer = compile_trainer(shared_model, data, batch=16, optimizer=PLAN.optimizer, seed=3)
    shared_model.reset(3)
    rate, augment = schedule(PLAN.schedule, PLAN.lr, 3), Augmentation.parse("shift:1,flip")
    results = fit(trainer.step, trainer.evaluation, data, lr=rate, epochs=3, seed=3, augment=augment)
    assert [r.train_loss for r in found.history] == [r.train_loss for r in results]
    with pytest.raises(DataError, match="augment"):
        run_training(replace(plan, augment=""), shared_model, bands, tmp_path / "own", resume=True)
    with pytest.raises(DataError, match="an augmentation is made of"):
        replace(plan, augment="shake")
