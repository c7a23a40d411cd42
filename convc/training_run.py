"""Training one model into a folder, interrupted and resumed at will.

    OUT/train.json                     the settings
    OUT/history.csv                    a row per epoch, written anew after each
    OUT/checkpoint/train.safetensors   parameters and optimizer state after the last epoch
    OUT/weights_best.safetensors       the parameters after the epoch of the lowest validation loss
    OUT/weights.safetensors            the parameters at the end
    OUT/loss.png, accuracy.png         the curves, at the end

After an epoch the history is written before the checkpoint, and the best weights after it. Going on trusts the
checkpoint: a history that is ahead of it is cut, and the epoch trained again; best weights that are behind it are in
it. Each file carries a digest, which is checked when it is read back; the folder is locked while the run writes into
it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from convc.build.files import read_whole
from convc.checkpoint import (
    check_settings,
    fingerprints,
    run_name,
    save_checkpoint,
    save_weights,
    saved_epoch,
    write_settings,
)
from convc.checks import instance, seed_of, whole
from convc.data import Dataset
from convc.data.augment import Augmentation, augmentation_text
from convc.errors import ConvcError, DataError, RunError
from convc.folder_lock import folder_lock
from convc.model_info import ModelInfo
from convc.nn import Module
from convc.optim import OPTIMIZERS, Optimizer
from convc.runtime.targets import kind_of
from convc.runtime.weights import named
from convc.schedule import Schedule, depends_on_epochs, schedule
from convc.train import EpochResult, Metrics, Trainer, Watch, check_count, compile_trainer, evaluate, fit
from convc.training_history import TrainRecord, best_epoch, columns_of, read_train_history, write_train_history

SETTINGS = "train.json"


@dataclass(frozen=True)
class TrainPlan:
    """What to train and how; the greatest learning rate of `schedule` is the optimizer's.

    `early_stop`: end after so many epochs in a row without a lower validation loss (Prechelt, 1998, in its simplest
    form); None: never. `freeze`: patterns of layers that stay as they are (`Module.freeze`). `weights`: a safetensors
    file to begin with instead of first values; arrays that it has not keep their first values, and with `new_head`
    those that it has in another shape, too. `augment`: what happens to the training images in every epoch, as
    `Augmentation.parse` reads it. Raises RunError on numbers out of range and on an unknown schedule.
    """

    model: str
    data: str
    optimizer: Optimizer
    schedule: str = "constant"
    epochs: int = 30
    batch: int = 128
    seed: int = 0
    target: str = "auto"
    early_stop: int | None = None
    freeze: tuple[str, ...] = ()
    weights: Path | str | None = None
    new_head: bool = False
    augment: str = ""

    def __post_init__(self) -> None:
        checked = {name: check_count(name, getattr(self, name)) for name in ("epochs", "batch")}
        for name, number in (checked | {"seed": seed_of(self.seed)}).items():
            object.__setattr__(self, name, number)
        names = " or ".join(f"convc.{c.__name__}(...)" for c in OPTIMIZERS.values())
        instance(self.optimizer, tuple(OPTIMIZERS.values()), f"an optimizer is {names}")
        if self.early_stop is not None:
            whole(self.early_stop, "the epochs of early stopping", 1, remedy="give another --early-stop")
        if self.new_head and self.weights is None:
            raise RunError("a new head is one of loaded weights, and none are loaded; add --weights FILE")
        self.rates()
        object.__setattr__(self, "augment", augmentation_text(self.augment))

    def rates(self) -> Schedule:
        return schedule(self.schedule, self.lr, self.epochs)

    @property
    def lr(self) -> float:
        """The learning rate of the optimizer, which each of OPTIMIZERS has."""
        return float(self.optimizer.lr)  # type: ignore[attr-defined]

    def settings(self) -> dict[str, object]:
        """All that the numbers depend on. More epochs may be asked for later, unless the rates depend on them.

        Raises DataError where the weights to begin with cannot be read.
        """
        optimizer = {"optimizer": type(self.optimizer).__name__} | asdict(self.optimizer)
        names = ("model", "data", "schedule", "batch", "seed")
        rest = {name: getattr(self, name) for name in names} | {"target": kind_of(self.target)}
        rest["augment"] = self.augment or None
        rest |= {"freeze": list(self.freeze) or None, "new head": self.new_head or None, "weights": None}
        if self.weights is not None:
            rest["weights"] = hashlib.sha256(read_whole(Path(self.weights), "weights from ")).hexdigest()[:16]
        return rest | optimizer | ({"epochs": self.epochs} if depends_on_epochs(self.schedule) else {})


@dataclass(frozen=True)
class TrainResult:
    """The history; the final parameters, and those of the best epoch, on the test split, and where they are.

    `best_epoch` is that of the lowest validation loss, the first of several. `stopped`: the run ended before its last
    epoch, because the validation loss no longer fell.
    """

    history: tuple[TrainRecord, ...]
    test: Metrics
    weights: Path
    best_epoch: int
    best_test: Metrics
    best_weights: Path
    stopped: bool


def run_training(
    plan: TrainPlan, module: Module, dataset: Dataset, out: Path | str, *, resume: bool, watch: Watch | None = None
) -> TrainResult:
    """Train `module` on `dataset` (as loaded; normalised here) and write the files above into `out`.

    With `resume`, goes on after the last epoch there; all files come out as from an unbroken run. A run that is refused
    before its first epoch leaves no settings. Raises DataError where `out` holds a run and `resume` is False, or the
    other way round, or one with other settings, and where the weights to begin with do not fit; RunError where the
    loss is no longer a number.
    """
    out = Path(out)
    if resume and not os.path.lexists(out / SETTINGS):
        raise DataError(f"{out} holds no run to go on with; leave out --resume, or choose another --out")
    with folder_lock(out):
        return _Run(plan, module, dataset, out, watch or Watch()).run(resume)


class _Run:
    def __init__(self, plan: TrainPlan, module: Module, dataset: Dataset, out: Path, watch: Watch) -> None:
        self.plan, self.module, self.out, self.watch = plan, module, out, watch
        if plan.freeze:
            module.freeze(*plan.freeze)
        self.settings = plan.settings() | fingerprints(module, dataset)
        self.dataset = dataset.normalized()
        self.about = ModelInfo.of(self.dataset, plan.model)
        self.history, self.checkpoint = out / "history.csv", out / "checkpoint" / "train.safetensors"
        self.weights, self.best_weights = out / "weights.safetensors", out / "weights_best.safetensors"
        self.name = run_name("train", self.settings)
        self.records: list[TrainRecord] = []

    def run(self, resume: bool) -> TrainResult:
        start = self._claim(resume)
        try:
            trainer = self.trainer
            self._begin_with(start)
        except ConvcError:
            if not resume:
                (self.out / SETTINGS).unlink(missing_ok=True)
            raise
        if not self._stopped():
            self.watch.begin(self.plan.lr, start, self.plan.epochs - start)
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
                augment=Augmentation.parse(self.plan.augment) if self.plan.augment else None,
            )
            self.watch.end()
        return self._finish()

    def _begin_with(self, start: int) -> None:
        """Parameters, state and best weights as after epoch `start`."""
        store, path = self.module.store, self.plan.weights
        self.module.reset(self.plan.seed)
        if start:
            store.load(self.checkpoint)
            self._keep_best()
        elif path is not None:
            loaded = store.load(path, strict=False, shapes=False)
            store.zero_state()
            if loaded.reshaped and not self.plan.new_head:
                shapes = {n: list(store[n].shape) for n in loaded.reshaped}
                raise DataError(
                    f"{path} has other shapes than the model for {named(f'{n} {s}' for n, s in shapes.items())}; add "
                    "--new-head to begin these with first values, or take the model that the weights are of"
                )
            self.watch.loaded(Path(path), loaded)

    def _finish(self) -> TrainResult:
        """The weights and the curves of a run that is over, and its measures on the test split."""
        from convc.report.training_figures import write_training_figures  # here: Matplotlib takes its time

        store, evaluation, best = self.module.store, self.trainer.evaluation, best_epoch(self.records)
        last = self.records[-1].epoch
        test = best_test = evaluate(evaluation, self.dataset.test)
        if best != last:
            kept = store.snapshot()
            store.load(self.best_weights)
            best_test = evaluate(evaluation, self.dataset.test)
            store.restore(kept)
        write_train_history(self.history, self.records, test.accuracy)
        save_weights(self.weights, store, self.name, last, self.about)
        curves = columns_of(self.records)
        write_training_figures(
            self.out,
            [record.epoch for record in self.records],
            curves["train_loss"],
            curves["validation_loss"],
            curves["validation_accuracy"],
            curves["learning_rate"],
            best,
        )
        stopped = last < self.plan.epochs
        return TrainResult(tuple(self.records), test, self.weights, best, best_test, self.best_weights, stopped)

    def _stopped(self) -> bool:
        """Whether the validation loss has not fallen for as many epochs as the plan waits."""
        patience = self.plan.early_stop
        return bool(self.records) and patience is not None and len(self.records) - best_epoch(self.records) >= patience

    def _keep_best(self) -> None:
        """The best epoch's weights are in their file. Raises DataError where those of an earlier epoch are gone."""
        best = best_epoch(self.records)
        if saved_epoch(self.best_weights, self.name) == best:
            return
        if best != self.records[-1].epoch:
            raise DataError(
                f"{self.best_weights} holds no weights of epoch {best}, the best one, and they cannot be had again; "
                f"delete {self.out} to train it anew, or choose another --out"
            )
        save_weights(self.best_weights, self.module.store, self.name, best, self.about)

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

    def _after_epoch(self, result: EpochResult) -> bool:
        losses = result.train_loss, result.validation.loss
        self.records.append(TrainRecord(result.epoch, result.lr, *losses, result.validation_accuracy))
        write_train_history(self.history, self.records)
        if not result.finite:  # the checkpoint stays at the last epoch that had one
            raise RunError(
                f"training came apart: the loss of epoch {result.epoch} is no number, at learning rate "
                f"{result.lr:g}; try a lower --lr and another --out"
            )
        save_checkpoint(self.checkpoint, self.trainer.step, self.name, result.epoch)
        if best_epoch(self.records) == result.epoch:
            save_weights(self.best_weights, self.module.store, self.name, result.epoch, self.about)
        self.watch.epoch(result, result.validation_accuracy)
        return self._stopped()
