"""LeNet-5 trained for five steps from the same weights: the C target, the float64 interpreter and PyTorch.

Compared is the update w5 - w0, tensor by tensor: weights themselves would agree to many digits whatever the
gradients were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc.ir.core import Graph
from convc.ir.interp import interpret
from convc.optim import Optimizer
from convc.runtime.program import Program

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
CAPACITY = 20
ROWS = (20, 20, 7, 20, 13)
ALLOWED = 1e-4
"""Of a tensor's greatest update. A sum of n products is off by at most n * 2^-24 of its terms' magnitudes, and
the longest (conv1's weights: 20 * 28 * 28 terms) by far less on average, near sqrt(n) * 2^-24 = 7e-6."""

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": convc.SGD(lr=0.1),
    "momentum": convc.SGD(lr=0.1, momentum=0.9),
    "nesterov": convc.SGD(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": convc.Adam(lr=0.001, eps=1e-3, weight_decay=0.01),
    "adamw": convc.AdamW(lr=0.001, eps=1e-3, weight_decay=0.1),
    "rmsprop": convc.RMSprop(lr=0.001, eps=1e-2, weight_decay=0.01),
    "rmsprop_momentum": convc.RMSprop(lr=0.001, eps=1e-2, momentum=0.9),
    "clipped": convc.SGD(lr=0.1, momentum=0.9, weight_decay=0.01, clip_norm=0.2),
    "clipped adamw": convc.AdamW(lr=0.001, eps=1e-3, clip_norm=0.2),
    "hardly clipped": convc.SGD(lr=0.1, clip_norm=0.3),
}
"""Those that divide by moments with an eps that keeps them from dividing by nothing; Adam's usual one has a test of its
own. The norms of the gradients here are 0.1 to 0.4, above and below the limits."""


def batches() -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    return [(rng.uniform(0, 1, (n, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, n)) for n in ROWS]


@dataclass(frozen=True)
class Run:
    """Weights and state before the first step and after the last, and every step's loss."""

    before: Arrays
    after: Arrays
    losses: list[float]

    def update(self, name: str) -> Array:
        return np.asarray(self.after[name].astype(np.float64) - self.before[name])


@cache
def compiled(optimizer: Optimizer) -> Program:
    return convc.compile(convc.models.lenet5(), (CAPACITY, 1, 28, 28), mode="train", optimizer=optimizer)


@cache
def by_c(optimizer: Optimizer, poisoned: bool = False) -> Run:
    step = compiled(optimizer)
    start = {name: array.copy() for name, array in first_weights(step).items()}
    step.parameters.zero_state()
    step.parameters.restore(start)
    losses = []
    for x, labels in batches():
        if poisoned:  # a full batch of NaN leaves NaN in every padding lane of the arena
            kept = step.parameters.snapshot()
            step(np.full((CAPACITY, 1, 28, 28), np.nan, np.float32), np.zeros(CAPACITY, np.int32))
            step.parameters.restore(kept)
        losses.append(step(x, labels))
    return Run(start, step.parameters.snapshot(), losses)


@cache
def first_weights(step: Program) -> Mapping[str, Array]:
    return step.parameters.snapshot(step.parameters.names("parameter"))


@cache
def by_interpreter(optimizer: Optimizer) -> Run:
    """The same steps on the graph before any optimisation, in float64, with the numbers that C gets in f32."""
    step = compiled(optimizer)
    graph: Graph = step.trace.after("apply_optimizer")
    numbers = {k: np.asarray(np.float32(v), np.float64) for k, v in optimizer.scalars.items()}
    weights = first_weights(step)
    stores = graph.inputs_of("parameter", "state")
    state = {v.name: np.zeros([int(e) for e in v.type.shape]) for v in stores} | {
        k: a.astype(np.float64) for k, a in weights.items()
    }
    losses = []
    for x, labels in batches():
        found = interpret(graph, {"x": x, "labels": labels, **state, **numbers})
        state = {name: found[name] for name in state}
        losses.append(float(found[graph.outputs[0].name]))
    return Run(dict(weights), state, losses)


def by_torch(optimizer: Optimizer, dtype: str) -> Run:
    import torch

    nn, real = torch.nn, getattr(torch, dtype)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ).to(real)  # fmt: skip
    weights = first_weights(compiled(optimizer))
    for p, a in zip(net.parameters(), weights.values(), strict=True):
        p.data.copy_(torch.from_numpy(a.copy()))
    o: Any = optimizer
    if isinstance(optimizer, convc.Adam | convc.AdamW):
        kind = getattr(torch.optim, type(optimizer).__name__)
        rule = kind(net.parameters(), o.lr, (o.beta1, o.beta2), o.eps, o.weight_decay)
    elif isinstance(optimizer, convc.RMSprop):
        rule = torch.optim.RMSprop(net.parameters(), o.lr, o.alpha, o.eps, o.weight_decay, o.momentum)
    else:
        rule = torch.optim.SGD(net.parameters(), o.lr, o.momentum, weight_decay=o.weight_decay, nesterov=o.nesterov)
    losses = []
    for x, labels in batches():
        rule.zero_grad()
        loss = nn.functional.cross_entropy(net(torch.from_numpy(x).to(real)), torch.from_numpy(labels))
        loss.backward()
        if o.clip_norm is not None:
            nn.utils.clip_grad_norm_(net.parameters(), o.clip_norm)
        rule.step()
        losses.append(loss.item())
    after = {name: p.detach().numpy() for name, p in zip(weights, net.parameters(), strict=True)}
    return Run(dict(weights), after, losses)


def assert_same_updates(a: Run, b: Run, names: Sequence[str]) -> None:
    """max|difference| / max|update| of every tensor."""
    off = {n: np.abs(a.update(n) - b.update(n)).max() / np.abs(b.update(n)).max() for n in names}
    assert max(off.values()) < ALLOWED, off
    assert a.losses == pytest.approx(b.losses, rel=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_steps_equal_the_interpreters(name: str) -> None:
    run = by_c(OPTIMIZERS[name])
    exact = by_interpreter(OPTIMIZERS[name])
    assert_same_updates(run, exact, list(run.before))
    for state in set(run.after) - set(run.before):
        off = np.abs(run.after[state] - exact.after[state]).max()
        assert off < ALLOWED * np.abs(exact.after[state]).max(), state
    assert run.losses[-1] != run.losses[0]


@pytest.mark.witness
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_steps_equal_pytorchs(name: str, dtype: str) -> None:
    run = by_c(OPTIMIZERS[name])
    assert_same_updates(run, by_torch(OPTIMIZERS[name], dtype), list(run.before))


@pytest.mark.parametrize("name", ["nesterov", "adam"])
def test_what_an_earlier_batch_left_in_memory_does_not_matter(name: str) -> None:
    clean, poisoned = by_c(OPTIMIZERS[name]), by_c(OPTIMIZERS[name], True)
    assert clean.losses == poisoned.losses
    for key in set(clean.after):
        np.testing.assert_array_equal(clean.after[key], poisoned.after[key], err_msg=key)


@pytest.mark.parametrize(
    "witness", ["interpreter", *(pytest.param(t, marks=pytest.mark.witness) for t in ("float32", "float64"))]
)
def test_adam_with_its_usual_eps(witness: str) -> None:
    """Where a gradient is near 0 its sign is chance, and Adam steps by lr whatever its size: two right programs
    differ there, by at most two steps a step. Such numbers are few, so the updates' norms agree as ever, and so
    do the moments, which are sums of gradients and of their squares."""
    adam = convc.Adam(lr=0.001)
    run = by_c(adam)
    exact = by_interpreter(adam) if witness == "interpreter" else by_torch(adam, witness)
    assert run.losses == pytest.approx(exact.losses, rel=1e-6)
    for name in run.before:
        difference = run.update(name) - exact.update(name)
        assert np.linalg.norm(difference) < ALLOWED * np.linalg.norm(exact.update(name)), name
        assert np.abs(difference).max() <= 2 * len(ROWS) * adam.lr, name
        for moment in ("m", "v") if witness == "interpreter" else ():
            off = np.abs(run.after[f"{name}.{moment}"] - exact.after[f"{name}.{moment}"]).max()
            assert off < ALLOWED * np.abs(exact.after[f"{name}.{moment}"]).max(), (name, moment)
