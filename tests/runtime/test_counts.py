"""Counts of steps: state of an optimizer and of dropout, exact, saved with the rest, and each its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc import nn
from convc.debug import LINES
from convc.errors import DataError, RunError
from convc.ir.interp import interpret
from convc.runtime.program import Program

Array = npt.NDArray[Any]
TARGETS = ("cpu", "emulator")
LAST = 2**31 - 1
rng = np.random.default_rng(0)
X, LABELS = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 3, 6)
ADAM = convc.Adam(lr=0.01)


def model(p: float = 0.0) -> nn.Sequential:
    return nn.Sequential(("fc1", nn.Linear(4, 8)), nn.Tanh(), nn.Dropout(p), ("fc2", nn.Linear(8, 3)), name="net")


def trained(net: nn.Sequential, steps: int, optimizer: Any = ADAM, **more: Any) -> Program:
    step = convc.compile(net, (6, 4), mode="train", optimizer=optimizer, **more)
    for _ in range(steps):
        step(X, LABELS)
    return step


def everything(net: nn.Sequential) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in net.store.snapshot().items()}


def by_file(net: nn.Sequential, fresh: nn.Sequential, path: Path) -> None:
    net.store.save(path, state=True)
    fresh.store.load(path)


def by_names(net: nn.Sequential, fresh: nn.Sequential, path: Path) -> None:
    net.store.save(path, names=list(net.store))
    fresh.store.load(path)


def by_snapshot(net: nn.Sequential, fresh: nn.Sequential, path: Path) -> None:
    fresh.store.restore(net.store.snapshot())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("carry", [by_file, by_names, by_snapshot])
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_a_step_after_a_break_is_the_step_without_one(
    tmp_path: Path, carry: Callable[..., None], p: float, target: str
) -> None:
    steps = 20 if target == "cpu" else 3
    whole = model(p)
    trained(whole, steps + 1, target=target)
    net, fresh = model(p), model(p)
    trained(net, steps, target=target)
    step = trained(fresh, 0, target=target, seed=0)
    carry(net, fresh, tmp_path / "net.safetensors")
    step(X, LABELS)
    assert everything(fresh) == everything(whole)


def test_the_twenty_first_step_of_adam_moves_as_far_as_the_paper_says(tmp_path: Path) -> None:
    """m and v by hand, in float64, from the gradients that the interpreter finds."""
    net, fresh = model(), model()
    trained(net, 20)
    step = trained(fresh, 0)
    by_file(net, fresh, tmp_path / "net.safetensors")
    before = fresh.store.snapshot()
    graph = step.trace.after("autodiff")
    found = interpret(
        graph, {"x": X, "labels": LABELS, **{v.name: before[v.name] for v in graph.inputs_of("parameter")}}
    )
    step(X, LABELS)
    for name, gradient in zip(("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"), list(found.values())[1:]):
        m = 0.9 * before[f"{name}.m"].astype(np.float64) + 0.1 * gradient
        v = 0.999 * before[f"{name}.v"].astype(np.float64) + 0.001 * gradient**2
        move = 0.01 * (m / (1 - 0.9**21)) / (np.sqrt(v / (1 - 0.999**21)) + 1e-8)
        moved = before[name].astype(np.float64) - fresh.store[name]
        # Single operations round by 2^-24 of numbers near move and near the weight, of which the difference is taken.
        np.testing.assert_allclose(moved, move, rtol=1e-5, atol=2**-24 * np.abs(before[name]).max())


@pytest.mark.parametrize("target", TARGETS)
def test_each_optimizer_counts_its_own_steps(target: str) -> None:
    net = model(0.25)
    adam = trained(net, 3, target=target)
    sgd = trained(net, 2, convc.SGD(lr=0.01, momentum=0.9), target=target)
    adam(X, LABELS)
    assert (net.store["adam.step"], net.store["dropout.step"]) == (4, 6)
    assert net.store["adam.step"].dtype == np.int32
    state = set(net.store.names("state"))
    weights = net.store.names("parameter")
    kept = {f"{w}.{kind}" for w in weights for kind in ("m", "v", "velocity")}
    assert state == kept | {"adam.step", "dropout.step"}
    moments = {n: a for n, a in net.store.snapshot().items() if n.endswith((".m", ".v"))}
    sgd(X, LABELS)
    for name, array in moments.items():
        np.testing.assert_array_equal(net.store[name], array)
    assert "step" not in {v.name for v in sgd.graph.inputs_of("scalar")}


def test_no_optimizer_touches_the_state_of_another() -> None:
    """All rules in one store; RMSprop's mean squares are the same with momentum and without."""
    net, seen = model(), dict[str, npt.NDArray[Any]]()
    rules = (ADAM, convc.AdamW(), convc.RMSprop(), convc.SGD(momentum=0.9), convc.SGD())
    owned = {}
    for rule in rules:
        trained(net, 2, rule)
        state = {name: net.store[name].copy() for name in net.store.names("state")}
        owned[type(rule).__name__, rule.rule.name] = set(state) - set(seen)
        for name, array in seen.items():
            np.testing.assert_array_equal(state[name], array, err_msg=f"{name} by {rule}")
        seen = state
    weights = net.store.names("parameter")
    assert owned["AdamW", "adamw"] == {f"{w}.adamw.{k}" for w in weights for k in ("m", "v")} | {"adamw.step"}
    assert owned["RMSprop", "rmsprop"] == {f"{w}.rmsprop.square" for w in weights}
    assert (net.store["adam.step"], net.store["adamw.step"]) == (2, 2)
    trained(net, 1, convc.RMSprop(momentum=0.9))
    fresh = set(net.store.names("state")) - set(seen)
    assert fresh == {f"{w}.rmsprop.velocity" for w in weights}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("start", [0, 2**24, 2**24 + 1, LAST - 2, LAST - 1, LAST])
