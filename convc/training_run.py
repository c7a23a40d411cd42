"""Training one model into a folder, interrupted and resumed at will.

    OUT/train.json                     the settings
    OUT/history.csv                    a row per epoch, written anew after each
    OUT/checkpoint/train.safetensors   parameters and optimizer state after the last epoch
    OUT/weights.safetensors            the parameters at the end

After an epoch the history is written before the checkpoint. Going on trusts the checkpoint: a history that is
ahead of it is cut, and the epoch trained again. Each file carries a digest, which is checked when it is read back;
the folder is locked while the run writes into it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

from convc.build.files import write_atomically
from convc.checkpoint import (
    check_settings,
    fingerprints,
    run_name,
    save_checkpoint,
    save_weights,
    saved_epoch,
    write_settings,
)
from convc.checks import instance, seed_of
from convc.data import Dataset
from convc.errors import DataError, RunError
from convc.folder_lock import folder_lock
from convc.model_info import ModelInfo
from convc.nn import Module
from convc.optim import SGD, Adam
from convc.rows import csv_text, read_rows
from convc.runtime.targets import kind_of
from convc.schedule import Schedule, schedule
from convc.train import EpochResult, Metrics, Trainer, Watch, check_count, compile_trainer, evaluate, fit

SETTINGS = "train.json"


@dataclass(frozen=True)
class TrainPlan:
    """What to train and how; the learning rate that `schedule` begins with is the optimizer's.

    Raises RunError on numbers out of range and on an unknown schedule.
    """

    model: str
    data: str
    optimizer: SGD | Adam
    schedule: str = "constant"
    epochs: int = 30
    batch: int = 128
    seed: int = 0
    target: str = "auto"

    def __post_init__(self) -> None:
        checked = {name: check_count(name, getattr(self, name)) for name in ("epochs", "batch")}
        for name, number in (checked | {"seed": seed_of(self.seed)}).items():
            object.__setattr__(self, name, number)
        instance(self.optimizer, (SGD, Adam), "an optimizer is convc.SGD(...) or convc.Adam(...)")
        self.rates()

    def rates(self) -> Schedule:
        return schedule(self.schedule, self.optimizer.lr, self.epochs)

    def settings(self) -> dict[str, object]:
        """All that the numbers depend on. More epochs may be asked for later, unless the rates depend on them."""
        optimizer = {"optimizer": type(self.optimizer).__name__} | asdict(self.optimizer)
        rest = {k: v for k, v in asdict(self).items() if k not in ("optimizer", "epochs")}
        rest["target"] = kind_of(self.target)
        return rest | optimizer | ({"epochs": self.epochs} if self.schedule == "cosine" else {})


@dataclass(frozen=True)
class TrainRecord:
    """One row of the history: losses in nats, the accuracy 0..1."""

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class TrainResult:
    """The history, the final parameters on the test split, and where they are."""

    history: tuple[TrainRecord, ...]
    test: Metrics
    weights: Path


def run_training(
    plan: TrainPlan, module: Module, dataset: Dataset, out: Path | str, *, resume: bool, watch: Watch | None = None
) -> TrainResult:
    """Train `module` on `dataset` (as loaded; normalised here) and write the files above into `out`.

    With `resume`, goes on after the last epoch there; all files come out as from an unbroken run. Raises
    DataError where `out` holds a run and `resume` is False, or the other way round, or one with other settings,
    and RunError where the loss is no longer a number.
    """
    out = Path(out)
    if resume and not os.path.lexists(out / SETTINGS):
        raise DataError(f"{out} holds no run to go on with; leave out --resume, or choose another --out")
    with folder_lock(out):
        return _Run(plan, module, dataset, out, watch or Watch()).run(resume)


class _Run:
    def __init__(self, plan: TrainPlan, module: Module, dataset: Dataset, out: Path, watch: Watch) -> None:
        self.plan, self.module, self.out, self.watch = plan, module, out, watch
        self.settings = plan.settings() | fingerprints(module, dataset)
        self.dataset = dataset.normalized()
        self.history, self.checkpoint = out / "history.csv", out / "checkpoint" / "train.safetensors"
        self.name = run_name("train", self.settings)
        self.records: list[TrainRecord] = []

    def run(self, resume: bool) -> TrainResult:
        start = self._claim(resume)
        trainer = self.trainer
        self.module.reset(self.plan.seed)
        if start:
            self.module.store.load(self.checkpoint)
        self.watch.begin(self.plan.optimizer.lr, start, self.plan.epochs - start)
        fit(
            trainer.step,
            trainer.evaluation,
            self.dataset,
            lr=self.plan.rates(),
            epochs=self.plan.epochs,
            seed=self.plan.seed,
            start=start,
            after_epoch=self._after_epoch,
            after_batch=self.watch.batch,
        )
        self.watch.end()
        test = evaluate(trainer.evaluation, self.dataset.test)
        write_train_history(self.history, self.records, test.accuracy)
        weights = self.out / "weights.safetensors"
        about = ModelInfo.of(self.dataset, self.plan.model)
        save_weights(weights, self.module.store, self.name, self.plan.epochs, about)
        return TrainResult(tuple(self.records), test, weights)

    @cached_property
    def trainer(self) -> Trainer:
        """Compiled when the run begins."""
        plan = self.plan
        self.watch.compiling(plan.model)
        trainer = compile_trainer(
            self.module,
            self.dataset,
            batch=plan.batch,
            optimizer=plan.optimizer,
            seed=plan.seed,
            target=plan.target,
        )
        self.watch.compiled(trainer.seconds)
        return trainer

    def _claim(self, resume: bool) -> int:
        """Begin in `out`, or take up the run there; returns the last epoch that is done."""
        path = self.out / SETTINGS
        if not resume:
            if self.history.exists():
                raise DataError(f"{self.out} holds a run already; go on with it by --resume, or choose another --out")
            write_settings(path, self.settings)
            return 0
        check_settings(path, self.settings)
        self.records = read_train_history(self.history) if self.history.exists() else []
        start = saved_epoch(self.checkpoint, self.name)
        if start > len(self.records):
            raise DataError(
                f"a run goes on with its history, but {self.history} has {len(self.records)} epochs and the "
                f"checkpoint has {start}; choose another --out"
            )
        if start > self.plan.epochs:
            raise DataError(f"{self.out} holds {start} epochs already, more than --epochs {self.plan.epochs}")
        self.records = self.records[:start]
        return start

    def _after_epoch(self, result: EpochResult) -> None:
        losses = result.train_loss, result.validation.loss
        self.records.append(TrainRecord(result.epoch, result.lr, *losses, result.validation_accuracy))
        write_train_history(self.history, self.records)
        if not result.finite:  # the checkpoint stays at the last epoch that had one
            raise RunError(
                f"training came apart: the loss of epoch {result.epoch} is no number, at learning rate "
                f"{result.lr:g}; try a lower --lr and another --out"
            )
        save_checkpoint(self.checkpoint, self.trainer.step, self.name, result.epoch)
        self.watch.epoch(result, result.validation_accuracy)


def write_train_history(path: Path, records: Sequence[TrainRecord], test_accuracy: float | None = None) -> None:
    """A row per epoch, floats by repr; the test accuracy, once known, stands in the last row."""
    rows = []
    for record in records:
        known = test_accuracy is not None and record is records[-1]
        rows.append([*map(repr, asdict(record).values()), repr(test_accuracy) if known else ""])
    write_atomically(path, csv_text([*_columns(), "test_accuracy"], rows))


def read_train_history(path: Path) -> list[TrainRecord]:
    """The rows of a file by `write_train_history`. Raises DataError, with the line, where it is none or is damaged."""
    records: list[TrainRecord] = []
    remedy = f"delete {path.parent} to train it anew, or choose another --out"
    for line, (epoch, *numbers, _) in read_rows(path, [*_columns(), "test_accuracy"], remedy):
        try:
            records.append(TrainRecord(int(epoch), *map(float, numbers)))
        except ValueError as error:
            raise DataError(f"{path}, line {line}: not the history of a training run ({error}); {remedy}") from None
    return records


def _columns() -> list[str]:
    return [field.name for field in fields(TrainRecord)]
