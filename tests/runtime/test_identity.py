"""A module has its parameters once: at several places, in several models, compiled in whatever order."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc import nn
from convc.errors import IRError, RunError
from convc.ir.core import Value

Array = npt.NDArray[Any]
TARGETS = ("cpu", "emulator")
SGD = convc.SGD(lr=0.5)
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal((4, 5)).astype(np.float32)


def trained(net: nn.Module, steps: int = 1, optimizer: Any = SGD, **more: Any) -> convc.Program:
    step = convc.compile(net, (4, 5), mode="train", loss="mse", optimizer=optimizer, **more)
    for _ in range(steps):
        step(X, Y)
    return step


@pytest.mark.parametrize("target", TARGETS)
def test_tied_weights_are_one_array_whose_gradients_add_up(target: str) -> None:
    """Against two layers of equal weights: the tied one moves as far as both together."""
    layer, first, second = (nn.Linear(5, 5) for _ in range(3))
    tied = nn.Sequential(("a", layer), nn.Tanh(), ("b", layer))
    apart = nn.Sequential(("a", first), nn.Tanh(), ("b", second))
    step = trained(tied, 0, target=target)
    trained(apart, 0, target=target)
    assert list(tied.store.names("parameter")) == ["a.weight", "a.bias"]
    before = tied.store.snapshot()
    for name in ("weight", "bias"):
        for place in "ab":
            apart.store[f"{place}.{name}"][...] = before[f"a.{name}"]
    infer, same = (convc.compile(net, (4, 5), target=target) for net in (tied, apart))
    np.testing.assert_array_equal(infer(X), same(X))
    step(X, Y)
    trained(apart, 1, target=target)
    for name in ("weight", "bias"):
        moved = tied.store[f"a.{name}"] - before[f"a.{name}"]
        both = sum(apart.store[f"{place}.{name}"] - before[f"a.{name}"] for place in "ab")
        # each of the differences is of numbers below 1 in f32, and the gradients are sums of 20 products of such
        np.testing.assert_allclose(moved, both, atol=32 * 2**-24)
        assert np.abs(both).max() > 0.01


def test_tied_weights_are_saved_and_reset_once(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    layer = nn.Linear(5, 5)
    net = nn.Sequential(("a", layer), nn.Tanh(), ("b", layer))
    trained(net, 3, convc.Adam())
    net.store.save(tmp_path / "net.safetensors")
    assert set(load_file(tmp_path / "net.safetensors")) == {"a.weight", "a.bias"}
    assert set(net.store.names("state")) == {"adam.step", *(f"a.{n}.{k}" for n in ("weight", "bias") for k in "mv")}
    learnt = net.store.snapshot(["a.weight", "a.bias"])
    net.reset(7)
    fresh = nn.Sequential(("a", nn.Linear(5, 5)))
    convc.compile(fresh, (4, 5), seed=7)
    np.testing.assert_array_equal(net.store["a.weight"], fresh.store["a.weight"])
    net.store.load(tmp_path / "net.safetensors")
    for name, array in learnt.items():
        np.testing.assert_array_equal(net.store[name], array)


def test_equal_modules_are_two_and_an_activation_may_stand_anywhere() -> None:
    act = nn.Tanh()
    net = nn.Sequential(nn.Linear(5, 5), act, nn.Linear(5, 5), act)
    assert net.layers[0][1] == net.layers[2][1]
    convc.compile(net, (4, 5))
    assert list(net.store) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert (net.store["0.weight"] != net.store["2.weight"]).any()


def test_a_module_that_is_tied_must_fit_at_all_places() -> None:
    class Any5(nn.Module):
        def build(self, g: nn.GraphBuilder, x: Value) -> Value:
            weight = g.parameter("weight", (5, int(x.type.shape[1])), 1.0)
            return g.op(convc.ir.ops.contract.Linear(), x, weight)

    layer = Any5()
    with pytest.raises(IRError) as caught:
        convc.compile(nn.Sequential(("a", layer), ("b", layer)), (4, 3))
    assert str(caught.value) == (
        "b: a module has one weight at all its places, but needs [5, 5] here and [5, 3] as %a.weight; make two modules"
    )


def two() -> tuple[nn.Sequential, nn.Sequential]:
    """A model and a part of it."""
    body = nn.Sequential(("fc1", nn.Linear(5, 5)), nn.Tanh())
    return nn.Sequential(("body", body), ("head", nn.Linear(5, 5)), name="net"), body


@pytest.mark.parametrize("targets", [("cpu", "cpu"), ("emulator", "cpu"), ("cpu", "emulator")])
@pytest.mark.parametrize("first", ["parent", "child"])
def test_a_part_that_is_compiled_alone_is_the_part(first: str, targets: tuple[str, str]) -> None:
    parent_first(first == "parent", *targets)


def parent_first(whole_first: bool, of_parent: str, of_child: str) -> None:
    """Both read and train the same arrays; who is compiled second brings no weights and no seed of its own."""
    parent, child = two()
    order = [(parent, of_parent, 1), (child, of_child, 2)]
    for net, target, seed in order if whole_first else reversed(order):
        convc.compile(net, (4, 5), target=target, seed=seed)
        start = (child if not whole_first else parent).store.snapshot()
    name = "body.fc1.weight" if whole_first else "fc1.weight"
    np.testing.assert_array_equal(start[name], parent.store["body.fc1.weight"])
    np.testing.assert_array_equal(child.store["fc1.weight"], parent.store["body.fc1.weight"])
    assert np.shares_memory(child.store["fc1.weight"], parent.store["body.fc1.weight"])
    infer = convc.compile(child, (4, 5), target=of_child)
    before, version = infer(X), child.store.version
    trained(parent, 2, target=of_parent)
    after = infer(X)
    weight, bias = (parent.store[f"body.fc1.{n}"] for n in ("weight", "bias"))
    np.testing.assert_allclose(after, np.tanh(X @ weight.T + bias), atol=1e-6)
    assert np.abs(after - before).max() > 0.001
    assert child.store.version > version
    whole = convc.compile(parent, (4, 5), target=of_parent)
    before = whole(X)
    trained(child, 2, target=of_child)
    assert np.abs(whole(X) - before).max() > 0.001
    assert list(child.store.names("parameter")) == ["fc1.weight", "fc1.bias"]


@pytest.mark.parametrize("first", ["parent", "child"])
def test_reset_save_and_load_of_a_part(first: str, tmp_path: Path) -> None:
    parent, child = two()
    for net in (parent, child) if first == "parent" else (child, parent):
        trained(net, 2, convc.Adam())
    assert parent.store["adam.step"] == child.store["adam.step"] == 2, "each model's optimizer has its own state"
    child.store.save(tmp_path / "child.safetensors")
    learnt = child.store.snapshot(child.store.names("parameter"))
    parent.reset(5)
    assert parent.store["adam.step"] == 0
    alone, _ = two()
    convc.compile(alone, (4, 5), seed=5)
    for name in alone.store:
        np.testing.assert_array_equal(parent.store[name], alone.store[name])
    np.testing.assert_array_equal(child.store["fc1.weight"], alone.store["body.fc1.weight"])
    child.store.load(tmp_path / "child.safetensors")
    for name, array in learnt.items():
        np.testing.assert_array_equal(parent.store[f"body.{name}"], array)
    np.testing.assert_array_equal(parent.store["head.weight"], alone.store["head.weight"])
    child.reset(6)
    np.testing.assert_array_equal(parent.store["body.fc1.bias"], child.store["fc1.bias"])


def test_one_module_in_two_models() -> None:
    shared = nn.Linear(5, 5)
    one, two = (nn.Sequential((name, shared), ("head", nn.Linear(5, 5))) for name in ("stem", "trunk"))
    trained(one, 1, seed=1)
    before = one.store.snapshot()
    trained(two, 1, seed=2)
    np.testing.assert_array_equal(one.store["stem.weight"], two.store["trunk.weight"])
    assert (one.store["stem.weight"] != before["stem.weight"]).any()
    np.testing.assert_array_equal(one.store["head.weight"], before["head.weight"])


def test_models_that_were_compiled_apart_may_be_joined() -> None:
    left, right = nn.Linear(5, 5), nn.Linear(5, 5)
    programs = [convc.compile(layer, (4, 5), seed=i) for i, layer in enumerate((left, right))]
    both = nn.Sequential(("left", left), ("right", right))
    whole = convc.compile(both, (4, 5), seed=9)
    np.testing.assert_array_equal(whole(X), programs[1](programs[0](X)))
    with both.store.locked():
        assert left.store._lock._last() is right.store._lock._last() is both.store._lock._last()
    trained(both)
    np.testing.assert_array_equal(whole(X), programs[1](programs[0](X)))


def test_a_name_stands_for_one_module() -> None:
    net = nn.Sequential(("a", nn.Linear(5, 5)), ("b", nn.Linear(5, 5)))
    convc.compile(net, (4, 5))
    net.layers = [("a", net.layers[1][1]), ("b", net.layers[0][1])]
    before = net.store.snapshot()
    with pytest.raises(RunError) as caught:
        convc.compile(net, (4, 5))
    assert str(caught.value) == (
        "a name stands for one module's parameter, but a.weight was another's when this model was compiled before; "
        "make a new model of its layers"
    )
    turned = nn.Sequential(*net.layers)
    convc.compile(turned, (4, 5))
    np.testing.assert_array_equal(turned.store["a.weight"], before["b.weight"])


def test_layers_that_a_model_makes_anew_in_each_build_keep_their_weights() -> None:
    class Net(nn.Module):
        def build(self, g: nn.GraphBuilder, x: Value) -> Value:
            for _ in range(2):
                x = nn.Linear(5, 5).build(g, x)
            return x

    net = Net()
    step = trained(net, 0)
    infer = convc.compile(net, (4, 5))
    assert list(net.store) == ["weight", "bias", "weight_1", "bias_1"]
    before = infer(X)
    step(X, Y)
    assert (infer(X) != before).any()


def test_a_class_may_extend_the_build_of_its_base() -> None:
    """What it adds is one module's: names are counted on, and both are one layer when it is applied twice."""

    class Scaled(nn.Linear):
        def build(self, g: nn.GraphBuilder, x: Value) -> Value:
            weight = g.parameter("weight", (5, 5), 1.0)
            return super().build(g, g.op(convc.ir.ops.contract.Linear(), x, weight))

    layer = Scaled(5, 5)
    net = nn.Sequential(("a", layer), ("b", layer))
    convc.compile(net, (4, 5))
    assert list(net.store) == ["a.weight", "a.weight_1", "a.bias"]


def test_a_copy_of_a_layer_is_another_layer() -> None:
    layer = nn.Linear(5, 5)
    net = nn.Sequential(("a", layer))
    convc.compile(net, (4, 5))
    twin = copy.deepcopy(layer)
    assert layer == twin
    both = nn.Sequential(("a", layer), ("b", twin))
    trained(both)
    assert np.shares_memory(both.store["a.weight"], net.store["a.weight"])
    assert not np.shares_memory(both.store["b.weight"], net.store["a.weight"])
