"""A run of a study is trained in slices: pure functions of what is known so far, wherever they are called.

Where a slice ends changes no bit of the run: parameters and the optimizer's state go from one to the next whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from convc.checkpoint import checkpoint_bytes, weights_bytes
from convc.data import Dataset
from convc.data.augment import Augmentation
from convc.model_info import ModelInfo
from convc.report.history import EpochRecord, EpochTiming, RunHistory
from convc.report.refine import should_stop
from convc.schedule import schedule
from convc.train import EpochResult, Trainer, evaluate, fit


@dataclass(frozen=True)
class Payload:
    """What every slice of a study needs: the programs, and the data, normalised."""

    trainer: Trainer
    dataset: Dataset
    about: ModelInfo
    """What the weights say of their model."""


@dataclass(frozen=True)
class Slice:
    """The next part of `run`, which goes on after its epochs so far, and ends with epoch `epochs` at the latest.

    `state` is its checkpoint, and `mark` the name in it. `schedule`, `augment` and `numbers` are the run's; `rivals`,
    the best runs so far, are for a run that may be stopped.
    """

    run: RunHistory
    epochs: int
    state: bytes
    mark: str
    schedule: str
    augment: str
    numbers: Mapping[str, float]
    seconds: float
    """After so long, the epoch in progress is the slice's last."""
    rivals: tuple[RunHistory, ...] = ()


@dataclass(frozen=True)
class SliceResult:
    """The run with its new epochs, how long they took, and its checkpoint after the last.

    `best`: the weights, as a file, of the epoch with the lowest validation loss of the whole run, where that is one
    of the new epochs.
    """

    run: RunHistory
    timings: tuple[EpochTiming, ...]
    state: bytes
    best: bytes | None


def best_epoch(run: RunHistory) -> int:
    """The first epoch with the lowest validation loss; 0 where no loss is a number."""
    losses = [(r.validation_loss, r.epoch) for r in run.epochs if r.finite]
    return min(losses)[1] if losses else 0


def train_slice(payload: Payload, part: Slice, after_batch: Callable[[int], None] | None = None) -> SliceResult:
    """Train on from the state for about as long as the slice says, an epoch at least.

    One that is to be stopped already is not trained. Raises what `fit` raises.
    """
    step, evaluation, dataset = payload.trainer.step, payload.trainer.evaluation, payload.dataset
    store, began = step.parameters, perf_counter()
    run, timings, best = part.run, [], None
    if _stopped(run, part.rivals, dataset):
        return SliceResult(replace(run, stopped=True), (), part.state, None)

    def after_epoch(result: EpochResult) -> bool:
        nonlocal run, best
        accuracy = evaluate(evaluation, dataset.test).accuracy if result.finite else math.nan
        losses = result.train_loss, result.validation.loss
        record = EpochRecord(result.epoch, *losses, result.validation_accuracy, accuracy)
        run = replace(run, epochs=(*run.epochs, record))
        timings.append(EpochTiming(run.name, result.epoch, result.seconds, result.images_per_second))
        if best_epoch(run) == result.epoch:
            best = result.epoch, store.snapshot(store.names("parameter"))
        run = replace(run, stopped=_stopped(run, part.rivals, dataset))
        return run.stopped or perf_counter() - began > part.seconds

    store.from_bytes(part.state, Path(f"the state of {run}"), finite=False)  # of a run that diverged, too
    fit(
        step,
        evaluation,
        dataset,
        lr=schedule(part.schedule, run.lr, part.epochs),
        epochs=part.epochs,
        seed=run.seed,
        start=len(run.epochs),
        numbers=part.numbers,
        after_epoch=after_epoch,
        after_batch=after_batch,
        augment=Augmentation.parse(part.augment) if part.augment else None,
    )
    state = checkpoint_bytes(step, part.mark, len(run.epochs))
    weights = None
    if best is not None:
        epoch, arrays = best
        store.restore(arrays)
        weights = weights_bytes(store, part.mark, epoch, payload.about)
    return SliceResult(run, tuple(timings), state, weights)


def _stopped(run: RunHistory, rivals: tuple[RunHistory, ...], data: Dataset) -> bool:
    return (
        bool(rivals)
        and bool(run.epochs)
        and not run.ended_early
        and should_stop(run, rivals, data.classes, len(data.validation))
    )
