"""Training: a model's programs, the fit loop, and evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

import numpy as np

from convc.checks import seed_of, whole
from convc.compiler import compile
from convc.data import Augmentation, Dataset, Split, epoch_order
from convc.errors import DataError
from convc.nn import Module
from convc.optim import Optimizer
from convc.runtime.arguments import label_limits
from convc.runtime.program import Program
from convc.runtime.weights import Loaded
from convc.schedule import Schedule, rates
from convc.sweep import Numbers, Sweep
from convc.table import Table

NO_NUMBERS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Metrics:
    """Over a whole split: the mean loss per image in nats, and how many of `images` were right."""

    loss: float
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """0..1"""
        return self.correct / self.images

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, accuracy {self.accuracy:.2%} ({self.correct} of {self.images})"


@dataclass(frozen=True)
class EpochResult:
    """One epoch of training: `epoch` counts from 1, the loss is the mean per image in nats, `lr` its last batch's rate.

    `seconds` is the wall time of training and validation, `images_per_second` that of training alone. A loss
    that is no number is nan, and so is then every loss measured after it.
    """

    epoch: int
    lr: float
    train_loss: float
    validation: Metrics
    seconds: float
    images_per_second: float

    @property
    def finite(self) -> bool:
        """Whether there is anything left to go on training with."""
        return math.isfinite(self.train_loss) and math.isfinite(self.validation.loss)

    @property
    def validation_accuracy(self) -> float:
        """0..1; nan beside a loss that is nan."""
        return self.validation.accuracy if self.finite else math.nan


class History(list[EpochResult]):
    """The epochs of a run, which show themselves as a table."""

    def table(self) -> Table:
        headings = ("epoch", "learning rate", "train loss", "validation loss", "accuracy", "images/s")
        rows = [
            (
                str(r.epoch),
                f"{r.lr:g}",
                f"{r.train_loss:.4f}",
                f"{r.validation.loss:.4f}",
                f"{r.validation_accuracy:.2%}",
                f"{r.images_per_second:,.0f}",
            )
            for r in self
        ]
        return Table("", headings, rows, headings)

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table().html()


class Watch:
    """Told how a training run goes; every method may stay as it is. What one raises ends the run."""

    def compiling(self, model: str) -> None:
        """The programs of `model` are about to be compiled."""

    def compiled(self, seconds: float) -> None:
        """They are ready."""

    def loaded(self, path: Path, found: Loaded) -> None:
        """A run begins with the weights of a file, and that was found there."""

    def begin(self, lr: float, start: int, epochs_left: int) -> None:
        """A run at rate `lr` goes on after epoch `start`; with those to come, `epochs_left` are left."""

    def batch(self, images: int) -> None:
        """One batch of `images` was trained."""

    def epoch(self, result: EpochResult, accuracy: float) -> None:
        """An epoch is over and safely stored; `accuracy` (0..1) is what its history shows."""

    def end(self) -> None:
        """The run is over."""


@dataclass(frozen=True)
class Trainer:
    """The two programs of one model, which share its parameters, and how long compiling them took."""

    step: Program
    evaluation: Program
    seconds: float


def compile_trainer(
    module: Module, dataset: Dataset, *, batch: int, optimizer: Optimizer, seed: int, target: str = "auto"
) -> Trainer:
    """Compile the train step and the evaluation of `module` for the images of `dataset`, `batch` at a time.

    Raises DataError where the data has more classes than the model tells apart, RunError for a batch below 1
    or a seed that is no 64-bit number, and what `convc.compile` raises.
    """
    batch = check_count("batch", batch)
    seed = seed_of(seed)
    began = perf_counter()
    shape = (batch, *dataset.image_shape)
    step = compile(module, shape, mode="train", optimizer=optimizer, target=target, seed=seed)
    evaluation = compile(module, shape, mode="eval", target=target, seed=seed)
    check_classes(evaluation, dataset)
    return Trainer(step, evaluation, perf_counter() - began)


def check_count(name: str, number: int) -> int:
    """Raises RunError unless the number is a whole one of at least 1; `name` is its option's."""
    return whole(number, name, 1, remedy=f"give another --{name}")


def check_classes(program: Program, dataset: Dataset) -> None:
    """Raises DataError where `dataset` has more classes than the program's model."""
    for known in label_limits(program.trace.stages[0][1]).values():
        if dataset.classes > known:
            raise DataError(
                f"a model must tell apart at least the classes of its data, but {program.graph.name} has {known} "
                f"and {dataset.name} has {dataset.classes}; choose another model"
            )


