"""Whole train steps on the stub driver: the C target's updates, the emulator's bits, with and without a graph."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import convc
from convc.data import load
from convc.runtime.program import Program
from tests.stub.driver import Stub

BATCH, STEPS = 2, 5


def trained(target: str) -> tuple[Program, dict[str, np.ndarray], list[float]]:
    """LeNet-5 after five steps on digits, the last on a partial batch: program, first parameters, losses."""
    data = load("mnist5k").normalized()
    step = convc.compile(
        convc.models.lenet5(), (BATCH, 1, 28, 28), mode="train", optimizer=convc.SGD(momentum=0.9), target=target
    )
    before = step.parameters.snapshot()
    losses = []
    for i in range(STEPS):
        rows = slice(BATCH * i, BATCH * (i + 1) - (1 if i == STEPS - 1 else 0))
        losses.append(step(data.train.images[rows], data.train.labels[rows], lr=0.02))
    return step, before, losses


def test_five_steps_of_lenet(stub: Stub) -> None:
    """As near to the C target as f32 sums allow, and the very bits that the emulator target gives."""
    cuda, before, losses = trained("cuda")
    assert not stub.reports
    assert stub.calls("cuGraphLaunch") == STEPS - 1, "the first step is launched one by one"
    cpu, _, expected = trained("cpu")
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for name in cpu.parameters.names("parameter"):
        update = cpu.parameters[name] - before[name]
        off = np.abs(cuda.parameters[name] - cpu.parameters[name]).max() / np.abs(update).max()
        assert off < 1e-4, f"{name}: {off:.2g} of the largest update"
    emulator, _, same = trained("emulator")
    assert losses == same
    for name in emulator.parameters:
        assert cuda.parameters[name].tobytes() == emulator.parameters[name].tobytes(), name


@pytest.mark.slow
def test_five_steps_of_a_small_vgg(stub: Stub) -> None:
    """The same for a network of convolutions of 3x3, dropout and all, on random images."""
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 1, (STEPS, 2, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, (STEPS, 2))
    found = {}
    for target in ("cpu", "emulator", "cuda"):
        step = convc.compile(convc.models.vgg_small(), (2, 3, 32, 32), mode="train", target=target, seed=1)
        before = step.parameters.snapshot()
        losses = [step(x, y, lr=0.02) for x, y in zip(images, labels)]
        found[target] = (step.parameters.snapshot(), losses)
    assert not stub.reports
    (cpu, expected), (emulator, same), (cuda, losses) = found["cpu"], found["emulator"], found["cuda"]
    assert losses == same
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for name, after in cpu.items():
        assert cuda[name].tobytes() == emulator[name].tobytes(), name
        if not name.endswith(".velocity"):
            off = np.abs(cuda[name] - after).max() / np.abs(after - before[name]).max()
            assert off < 1e-4, f"{name}: {off:.2g} of the largest update"


def test_launches_one_by_one_give_the_same_bits(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _, losses = trained("cuda")
    stub.reset()
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    plain, _, again = trained("cuda")
    assert stub.calls("cuGraphLaunch") == 0
    assert losses == again
    for name in graph.parameters:
        assert graph.parameters[name].tobytes() == plain.parameters[name].tobytes(), name
