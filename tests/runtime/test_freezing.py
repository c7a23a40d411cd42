"""Frozen layers: no gradient, no state, no update; one store for all programs, the same names in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc import nn
from convc.errors import IRError, RunError

Array = npt.NDArray[Any]
TARGETS = ("cpu", "emulator")
rng = np.random.default_rng(0)
X, LABELS = rng.standard_normal((6, 2, 5, 5)).astype(np.float32), rng.integers(0, 3, 6)


def model() -> nn.Sequential:
    return nn.Sequential(
        ("conv1", nn.Conv2d(2, 3, 3)), nn.ReLU(), ("conv2", nn.Conv2d(3, 4, 2)), nn.Tanh(), nn.Flatten(),
        ("fc", nn.Linear(16, 3)), name="net",
    )  # fmt: skip


def trained(net: nn.Module, steps: int = 3, target: str = "cpu", optimizer: Any = None) -> convc.Program:
    optimizer = optimizer or convc.Adam(lr=0.01)
    step = convc.compile(net, (6, 2, 5, 5), mode="train", optimizer=optimizer, target=target)
    for _ in range(steps):
        step(X, LABELS)
    return step


def moved(net: nn.Module, before: dict[str, Array]) -> set[str]:
    return {name for name, array in before.items() if (net.store[name] != array).any()}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (("conv1",), {"conv1.weight", "conv1.bias"}),
        (("conv*",), {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}),
        (("conv2.bias", "fc"), {"conv2.bias", "fc.weight", "fc.bias"}),
        (("*.weight",), {"conv1.weight", "conv2.weight", "fc.weight"}),
        (("conv?",), {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}),
    ],
)
def test_what_is_frozen_stays_and_the_rest_learns(target: str, patterns: tuple[str, ...], frozen: set[str]) -> None:
    net = model()
    net.freeze(*patterns)
    before = trained(net, 0, target).parameters.snapshot()
    step = trained(net, 1, target)
    parameters = set(net.store.names("parameter"))
    assert len(parameters) == 6
    assert moved(net, {n: a for n, a in before.items() if n in parameters}) == parameters - frozen
    state = set(net.store.names("state"))
    assert state == {f"{n}.{k}" for n in parameters - frozen for k in ("m", "v")} | {"adam.step"}
    assert {v.name for v in step.graph.inputs_of("constant")} == frozen
    assert {n for n in parameters if n in step.graph.updates} == parameters - frozen


def test_the_updates_of_the_rest_are_those_without_freezing() -> None:
    free, net = model(), model()
    net.freeze("conv1")
    sgd = convc.SGD(lr=0.1)
    trained(free, 1, optimizer=sgd), trained(net, 1, optimizer=sgd)
    for name in ("conv2.weight", "conv2.bias", "fc.weight", "fc.bias"):
        np.testing.assert_array_equal(net.store[name], free.store[name])


def test_kernels_that_led_only_to_frozen_gradients_are_gone() -> None:
    net = model()
    names = [k.name for k in trained(net, 0).kernels]
    assert any("conv1_wgrad" in n for n in names)
    assert any("conv2_dgrad" in n for n in names)
    net.freeze("conv*")
    names = [k.name for k in trained(net, 0).kernels]
    assert not any("conv" in n and ("grad" in n or "adam" in n or "sum" in n) for n in names), names
    assert not any("fc_dgrad" in n or "tanh_grad" in n or "relu_grad" in n for n in names), names


def test_freezing_takes_effect_at_the_next_compilation_and_can_be_undone() -> None:
    net = model()
    step = trained(net, 0)
    net.freeze("conv1")
    before = net.store.snapshot()
    step(X, LABELS)
    assert "conv1.weight" in moved(net, before)
    before = net.store.snapshot(net.store.names("parameter"))
    trained(net, 1)
    assert "conv1.weight" not in moved(net, before)
    net.freeze()
    trained(net, 1)
    assert "conv1.weight" in moved(net, before)


def test_files_and_other_programs_have_the_same_names(tmp_path: Path) -> None:
    net, other = model(), model()
    net.freeze("conv1")
    trained(net, 2)
    net.store.save(tmp_path / "net.safetensors")
    measure = convc.compile(other, (6, 2, 5, 5), mode="eval")
    loaded = other.store.load(tmp_path / "net.safetensors")
    assert set(loaded.loaded) == set(net.store.names("parameter"))
    assert measure(X, LABELS) == convc.compile(net, (6, 2, 5, 5), mode="eval")(X, LABELS)
    net.reset(0)
    assert net.store["conv1.weight"].any()


def test_a_flag_of_a_module_freezes_all_in_it() -> None:
    inner = nn.Sequential(("a", nn.Conv2d(2, 2, 3, padding=1)), nn.ReLU(), ("b", nn.Conv2d(2, 2, 1)))
    net = nn.Sequential(("body", inner), nn.Flatten(), ("fc", nn.Linear(50, 3)), name="net")
    inner.trainable = False
    assert {v.name for v in trained(net).graph.inputs_of("constant")} == {
        "body.a.weight", "body.a.bias", "body.b.weight", "body.b.bias",
    }  # fmt: skip
    inner.trainable = True
    inner.freeze("a")  # by its own names, wherever it stands
    assert {v.name for v in trained(net).graph.inputs_of("constant")} == {"body.a.weight", "body.a.bias"}


@pytest.mark.parametrize("pattern", ["first", "second"])
def test_a_tied_module_is_frozen_at_all_its_places(pattern: str) -> None:
    tied = nn.Conv2d(2, 2, 3, padding=1)
    net = nn.Sequential(("first", tied), nn.Tanh(), ("second", tied), nn.Flatten(), ("fc", nn.Linear(50, 3)), name="n")
    net.freeze(pattern)
    step = trained(net, 0)
    before = net.store.snapshot()
    step(X, LABELS)
    assert moved(net, before) >= {"fc.weight", "fc.bias"}
    assert not moved(net, {n: before[n] for n in ("first.weight", "first.bias")})


def test_what_cannot_be_frozen_is_one_line() -> None:
    net = model()
    net.freeze("conv1", "cnv2")
    with pytest.raises(IRError) as caught:
        trained(net)
    assert str(caught.value) == (
        "what is frozen is layers, or parameters of layers, but 'cnv2' is none of conv1, conv2, fc; "
        "did you mean 'conv2'?"
    )
    with pytest.raises(IRError, match="freeze takes names of layers, such as 'conv1'"):
        net.freeze(3)  # type: ignore[arg-type]
    net.freeze("*")
    with pytest.raises(RunError, match="and net has only frozen ones; freeze fewer, or take mode 'eval'"):
        trained(net)
    convc.compile(net, (6, 2, 5, 5))  # nothing else is touched by it
