"""Training with dropout: the run's seed reaches the masks, and an interrupted run ends in the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convc import nn
from convc.data import Dataset
from convc.errors import DataError
from convc.nn import Module
from convc.optim import SGD, Adam
from convc.train import Watch, compile_trainer, fit
from convc.training_run import TrainPlan, run_training


def dropping(p: float = 0.25) -> nn.Sequential:
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Dropout(p), nn.GlobalAvgPool(), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(*layers)


def parameters(module: Module) -> bytes:
    return b"".join(module.store[name].tobytes() for name in module.store)


@pytest.mark.parametrize("optimizer", [SGD(lr=0.05), Adam()], ids=["sgd", "adam"])
def test_a_resumed_run_ends_in_the_same_bytes(
    bands: Dataset, tmp_path: Path, interrupter: Callable[..., Watch], optimizer: SGD | Adam
) -> None:
    plan = TrainPlan("dropping", "bands", optimizer, epochs=3, batch=16, seed=2**40 + 3)
    whole = run_training(plan, dropping(), bands, tmp_path / "whole", resume=False)
    with pytest.raises(KeyboardInterrupt):
        run_training(plan, dropping(), bands, tmp_path / "cut", resume=False, watch=interrupter("batch", 5))
    cut = run_training(plan, dropping(), bands, tmp_path / "cut", resume=True)
    assert cut.history == whole.history
    for name in ("history.csv", "weights.safetensors", "checkpoint/train.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_dropout_is_another_model(bands: Dataset, tmp_path: Path) -> None:
    plan = TrainPlan("dropping", "bands", SGD(), epochs=1, batch=16)
    run_training(plan, dropping(), bands, tmp_path, resume=False)
    with pytest.raises(DataError, match=r"a run goes on with the settings it began with, .* model contents"):
        run_training(plan, dropping(0.5), bands, tmp_path, resume=True)


def test_the_seed_of_fit_is_that_of_the_masks(bands: Dataset) -> None:
    """A program that was compiled with another seed draws, trained with this one, what it would have drawn with it."""
    ends = []
    for compiled, trained in ((1, 2), (2, 2), (2, 1)):
        module = dropping()
        trainer = compile_trainer(module, bands, batch=16, optimizer=SGD(), seed=compiled)
        module.reset(0)
        fit(trainer.step, trainer.evaluation, bands, lr=0.1, epochs=2, seed=trained)
        ends.append(parameters(module))
    assert ends[0] == ends[1] != ends[2]
