"""Tiny data and a tiny model: a whole study takes a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc import nn, set_num_threads
from convc.data import Dataset, Split
from convc.optim import SGD, Adam
from convc.runtime import pool
from convc.study import StudyWatch
from convc.train import Trainer, Watch, compile_trainer

MODEL = """
from convc import nn

def tiny():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
"""


def make_tiny(classes: int = 3) -> nn.Sequential:
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, classes)
    return nn.Sequential(*layers)


def make_split(rows: int, seed: int) -> Split:
    """Images of which one of three bands is bright: learnt within an epoch or two."""
    labels = np.arange(rows, dtype=np.int32) % 3
    images = np.random.default_rng(seed).normal(0, 0.3, (rows, 1, 6, 6)).astype(np.float32)
    for row, label in enumerate(labels):
        images[row, 0, 2 * label : 2 * label + 2] += 1
    return Split(images, labels)


@pytest.fixture
def tiny() -> Callable[..., nn.Sequential]:
    return make_tiny


@pytest.fixture(scope="session")
def bands() -> Dataset:
    """44 images to train on: with a batch of 16, the last one has 12."""
    return Dataset("bands", make_split(44, 0), make_split(18, 1), make_split(21, 2), 3)


@pytest.fixture(scope="session")
def sgd(bands: Dataset) -> tuple[nn.Sequential, Trainer]:
    """A model and its programs, shared by tests that reset it first."""
    module = make_tiny()
    return module, compile_trainer(module, bands, batch=16, optimizer=SGD(momentum=0.9), seed=0)


@pytest.fixture(scope="session")
def shared_model() -> nn.Sequential:
    return make_tiny()


@pytest.fixture(scope="session")
def compiled() -> dict[Any, Trainer]:
    return {}


@pytest.fixture
def model(shared_model: nn.Sequential, compiled: dict[Any, Trainer], monkeypatch: pytest.MonkeyPatch) -> nn.Sequential:
    """One model for many runs, whose programs are compiled once for each optimizer; runs find it as others left it."""

    def once(module: nn.Module, dataset: Dataset, *, batch: int, optimizer: SGD | Adam, **rest: Any) -> Trainer:
        key = id(module), batch, optimizer
        if key not in compiled:
            compiled[key] = compile_trainer(module, dataset, batch=batch, optimizer=optimizer, **rest)
        return compiled[key]

    monkeypatch.setattr("convc.training_run.compile_trainer", once)
    monkeypatch.setattr("convc.study.engine.compile_trainer", once)
    return shared_model


@pytest.fixture
def files(bands: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the data as bands.npz and the model as model.py:tiny."""
    monkeypatch.chdir(tmp_path)
    parts = {"train": bands.train, "val": bands.validation, "test": bands.test}
    arrays = {f"x_{k}": s.images for k, s in parts.items()} | {f"y_{k}": s.labels for k, s in parts.items()}
    np.savez(tmp_path / "bands.npz", **arrays)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    monkeypatch.setattr(pool, "_chosen", None)  # put back at the end
    return set_num_threads


class Interrupter(Watch, StudyWatch):
    """Keeps count of what it is told, and presses Ctrl-C at the `at`-th event of one kind."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        self.kind, self.at = kind, at
        self.told: list[str] = []

    def _tell(self, kind: str) -> None:
        self.told.append(kind)
        if kind == self.kind and self.told.count(kind) == self.at:
            raise KeyboardInterrupt

    def compiling(self, *_: object) -> None:
        self._tell("compiling")

    def begin(self, *_: object) -> None:
        self._tell("begin")

    def batch(self, *_: object) -> None:
        self._tell("batch")

    def epoch(self, *_: object) -> None:
        self._tell("epoch")

    def end(self, *_: object) -> None:
        self._tell("end")


@pytest.fixture
def interrupter() -> type[Interrupter]:
    return Interrupter
