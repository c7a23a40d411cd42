"""Runs made of curves, for the tests of verdicts and recommendations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from convc.report.history import EpochRecord, RunHistory, Setting
from convc.report.verdict import Outcome, judge

Curve = Sequence[float] | np.ndarray
CHANCE_LOSS = float(np.log(10))


def run(train: Curve, validation: Curve, accuracy: Curve, lr: float = 0.01, seed: int = 0) -> RunHistory:
    """The test accuracy is that of validation."""
    rows = enumerate(zip(train, validation, np.clip(accuracy, 0, 1)), start=1)
    records = tuple(EpochRecord(e, float(t), float(v), float(a), float(a)) for e, (t, v, a) in rows)
    return RunHistory(Setting(lr), seed, records)


def first(made: RunHistory, epochs: int) -> RunHistory:
    return replace(made, epochs=made.epochs[:epochs])


def outcome(made: RunHistory) -> Outcome:
    return judge(made, 10).outcome


def shape(name: str, epochs: int, delay: int = 0) -> RunHistory:
    """A smooth run over `epochs`, its time scaled to them, after `delay` epochs in which nothing changes."""
    x = np.maximum(np.arange(epochs) - delay, 0) / (epochs - delay)  # [E], 0 to 1
    fall, slow = np.exp(-x / 0.06), np.exp(-x / 0.7)
    curves = {
        "converges": (0.05 + 2.25 * fall, 0.1 + 2.2 * fall, 0.97 - 0.87 * fall),
        "overfits": (0.002 + 2.3 * fall, 0.1 + 2.2 * fall + 0.15 * np.maximum(x - 0.25, 0), 0.97 - 0.87 * fall),
        "improves": (2.3 * slow, 2.3 * slow, 0.97 - 0.87 * slow),
        "collapses": (
            np.where(x < 0.7, 0.05 + 2.25 * fall, 2.31),
            np.where(x < 0.7, 0.1 + 2.2 * fall, 2.31),
            np.where(x < 0.7, 0.97 - 0.87 * fall, 0.1),
        ),
        "at chance": (np.full(epochs, 2.31), np.full(epochs, 2.31), np.full(epochs, 0.1)),
    }
    return run(*curves[name])


def noisy(made: RunHistory, rng: np.random.Generator, images: int = 500, *, loss: float) -> RunHistory:
    """Another draw of `made`: accuracy as on images drawn anew for every epoch, and normal noise on the logs of losses,
    of standard deviation `loss` in validation and a third of it in training.
    """
    records = tuple(
        replace(
            r,
            train_loss=r.train_loss * float(np.exp(loss / 3 * rng.normal())),
            validation_loss=r.validation_loss * float(np.exp(loss * rng.normal())),
            validation_accuracy=rng.binomial(images, r.validation_accuracy) / images,
        )
        for r in made.epochs
    )
    return replace(made, epochs=records)


@cache
def recorded() -> dict[tuple[float, int], RunHistory]:
    """(learning rate, seed) -> LeNet-5 on mnist5k over 60 epochs, by `benchmarks/study_statistics.py record`."""
    with np.load(Path(__file__).parent / "recorded_runs.npz") as file:
        rates, seeds, figures = (file[name] for name in ("rates", "seeds", "figures"))
    return {
        (float(lr), int(seed)): RunHistory(Setting(float(lr)), int(seed), _records(figures[i, j]))
        for i, lr in enumerate(rates)
        for j, seed in enumerate(seeds)
    }


def _records(figures: np.ndarray) -> tuple[EpochRecord, ...]:
    """[E, 4], in which nan fills the epochs after a run's end."""
    rows = [row for i, row in enumerate(figures) if i == 0 or not np.isnan(figures[i - 1, 0])]
    return tuple(EpochRecord(epoch, *map(float, row)) for epoch, row in enumerate(rows, start=1))