def evaluate(program: Program, split: Split) -> Metrics:
    """Loss and right answers of a program of mode `eval` over all of `split`, the last partial batch included.

    A loss that is infinite comes back as nan, as every loss here that is no number.
    """
    loss, correct = 0.0, 0.0
    for rows, (mean, right) in Sweep(program, split).run(None):
        loss += mean * rows
        correct += right
    return Metrics(_number_or_nan(loss / len(split)), round(correct), len(split))


def fit(
    step: Program,
    evaluation: Program,
    dataset: Dataset,
    *,
    lr: float | Schedule | Callable[[int], float],
    epochs: int,
    seed: int = 0,
    start: int = 0,
    numbers: Mapping[str, float] = NO_NUMBERS,
    after_epoch: Callable[[EpochResult], bool | None] | None = None,
    after_batch: Callable[[int], None] | None = None,
    augment: Augmentation | None = None,
) -> History:
    """Train for the epochs `start` + 1 .. `epochs`; returns a result for each.

    `step` and `evaluation` are programs of mode `train` and `eval` of one model with cross-entropy; batches
    are as large as `step` takes. Epoch e visits the training images in `epoch_order(n, seed=seed, epoch=e)`
    and is then measured on the validation split. `lr` is a number, a schedule or a function of the epoch, counted
    from 1; `numbers` are further run-time numbers of the step, such as {"momentum": 0.5}. Whoever restores the
    parameters and the optimizer's state after epoch k gets the same bits with `start=k` as an unbroken run. A loss
    that is no number ends the run with that epoch, as does `after_epoch` where it returns True. `after_batch` is
    called with the images trained. With `augment` each epoch trains on its own version of the training images, which
    takes their memory once more and, where data stay on a device, one copy there an epoch.
    Raises RunError for a learning rate that is not positive.
    """
    seed, start = seed_of(seed), whole(start, "start", 0)
    epochs = whole(epochs, "epochs", 0)
    rate = rates(lr)
    sweep = Sweep(step, dataset.train)
    results = History()
    for epoch in range(start + 1, epochs + 1):
        began = perf_counter()
        order = epoch_order(len(dataset.train), seed=seed, epoch=epoch)
        if augment is not None:  # new arrays: those on a device are told apart by which array they are
            sweep.split = augment.split(dataset.train, seed=seed, epoch=epoch)
        batches = -(-len(order) // sweep.capacity)
        given = partial(_numbers_of, {**numbers, "seed": seed}, rate, epoch, batches)
        train_loss = _train_epoch(sweep, order, given, after_batch)
        trained = perf_counter() - began
        validation = (
            evaluate(evaluation, dataset.validation)
            if math.isfinite(train_loss)
            else Metrics(math.nan, 0, len(dataset.validation))
        )
        seconds = perf_counter() - began
        result = EpochResult(
            epoch, rate(epoch, batches - 1, batches), train_loss, validation, seconds, len(order) / trained
        )
        results.append(result)
        stop = after_epoch(result) if after_epoch else None
        if stop or not result.finite:
            break
    return results


def _train_epoch(
    sweep: Sweep,
    order: np.ndarray,
    numbers: Numbers,
    after_batch: Callable[[int], None] | None,
) -> float:
    """Trains on the images in their order; the mean loss of them all, nan as soon as a batch has none.

    The step gets those of `numbers` that it asks for. Where batches run ahead of their results, as on a GPU, more of
    them may have been trained by the time that a loss is nan.
    """
    asked = {v.name for v in sweep.program.graph.inputs_of("scalar")}
    total = 0.0
    for rows, loss in sweep.run(order, lambda batch: {k: v for k, v in numbers(batch).items() if k in asked}):
        if not math.isfinite(loss):
            return math.nan
        total += loss * rows
        if after_batch:
            after_batch(rows)
    return _number_or_nan(total / len(order))


def _numbers_of(
    fixed: Mapping[str, float], rate: Schedule, epoch: int, batches: int, batch: int
) -> Mapping[str, float]:
    return {**fixed, "lr": rate(epoch, batch, batches)}


def _number_or_nan(loss: float) -> float:
    return loss if math.isfinite(loss) else math.nan
