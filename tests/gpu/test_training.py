"""Train steps on the device against the C target; both compilers, graph and plain launches; a study of one epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import convc
from convc.build import nvcc
from convc.build.nvrtc_library import find_library_file
from convc.data import Augmentation, Dataset, load
from convc.optim import SGD, Adam
from convc.runtime import cuda_feed
from convc.runtime.program import Program
from convc.train import compile_trainer, fit

STEPS = 5


def trained(
    target: str, model: convc.nn.Module, shape: tuple[int, ...], optimizer: SGD | Adam, lr: float = 0.02
) -> tuple[Program, dict[str, np.ndarray], list[float]]:
    """The program after five steps on random data, the last on fewer rows; the first parameters; the losses."""
    step = convc.compile(model, shape, mode="train", optimizer=optimizer, target=target, seed=1)
    before = step.parameters.snapshot()
    draw = np.random.default_rng(0)
    losses = []
    for i in range(STEPS):
        rows = shape[0] if i < STEPS - 1 else max(1, shape[0] - 3)
        x = draw.standard_normal((rows, *shape[1:])).astype(np.float32)
        losses.append(step(x, draw.integers(0, 10, rows).astype(np.int32), lr=lr))
    return step, before, losses


def compare(model: str, shape: tuple[int, ...], optimizer: SGD | Adam, lr: float = 0.02) -> None:
    """The updates of the C target, to 1e-4 of the largest of each parameter."""
    device, _, losses = trained("cuda", getattr(convc.models, model)(), shape, optimizer, lr)
    cpu, before, expected = trained("cpu", getattr(convc.models, model)(), shape, optimizer, lr)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for name in cpu.parameters.names("parameter"):
        update = cpu.parameters[name] - before[name]
        off = np.abs(device.parameters[name] - cpu.parameters[name]).max() / np.abs(update).max()
        assert off < 1e-4, f"{name}: {off:.2g} of the largest update"


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam(eps=1e-3)], ids=["momentum", "adam"])
def test_lenet(optimizer: SGD | Adam, small: bool) -> None:
    compare("lenet5", (4 if small else 64, 1, 28, 28), optimizer)


def test_vgg_small(small: bool) -> None:
    """With dropout, whose bits are the same on every target."""
    if small:
        pytest.skip("too large for the emulator")
    compare("vgg_small", (32, 3, 32, 32), SGD(momentum=0.9), lr=0.005)


COMPILERS = {"nvrtc": find_library_file() is not None, "nvcc": nvcc.find_nvcc() is not None}


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("graph", [True, False], ids=["graph", "plain"])
def test_ways_to_the_same_bits(compiler: str, graph: bool, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One launch after the other, waited for, and all at once as a graph, with either compiler."""
    if not COMPILERS[compiler]:
        pytest.skip(f"{compiler} is not installed")
    monkeypatch.setenv("CONVC_CUDA_COMPILER", compiler)
    shape = (3 if small else 32, 1, 28, 28)
    step, before, losses = trained("cuda", convc.models.lenet5(), shape, SGD(momentum=0.9))
    monkeypatch.setenv("CONVC_CUDA_SYNC", "0" if graph else "1")
    again, _, same = trained("cuda", convc.models.lenet5(), shape, SGD(momentum=0.9))
    assert losses == same
    for name in before:
        assert step.parameters[name].tobytes() == again.parameters[name].tobytes(), name


def digits(small: bool) -> Dataset:
    data = load("mnist5k").normalized()
    cut = {k: s.take(np.arange(8 if small else len(s))) for k, s in data.parts().items()}
    return Dataset("digits", cut["train"], cut["validation"], cut["test"], 10)


@pytest.mark.parametrize("augment", [None, Augmentation.parse("shift:2")], ids=["as they are", "augmented"])
def test_resident_and_streamed_data_give_the_same_bytes(
    augment: Augmentation | None, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits(small)
    ends = []
    for share in (0.5, 0):
        monkeypatch.setattr(cuda_feed, "RESIDENT_SHARE", share)
        cuda_feed._residents.clear()
        module = convc.models.lenet5()
        trainer = compile_trainer(
            module, data, batch=3 if small else 64, optimizer=SGD(momentum=0.9), seed=0, target="cuda"
        )
        results = fit(trainer.step, trainer.evaluation, data, lr=0.01, epochs=1 if small else 2, augment=augment)
        ends.append([r.train_loss for r in results])
        ends[-1] += [module.store[n].tobytes() for n in module.store]
    assert ends[0] == ends[1]


def test_a_study_of_one_epoch(small: bool, tmp_path: Path) -> None:
    """As good as the C target's, to a percent of the images."""
    pytest.importorskip("matplotlib", reason="a study draws with matplotlib")
    pytest.importorskip("safetensors", reason="a study keeps its weights with safetensors")
    from convc.study import StudyPlan, run_study

    data = digits(small)
    ends = {}
    for target in ("cuda", "cpu"):
        plan = StudyPlan(
            data="digits", rates=(0.05, 0.01), seeds=(0,), epochs=1, batch=4 if small else 64, target=target
        )
        result = run_study(plan, convc.models.lenet5(), data, tmp_path / target)
        ends[target] = [run.epochs[-1].test_accuracy for run in result.runs]
    assert np.allclose(ends["cuda"], ends["cpu"], atol=0.01)
