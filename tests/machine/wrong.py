"""Calls that must be refused by one line, and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import convc
from convc import nn
from convc.optim import SGD, Adam
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from tests.machine.nets import CHANNELS, CLASSES, IMAGE

Action = Callable[[], Any]
Data = Mapping[str, Any]
NAN, INF = float("nan"), float("inf")

SEEDS: tuple[Any, ...] = (1.5, 2.0, -1, 2**64, NAN, INF, "1", None, True)


def _with(change: Callable[[Data, int], Data]) -> Callable[[Program, Data, int], Action]:
    """A call with other arrays."""
    return lambda program, data, capacity: lambda: program(**change(data, capacity))


def _number(**numbers: Any) -> Callable[[Program, Data, int], Action | None]:
    """A call with run-time numbers, of a program that has them."""

    def made(program: Program, data: Data, _: int) -> Action | None:
        known = {v.name for v in program.graph.inputs_of("scalar")}
        return (lambda: program(**data, **numbers)) if set(numbers) <= known else None

    return made


def _labels(change: Callable[[Any], Any]) -> Callable[[Program, Data, int], Action | None]:
    def made(program: Program, data: Data, _: int) -> Action | None:
        return (lambda: program(**{**data, "labels": change(data["labels"])})) if "labels" in data else None

    return made


def _too_many(data: Data, capacity: int) -> Data:
    return {name: np.repeat(a[:1], capacity + 1, axis=0) for name, a in data.items()}


def _outputs(out: Callable[[list[Any]], Any]) -> Callable[[Program, Data, int], Action]:
    def made(program: Program, data: Data, _: int) -> Action:
        n = len(data["x"])
        shapes = [[n if v.type.rows is not None and i == 0 else int(e) for i, e in enumerate(v.type.shape)]
                  for v in program.graph.outputs]  # fmt: skip
        return lambda: program(**data, out=out([np.zeros(s, np.float32) for s in shapes]))

    return made


CALLS: dict[str, Callable[[Program, Data, int], Action | None]] = {
    "no arrays": lambda program, data, _: lambda: program(),
    "an array too many": lambda program, data, _: lambda: program(*data.values(), data["x"]),
    "an array by position and by name": lambda program, data, _: lambda: program(*data.values(), x=data["x"]),
    "a name that is not there": lambda program, data, _: lambda: program(**data, z=data["x"]),
    "None for an array": _with(lambda data, _: {**data, "x": None}),
    "text for an array": _with(lambda data, _: {**data, "x": "images"}),
    "objects": _with(lambda data, _: {**data, "x": np.full(np.shape(data["x"]), None)}),
    "complex numbers": _with(lambda data, _: {**data, "x": np.asarray(data["x"]) * 1j}),
    "a list of different lengths": _with(lambda data, _: {**data, "x": [[1.0], [1.0, 2.0]]}),
    "one axis too few": _with(lambda data, _: {**data, "x": data["x"][0]}),
    "a number": _with(lambda data, _: {**data, "x": 1.0}),
    "one column too few": _with(lambda data, _: {**data, "x": data["x"][..., :-1]}),
    "no rows": _with(lambda data, _: {name: a[:0] for name, a in data.items()}),
    "more rows than the capacity": _with(_too_many),
    "lr=None": _number(lr=None),
    "lr=nan": _number(lr=NAN),
    "lr=inf": _number(lr=INF),
    "lr='0.1'": _number(lr="0.1"),
    "lr=[0.1]": _number(lr=[0.1]),
    "momentum=nan": _number(momentum=NAN),
    "seed=1.5": _number(seed=1.5),
    "seed=-1": _number(seed=-1),
    "labels that are fractions": _labels(lambda a: a + 0.5),
    "a label that is no class": _labels(lambda a: a + CLASSES),
    "a negative label": _labels(lambda a: a - CLASSES),
    "a label too few": _labels(lambda a: np.concatenate([a, a])),
    "too few outputs": _outputs(lambda out: []),
    "too many outputs": _outputs(lambda out: [*out, *out]),
    "an output of another dtype": _outputs(lambda out: [a.astype(np.float64) for a in out]),
    "an output of another shape": _outputs(lambda out: [np.zeros((*a.shape, 2), np.float32) for a in out]),
    "a number for an output": _outputs(lambda out: [1.0 for _ in out]),
    "an output that may not be written": _outputs(lambda out: [np.broadcast_to(np.float32(0), a.shape) for a in out]),
}
"""None where the program has no such thing."""

STORES: dict[str, Callable[[ParameterStore], Any]] = {
    "a name that the store does not hold": lambda store: store["nothing"],
    "restoring what it does not hold": lambda store: store.restore({"nothing": np.zeros(1, np.float32)}),
    "loading a file that is not there": lambda store: store.load("not there.safetensors"),
    "loading a file that is no safetensors": lambda store: store.load(__file__),
}


def _compiled(*layers: Any, shape: Any = (2, *IMAGE), **options: Any) -> Any:
    return convc.compile(nn.Sequential(*layers), shape, **options)


def _conv(**attributes: Any) -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, **{"padding": 1, **attributes})


MODELS: dict[str, Action] = {
    "stride=1.5": lambda: _compiled(_conv(stride=1.5)),
    "stride=(1.5, 1)": lambda: _compiled(_conv(stride=(1.5, 1))),
    "stride=0": lambda: _compiled(_conv(stride=0)),
    "stride=-1": lambda: _compiled(_conv(stride=-1)),
    "stride=True": lambda: _compiled(_conv(stride=True)),
    "stride='2'": lambda: _compiled(_conv(stride="2")),
    "stride=None": lambda: _compiled(_conv(stride=None)),
    "padding=(0.5, 0.5)": lambda: _compiled(_conv(padding=(0.5, 0.5))),
    "padding=nan": lambda: _compiled(_conv(padding=NAN)),
    "padding=-1": lambda: _compiled(_conv(padding=-1)),
    "dilation=2.0": lambda: _compiled(_conv(dilation=2.0)),
    "groups=2.0": lambda: _compiled(_conv(groups=2.0)),
    "groups=0": lambda: _compiled(_conv(groups=0)),
    "a kernel of 3.0": lambda: _compiled(nn.Conv2d(CHANNELS, 3, 3.0)),
    "2.0 channels": lambda: _compiled(nn.Conv2d(2.0, 3, 3)),
    "0 filters": lambda: _compiled(nn.Conv2d(CHANNELS, 0, 3)),
    "-1 features": lambda: _compiled(nn.Flatten(), nn.Linear(-1, 3)),
    "1.5 features": lambda: _compiled(nn.Flatten(), nn.Linear(24, 1.5)),
    "a window of 2.5": lambda: _compiled(nn.MaxPool2d(2.5)),
    "a window of 0": lambda: _compiled(nn.AvgPool2d(0)),
    "an output of 1.5": lambda: _compiled(nn.AdaptiveAvgPool2d(1.5)),
    "p=nan": lambda: _compiled(nn.Dropout(NAN)),
    "p=1.5": lambda: _compiled(nn.Dropout(1.5)),
    "p=None": lambda: _compiled(nn.Dropout(None)),
    "slope='0.1'": lambda: _compiled(nn.LeakyReLU("0.1")),
    "axis=1.0": lambda: _compiled(nn.Softmax(1.0)),
    "size=2.5": lambda: _compiled(nn.LocalResponseNorm(2.5)),
    "a class for a layer": lambda: _compiled(_conv(), nn.ReLU),
    "a list of layers": lambda: _compiled([_conv(), nn.ReLU()]),
    "None for a layer": lambda: _compiled(_conv(), None),
    "a function for a layer": lambda: _compiled(np.tanh),
    "a shape of None": lambda: _compiled(_conv(), shape=(None, *IMAGE)),
    "a shape of 1.5": lambda: _compiled(_conv(), shape=(1.5, *IMAGE)),
    "a shape of 0": lambda: _compiled(_conv(), shape=(0, *IMAGE)),
    "a number for a shape": lambda: _compiled(_conv(), shape=4),
    "no shape": lambda: _compiled(_conv(), shape=None),
    "another mode": lambda: _compiled(_conv(), mode="test"),
    "mode=None": lambda: _compiled(_conv(), mode=None),
    "another loss": lambda: _compiled(_conv(), mode="train", loss="hinge"),
    "another target": lambda: _compiled(_conv(), target="tpu"),
    "target=None": lambda: _compiled(_conv(), target=None),
    "a name for an optimizer": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer="adam"),
    "a class for an optimizer": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer=Adam),
    "SGD(lr=-1)": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer=SGD(lr=-1)),
    "SGD(lr=nan)": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer=SGD(lr=NAN)),
    "SGD(momentum=nan)": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer=SGD(momentum=NAN)),
    "nesterov without momentum": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer=SGD(nesterov=True)),
    "Adam(beta2=1.5)": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer=Adam(beta2=1.5)),
    "Adam(lr='0.1')": lambda: _compiled(_conv(), mode="train", loss="mse", optimizer=Adam(lr="0.1")),
    "training without parameters": lambda: _compiled(nn.ReLU(), mode="train", loss="mse"),
    "text for a model": lambda: convc.compile("lenet5", (2, *IMAGE)),
    "None for a model": lambda: convc.compile(None, (2, *IMAGE)),
    "set_num_threads(0)": lambda: convc.set_num_threads(0),
    "set_num_threads(1.5)": lambda: convc.set_num_threads(1.5),
    "set_num_threads(None)": lambda: convc.set_num_threads(None),
}


CASES: list[tuple[str, Any]] = [
    *(("call", name) for name in CALLS),
    *(("store", name) for name in STORES),
    *(("model", name) for name in MODELS),
    *(("seed", seed) for seed in SEEDS),
]


def _graph(layer: nn.Module) -> Any:
    return convc.compile(nn.Sequential(layer), (2, *IMAGE)).ir()


EQUAL: dict[str, tuple[Action, Action]] = {
    "stride": (lambda: _graph(_conv(stride=(2, 1))), lambda: _graph(_conv(stride=(np.int64(2), np.int64(1))))),
    "padding": (lambda: _graph(_conv(padding=2)), lambda: _graph(_conv(padding=np.int64(2)))),
    "groups": (lambda: _graph(_conv(groups=2)), lambda: _graph(_conv(groups=np.int64(2)))),
    "kernel": (
        lambda: _graph(nn.Conv2d(CHANNELS, 2, 3)),
        lambda: _graph(nn.Conv2d(CHANNELS, np.int64(2), np.int64(3))),
    ),
    "window": (lambda: _graph(nn.MaxPool2d(2)), lambda: _graph(nn.MaxPool2d(np.int64(2)))),
}
