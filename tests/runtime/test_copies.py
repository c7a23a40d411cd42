"""Programs, stores and networks pickled and copied: what belongs together stays so, what is copied is apart."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convc
from convc import nn

TARGETS = ("cpu", "emulator")
rng = np.random.default_rng(0)
X, LABELS = rng.standard_normal((4, 1, 6, 6)).astype(np.float32), np.arange(4) % 3


def model() -> nn.Sequential:
    layers = ("conv", nn.Conv2d(1, 2, 3)), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25), ("fc", nn.Linear(32, 3))
    return nn.Sequential(*layers, name="net")


def trained(net: nn.Module, steps: int = 2, **more: Any) -> convc.Program:
    step = convc.compile(net, (4, 1, 6, 6), mode="train", optimizer=convc.Adam(lr=0.01), seed=2**40 + 1, **more)
    for _ in range(steps):
        step(X, LABELS)
    return step


def everything(store: Any) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in store.snapshot().items()}


def again(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


def goes_on_alike(step: convc.Program, other: convc.Program) -> None:
    """As one would without the other: neither sees what the other does."""
    before = everything(other.parameters)
    assert before == everything(step.parameters)
    losses = [step(X, LABELS, lr=0.1) for _ in range(2)]
    assert everything(other.parameters) == before
    assert [other(X, LABELS, lr=0.1) for _ in range(2)] == losses
    assert everything(other.parameters) == everything(step.parameters) != before


@pytest.mark.parametrize("make", [again, copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_train_step_goes_on_as_it_would_have(target: str, make: Any) -> None:
    step = trained(model(), target=target)
    other = make(step)
    assert (other.target, other.ir(), str(other.graph)) == (target, step.ir(), str(step.graph))
    assert [k.source for k in other.kernels] == [k.source for k in step.kernels]
    assert {s.array.ctypes.data % 64 for s in map(other.parameters.slot, other.parameters)} == {0}
    goes_on_alike(step, other)


@pytest.mark.parametrize("make", [again, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_what_is_taken_together_belongs_together(make: Any) -> None:
    net = model()
    step = trained(net)
    evaluation = convc.compile(net, (4, 1, 6, 6), mode="eval")
    other, other_step, other_evaluation = make((net, step, evaluation))
    assert other.store is other_step.parameters is other_evaluation.parameters
    assert other.store is not net.store
    before, same = other_evaluation(X, LABELS), evaluation(X, LABELS)
    assert before == same
    goes_on_alike(step, other_step)
    assert evaluation(X, LABELS) == other_evaluation(X, LABELS) != before
    compiled = convc.compile(other, (4, 1, 6, 6), mode="eval", seed=99)  # its modules know their parameters
    assert compiled(X, LABELS) == other_evaluation(X, LABELS)
    assert np.shares_memory(compiled.parameters["fc.weight"], other.store["fc.weight"])
    part = convc.compile(other.layers[-1][1], (4, 32))
    assert np.shares_memory(part.parameters["weight"], other.store["fc.weight"])


@pytest.mark.parametrize("make", [again, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_network_and_a_store_alone(make: Any) -> None:
    net = model()
    fresh = make(net)  # before it was ever compiled
    assert list(fresh.store) == []
    step = trained(net)
    other, store = make(net), make(net.store)
    assert everything(store) == everything(other.store) == everything(net.store)
    assert store.names("state") == net.store.names("state")
    goes_on_alike(step, trained(other, 0))
    store["fc.bias"][...] = 0
    assert not (net.store["fc.bias"] == 0).all()
    assert store.version > 0


def test_tied_modules_stay_tied() -> None:
    layer = nn.Linear(5, 5)
    net = again(nn.Sequential(("a", layer), nn.Tanh(), ("b", layer)))
    convc.compile(net, (4, 5))
    assert list(net.store) == ["a.weight", "a.bias"]
    other = copy.deepcopy(net)
    assert other.layers[0][1] is other.layers[2][1]
    convc.compile(other, (4, 5), seed=5)
    np.testing.assert_array_equal(other.store["a.weight"], net.store["a.weight"])
    assert list(other.store) == ["a.weight", "a.bias"]


def test_expressions_that_nest_deeply() -> None:
    net = nn.Sequential(*[nn.Sigmoid() for _ in range(150)])
    program = convc.compile(net, (4, 3))
    x = X.reshape(-1)[:12].reshape(4, 3)
    for other in (again(program), copy.deepcopy(program), copy.deepcopy(again(net))):
        found = other if isinstance(other, convc.Program) else convc.compile(other, (4, 3))
        np.testing.assert_array_equal(found(x), program(x))


@pytest.mark.parametrize("optimizer", [convc.SGD(), convc.SGD(momentum=0.9, nesterov=True), convc.Adam()], ids=repr)
def test_every_mode_of_a_zoo_model(optimizer: Any) -> None:
    net = convc.models.lenet5()
    programs = [
        convc.compile(net, (2, 1, 28, 28), mode=mode, optimizer=optimizer)  # type: ignore[arg-type]
        for mode in ("train", "eval", "infer")
    ]
    x = rng.uniform(0, 1, (2, 1, 28, 28)).astype(np.float32)
    for program, other in zip(programs, again(programs), strict=True):
        inputs = [x, [1, 2]][: len(program.graph.inputs_of("data"))]
        np.testing.assert_array_equal(other(*inputs), program(*inputs))


OTHER = """
import pickle, sys, numpy as np
net, step, x, labels = pickle.load(open(sys.argv[1], "rb"))
losses = [step(x, labels) for _ in range(3)]
pickle.dump((losses, net.store.snapshot()), open(sys.argv[2], "wb"))
"""


def test_another_process_goes_on(tmp_path: Path) -> None:
    net = convc.models.lenet5()
    step = convc.compile(net, (4, 1, 28, 28), mode="train", optimizer=convc.Adam(), target="cpu")
    x, labels = rng.uniform(0, 1, (4, 1, 28, 28)).astype(np.float32), np.arange(4)
    step(x, labels)
    given, back = tmp_path / "given", tmp_path / "back"
    given.write_bytes(pickle.dumps((net, step, x, labels)))
    subprocess.run([sys.executable, "-c", OTHER, str(given), str(back)], check=True, timeout=300)
    losses, arrays = pickle.loads(back.read_bytes())
    assert losses == [step(x, labels) for _ in range(3)]
    assert {name: array.tobytes() for name, array in arrays.items()} == everything(net.store)
