"""Synthetic runs with the shapes that learning rates really give: the same numbers every time."""

from __future__ import annotations

import math

import numpy as np

from convc.report.history import EpochRecord, RunHistory


def run(lr: float, train: np.ndarray, validation: np.ndarray, accuracy: np.ndarray) -> RunHistory:
    rows = enumerate(zip(train, validation, np.clip(accuracy, 0, 1)), start=1)
    return RunHistory(lr, tuple(EpochRecord(e, float(t), float(v), float(a)) for e, (t, v, a) in rows))


def at_chance(lr: float = 1.0, epochs: int = 30, classes: int = 10, seed: int = 0) -> RunHistory:
    noise = np.random.default_rng(seed).normal(size=(3, epochs))
    loss = math.log(classes)
    return run(lr, loss + 0.01 * noise[0], loss + 0.02 + 0.015 * noise[1], 1 / classes + 0.01 * noise[2])


def wobbling(lr: float = 0.1, epochs: int = 30, seed: int = 0) -> RunHistory:
    noise, t = np.random.default_rng(seed).normal(size=(3, epochs)), np.arange(epochs)
    train = (0.04 + 1.6 * np.exp(-1.2 * t)) * np.exp(0.5 * noise[0])
    validation = (0.2 + 0.8 * np.exp(-1.5 * t)) * np.exp(0.28 * noise[1])
    return run(lr, train, validation, 0.955 - 0.25 * np.exp(-1.8 * t) + 0.008 * noise[2])


def overfitting(lr: float = 0.01, epochs: int = 30, seed: int = 0, speed: float = 0.45) -> RunHistory:
    """Converges, then the validation loss creeps up while the training loss goes to zero."""
    noise, t = np.random.default_rng(seed).normal(size=(3, epochs)), np.arange(epochs)
    train = 1.6 * np.exp(-0.55 * speed * t) * np.exp(0.04 * noise[0])
    validation = (0.13 + 0.8 * np.exp(-speed * t) + 0.002 * t) * np.exp(0.03 * noise[1])
    return run(lr, train, validation, 0.97 - 0.25 * np.exp(-speed * t) + 0.002 * noise[2])


def falling(lr: float = 0.001, epochs: int = 30, seed: int = 0) -> RunHistory:
    noise, t = np.random.default_rng(seed).normal(size=(3, epochs)), np.arange(epochs)
    validation = (0.12 + 0.45 * np.exp(-0.045 * t) + 1.6 * np.exp(-0.5 * t)) * np.exp(0.02 * noise[1])
    return run(lr, 0.85 * validation, validation, 0.93 - 0.55 * np.exp(-0.3 * t) + 0.003 * noise[2])


def slow_start(lr: float = 1e-4, epochs: int = 30) -> RunHistory:
    t = np.arange(epochs)
    loss = 2.303 - 0.002 * t
    return run(lr, loss, loss, np.full(epochs, 0.1))


def exploded(lr: float = 1.0, at: int = 3, value: float = math.nan) -> RunHistory:
    good = at_chance(lr, max(at - 1, 1)).epochs[: at - 1]
    return RunHistory(lr, (*good, EpochRecord(at, value, value, 0.1)), ended_early=True)


def study(seed: int = 0, epochs: int = 30) -> list[RunHistory]:
    """The five rates of the usual study."""
    return [
        at_chance(1.0, epochs, seed=seed),
        wobbling(0.1, epochs, seed),
        overfitting(0.01, epochs, seed),
        overfitting(0.005, epochs, seed, speed=0.28),
        falling(0.001, epochs, seed),
    ]
