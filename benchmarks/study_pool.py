"""A pool of training runs for judging the rules of the study: LeNet-5 on mnist5k, many seeds at each learning rate.

A run of 60 epochs is also each shorter run: the first epochs are the same. One file a run, so that training goes on
where it was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import track

import convc
from convc.data import Dataset, Split, load
from convc.nn import Module
from convc.report.history import EpochRecord, RunHistory, Setting, read_history, write_history
from convc.train import EpochResult, Trainer, compile_trainer, evaluate, fit

RATES = (1.0, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
DATA, BATCH, MOMENTUM = "mnist5k", 128, 0.9
CLASSES, IMAGES = 10, 500
"""Classes of mnist5k, and images of its validation split and of its test split."""


@dataclass(frozen=True)
class Lab:
    """What one process trains with: single-threaded programs, compiled once, on normalised data."""

    net: Module
    data: Dataset
    trainer: Trainer


@cache
def lab() -> Lab:
    convc.set_num_threads(1)
    net, data = convc.models.lenet5(), load(DATA)
    optimizer = convc.SGD(momentum=MOMENTUM)
    trainer = compile_trainer(net, data, batch=BATCH, optimizer=optimizer, seed=0, target="cpu")
    return Lab(net, data.normalized(), trainer)


def train_pool(folder: Path, seeds: int, epochs: int, workers: int) -> None:
    """Train what `folder` lacks, seeds outermost, in `workers` processes."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [RunHistory(Setting(lr), seed, ()) for seed in range(seeds) for lr in RATES]
    missing = [run for run in runs if not _path(folder, run).exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        jobs = [executor.submit(_train, folder, run.lr, run.seed, epochs) for run in missing]
        for job in track(as_completed(jobs), total=len(jobs), description="runs"):
            job.result()


def read_pool(folder: Path, seeds: Iterable[int], rates: Sequence[float] = RATES) -> dict[float, list[RunHistory]]:
    """The runs of each rate, by seed, in the order given."""
    wanted = [(lr, seed) for seed in seeds for lr in rates]
    runs = [read_history(_path(folder, RunHistory(Setting(lr), seed, ())))[0] for lr, seed in wanted]
    return {lr: [run for run in runs if run.lr == lr] for lr in rates}


def write_recording(path: Path, pool: dict[float, list[RunHistory]], epochs: int, digits: int = 5) -> None:
    """The pool as one .npz file: `figures` float64 [rates, seeds, epochs, 4], rounded, nan after a run's end."""
    columns = ("train_loss", "validation_loss", "validation_accuracy", "test_accuracy")
    figures = np.full((len(pool), len(next(iter(pool.values()))), epochs, len(columns)), math.nan)
    for i, runs in enumerate(pool.values()):
        for j, run in enumerate(runs):
            rows = [[float(f"{getattr(r, name):.{digits}g}") for name in columns] for r in run.epochs]
            figures[i, j, : len(rows)] = rows
    np.savez_compressed(path, rates=list(pool), seeds=[run.seed for run in next(iter(pool.values()))], figures=figures)


def losses_by_image(lr: float, seed: int, epochs: Sequence[int]) -> dict[int, tuple[np.ndarray, float]]:
    """At each of `epochs`: the loss of every validation image (float64 [N], nats), and the accuracy."""
    found: dict[int, tuple[np.ndarray, float]] = {}
    split, program = lab().data.validation, lab().trainer.evaluation
    singles = [Split(split.images[i : i + 1], split.labels[i : i + 1]) for i in range(len(split))]

    def after(result: EpochResult) -> None:
        if result.epoch in epochs:
            losses = np.array([evaluate(program, single).loss for single in singles])
            found[result.epoch] = losses, result.validation.accuracy

    _fit(lr, seed, max(epochs), after)
    return found


def _path(folder: Path, run: RunHistory) -> Path:
    return folder / f"{run.name}.csv"


def _train(folder: Path, lr: float, seed: int, epochs: int) -> None:
    records: list[EpochRecord] = []

    def after(result: EpochResult) -> None:
        test = evaluate(lab().trainer.evaluation, lab().data.test).accuracy if result.finite else math.nan
        losses = result.train_loss, result.validation.loss
        records.append(EpochRecord(result.epoch, *losses, result.validation_accuracy, test))

    _fit(lr, seed, epochs, after)
    run = RunHistory(Setting(lr), seed, tuple(records))
    write_history(_path(folder, run), [run])


def _fit(lr: float, seed: int, epochs: int, after_epoch: Callable[[EpochResult], None]) -> None:
    lab().net.reset(seed)
    trainer = lab().trainer
    fit(trainer.step, trainer.evaluation, lab().data, lr=lr, epochs=epochs, seed=seed, after_epoch=after_epoch)
