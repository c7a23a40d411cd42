"""Five train steps on any target, and how near the updates of two targets are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import convc
from convc.data import load
from convc.optim import Optimizer
from convc.runtime.program import Program

STEPS = 5
MOMENTUM = convc.SGD(momentum=0.9)
Parameters = Mapping[str, np.ndarray]


def lenet(
    target: str, batch: int, optimizer: Optimizer = MOMENTUM, missing: int = 1
) -> tuple[Program, dict[str, np.ndarray], list[float]]:
    """LeNet-5 after five steps on digits, the last with so many rows missing: program, first parameters, losses."""
    data = load("mnist5k").normalized()
    step = convc.compile(
        convc.models.lenet5(), (batch, 1, 28, 28), mode="train", optimizer=optimizer, target=target, seed=1
    )
    before = step.parameters.snapshot()
    losses = []
    for i in range(STEPS):
        rows = slice(batch * i, batch * (i + 1) - (missing if i == STEPS - 1 else 0))
        losses.append(step(data.train.images[rows], data.train.labels[rows], lr=0.02))
    return step, before, losses


def small_vgg(target: str) -> tuple[Program, dict[str, np.ndarray], list[float]]:
    """The same for a network of convolutions of 3x3, dropout and all, on two random images a step."""
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 1, (STEPS, 2, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, (STEPS, 2))
    step = convc.compile(convc.models.vgg_small(), (2, 3, 32, 32), mode="train", target=target, seed=1)
    before = step.parameters.snapshot()
    return step, before, [step(x, y, lr=0.02) for x, y in zip(images, labels)]


def assert_same_updates(found: Program, expected: Program, before: Parameters) -> None:
    """To 1e-4 of the largest of each parameter."""
    for name in expected.parameters.names("parameter"):
        update = expected.parameters[name] - before[name]
        off = np.abs(found.parameters[name] - expected.parameters[name]).max() / np.abs(update).max()
        assert off < 1e-4, f"{name}: {off:.2g} of the largest update"


def assert_same_bits(found: Program, expected: Program) -> None:
    for name in expected.parameters:
        assert found.parameters[name].tobytes() == expected.parameters[name].tobytes(), name