def test_counts_are_exact_to_the_last_and_stay_there(target: str, start: int) -> None:
    net = model(0.25)
    step = trained(net, 0, target=target)
    for name in ("adam.step", "dropout.step"):
        net.store[name][...] = start
    for i in (1, 2):
        assert np.isfinite(step(X, LABELS))
        assert net.store["adam.step"] == net.store["dropout.step"] == min(start + i, LAST)


def test_masks_follow_the_count() -> None:
    """What the second step drops, a step after a count of 1 drops too; another count drops something else."""
    losses = {}
    for start in (0, 1, 2**24, 2**24 + 1):
        net = model(0.5)
        step = trained(net, 0, convc.SGD(lr=0.0))
        net.store["dropout.step"][...] = start
        losses[start] = [step(X, LABELS) for _ in range(2)]
    assert losses[0][1] == losses[1][0]
    assert losses[2**24][1] == losses[2**24 + 1][0]
    assert len({loss for pair in losses.values() for loss in pair}) == 6


def test_weights_alone_begin_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was trained before: moments and counts are those of the beginning, and the log says so."""
    net, other = model(0.5), model(0.5)
    trained(net, 5)
    path = tmp_path / "weights.safetensors"
    net.store.save(path)
    step, fresh = trained(other, 7), trained(net, 0)
    monkeypatch.setenv("CONVC_DEBUG", str(LINES))
    other.store.load(path)
    assert (
        capsys.readouterr().err == f"convc: {path} holds no dropout.step: state that is not in the file begins at 0\n"
    )
    net.store.zero_state()
    assert everything(other) == everything(net)
    assert step(X, LABELS) == fresh(X, LABELS)
    assert everything(other) == everything(net)


def test_a_step_is_no_number_that_a_call_gives() -> None:
    step = trained(model(0.5), 1)
    with pytest.raises(
        RunError, match=r"^the program has no input step; it has x, labels, seed, lr, beta1, .*weight_decay$"
    ):
        step(X, LABELS, step=0)


def test_reset_and_a_file_of_another_optimizer(tmp_path: Path) -> None:
    net = model()
    trained(net, 4, seed=3)
    net.store.save(tmp_path / "adam.safetensors", state=True)
    net.reset(3)
    first = model()
    trained(first, 0, seed=3)
    assert everything(net) == everything(first)
    sgd = model()
    trained(sgd, 1, convc.SGD(momentum=0.9))
    before = everything(sgd)
    with pytest.raises(DataError, match=r"has adam\.step, .*which the model has not"):
        sgd.store.load(tmp_path / "adam.safetensors")
    assert everything(sgd) == before


def test_the_version_grows_with_all_that_changes_the_arrays(tmp_path: Path) -> None:
    net = model()
    step = trained(net, 0)
    infer = convc.compile(net, (6, 4))
    seen = [net.store.version]

    def grew() -> bool:
        seen.append(net.store.version)
        return seen[-1] > seen[-2]

    infer(X)
    net.store.save(tmp_path / "net.safetensors", state=True)
    kept = net.store.snapshot()
    assert not grew(), "reading changes nothing"
    step(X, LABELS)
    assert grew()
    net.store.load(tmp_path / "net.safetensors")
    assert grew()
    net.store.restore(kept)
    assert grew()
    net.reset(1)
    assert grew()
    net.store.zero_state()
    assert grew()
    net.store["fc1.bias"][...] = 0
    assert grew()
