"""Whole train steps in the emulator: the C target's updates, the same bits again, no report."""

from __future__ import annotations

import numpy as np
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.data import load
from convc.runtime.program import Program

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
BATCH, STEPS = 8, 5
OPTIMIZERS = {"momentum": convc.SGD(momentum=0.9), "adam": convc.Adam(eps=1e-3)}


def trained(target: str, optimizer: convc.SGD | convc.Adam) -> tuple[Program, dict[str, np.ndarray], list[float]]:
    """LeNet-5 after five steps on digits, the last on a partial batch: program, first parameters, losses."""
    data = load("mnist5k").normalized()
    step = convc.compile(
        convc.models.lenet5(), (BATCH, 1, 28, 28), mode="train", optimizer=optimizer, target=target, seed=1
    )
    before = step.parameters.snapshot()
    losses = []
    for i in range(STEPS):
        rows = slice(BATCH * i, BATCH * (i + 1) - (3 if i == STEPS - 1 else 0))
        losses.append(step(data.train.images[rows], data.train.labels[rows], lr=0.02))
    return step, before, losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_five_steps_of_lenet_make_the_updates_of_the_c_target(optimizer: str) -> None:
    cuda, before, losses = trained("emulator", OPTIMIZERS[optimizer])
    cpu, _, expected = trained("cpu", OPTIMIZERS[optimizer])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for name in cpu.parameters.names("parameter"):
        update = cpu.parameters[name] - before[name]
        off = np.abs(cuda.parameters[name] - cpu.parameters[name]).max() / np.abs(update).max()
        assert off < 1e-4, f"{name}: {off:.2g} of the largest update"


@pytest.mark.slow
def test_five_steps_of_a_small_vgg_make_the_updates_of_the_c_target() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 1, (5, 2, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, (5, 2))
    programs = {}
    for target in ("cpu", "emulator"):
        step = convc.compile(convc.models.vgg_small(), (2, 3, 32, 32), mode="train", target=target, seed=1)
        before = step.parameters.snapshot()
        losses = [step(x, y, lr=0.02) for x, y in zip(images, labels)]
        programs[target] = (step.parameters, losses)
    (cpu, expected), (cuda, losses) = programs["cpu"], programs["emulator"]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for name in cpu.names("parameter"):
        off = np.abs(cuda[name] - cpu[name]).max() / np.abs(cpu[name] - before[name]).max()
        assert off < 1e-4, f"{name}: {off:.2g} of the largest update"


def test_the_same_bits_again() -> None:
    first, _, losses = trained("emulator", OPTIMIZERS["momentum"])
    second, _, again = trained("emulator", OPTIMIZERS["momentum"])
    assert losses == again
    for name in first.parameters:
        assert first.parameters[name].tobytes() == second.parameters[name].tobytes(), name


def test_all_updates_are_one_launch() -> None:
    step = convc.compile(convc.models.lenet5(), (BATCH, 1, 28, 28), mode="train", target="emulator")
    updated = set(step.graph.updates.values())
    writers = [x for x in step.executable.source.launches if any(updated & set(k.node.outputs) for k in x.kernels)]
    assert [len(launch.kernels) for launch in writers] == [10]
