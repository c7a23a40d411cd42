"""Models unlike LeNet-5, trained for a few steps: the C target's updates against the float64 interpreter's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import convc
from convc import nn
from convc.ir.interp import interpret
from convc.nn import Module
from convc.optim import Optimizer
from convc.testing import random_inputs

ALLOWED = 1e-4
"""Of a tensor's greatest update, as for LeNet-5."""


def residual() -> Module:
    """Groups, dilation, odd padding, a residual, average pooling that counts its taps, sigmoid and tanh."""
    return nn.Sequential(
        ("conv", nn.Conv2d(2, 4, 3, stride=(2, 1), padding=(1, 0, 2, 1), groups=2)),
        ("act", nn.Tanh()),
        ("res", nn.Residual(("conv", nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False)), ("act", nn.Sigmoid()))),
        ("pool", nn.AvgPool2d((2, 3), 1, (1, 1), count_include_pad=False)),
        ("flat", nn.Flatten()),
        ("fc", nn.Linear(100, 7)),
        name="residual",
    )


def separable() -> Module:
    """Depthwise and pointwise convolutions, overlapping pooling, a stride in place of pooling."""
    return nn.Sequential(
        ("wide", nn.Conv2d(2, 6, 1)),
        ("deep", nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)),
        ("act", nn.ReLU()),
        ("pool", nn.MaxPool2d(3, 2, 1)),
        ("down", nn.Conv2d(6, 5, (2, 3), stride=2, padding=1)),
        ("flat", nn.Flatten()),
        ("fc", nn.Linear(30, 7, bias=False)),
        name="separable",
    )


def perceptron() -> Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(84, 33), nn.ReLU(), nn.Linear(33, 17), nn.Tanh(), nn.Linear(17, 7), name="perceptron"
    )


MODELS: dict[str, Callable[[], Module]] = {"residual": residual, "separable": separable, "perceptron": perceptron}


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("capacity", [3, 20])
@pytest.mark.parametrize("name", MODELS)
def test_three_steps_equal_the_interpreters(name: str, capacity: int, loss: str) -> None:
    optimizer: Optimizer = convc.SGD(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=capacity == 20)
    step = convc.compile(MODELS[name](), (capacity, 2, 7, 6), mode="train", loss=loss, optimizer=optimizer, seed=2)
    graph = step.trace.after("apply_optimizer")
    scalars = {v.name: float(np.float32(optimizer.scalars[v.name])) for v in graph.inputs_of("scalar")}
    before = step.parameters.snapshot()
    state = {k: a.astype(np.float64) for k, a in before.items()}
    for number, rows in enumerate((capacity, 1, capacity - 1)):
        drawn = random_inputs(step.trace.after("input"), rows, seed=number)
        data = {v.name: drawn[v.name] for v in graph.inputs_of("data")}
        found = interpret(graph, {**data, **state, **{k: np.asarray(v) for k, v in scalars.items()}})
        got = step(*(a.astype(np.int32) if k == "labels" else a for k, a in data.items()))
        assert got == pytest.approx(float(found[graph.outputs[0].name]), rel=1e-5)
        state = {k: found[k] for k in state}
    for parameter in step.parameters.names("parameter"):
        wanted = state[parameter] - before[parameter]
        off = np.abs(step.parameters[parameter] - before[parameter] - wanted).max()
        assert off < ALLOWED * np.abs(wanted).max(), parameter


@pytest.mark.parametrize("name", MODELS)
def test_a_model_infers_for_few_and_for_many_rows_the_same(name: str) -> None:
    """Other layouts, tiles and lanes for each capacity, one model: outputs within f32 rounding of each other."""
    model = MODELS[name]()
    x = np.random.default_rng(0).standard_normal((9, 2, 7, 6)).astype(np.float32)
    wide = convc.compile(model, (64, 2, 7, 6), seed=1)(x)
    for capacity in (1, 4, 9):
        program = convc.compile(model, (capacity, 2, 7, 6), seed=1)
        rows = np.concatenate([program(x[i : i + capacity]) for i in range(0, 9, capacity)])
        np.testing.assert_allclose(rows, wide, atol=2e-6 * np.abs(wide).max(), rtol=0)
