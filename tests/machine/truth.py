"""What a model's parameters and state must be, kept beside it, and what its programs must compute: in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.ir.core import Graph, Value
from convc.ir.interp import interpret
from convc.ir.philox import fold_seed
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.testing import error_bound
from convc.testing.trial import LOOSE
from tests.machine.nets import Key, Row, parameters

Array = npt.NDArray[Any]


@dataclass
class Truth:
    """By identity, not by name: `values` of parameters, `state` that optimizers keep of each, `counts` of steps.

    `views`: every store that holds them, with the item and the path by which its names are to be read.
    """

    row: Row
    values: dict[Key, Array] = field(default_factory=dict)
    state: dict[tuple[Key, str], Array] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)

    def copy(self) -> Truth:
        """The same numbers, of which no store is known."""
        same = (dict(self.values), dict(self.state), dict(self.counts))
        return Truth(self.row, *same)

    def forget(self) -> None:
        """State as before the first step."""
        self.state = {k: np.zeros_like(a) for k, a in self.state.items()}
        self.counts = dict.fromkeys(self.counts, 0)


@dataclass
class View:
    """A store, and which parameter each of its names means."""

    store: ParameterStore
    names: Mapping[str, Key]

    def state_of(self, name: str) -> tuple[str, str]:
        """`conv1.weight`, `adamw.m` of conv1.weight.adamw.m; no parameter where a name belongs to none."""
        words = name.split(".")
        for count in range(len(words) - 1, 0, -1):
            if (base := ".".join(words[:count])) in self.names:
                return base, ".".join(words[count:])
        return "", name

    def read(self, truth: Truth) -> None:
        """What has just come into the store is the truth from now on: first values, and state, which is zero."""
        for name in self.store.names("parameter"):
            if self.names[name] not in truth.values:
                truth.values[self.names[name]] = self.store[name].copy()
        for name in self.store.names("state"):
            found = self.store[name]
            base, last = self.state_of(name)
            if base not in self.names:
                truth.counts.setdefault(name, 0)
            elif (self.names[base], last) not in truth.state:
                truth.state[self.names[base], last] = np.zeros_like(found)

    def taken(self, truth: Truth) -> None:
        """After a step, which has been checked: what the store holds is the truth, to the bit."""
        for name in self.store.names("parameter"):
            truth.values[self.names[name]] = self.store[name].copy()
        for name in self.store.names("state"):
            base, last = self.state_of(name)
            if base in self.names:
                truth.state[self.names[base], last] = self.store[name].copy()

    def check(self, truth: Truth) -> None:
        """Every array is what it must be, to the bit; each parameter is there once."""
        names = self.store.names("parameter")
        keys = [self.names[name] for name in names]
        assert len(keys) == len(set(keys)), f"{names} hold a parameter twice: {keys}"
        for name, key in zip(names, keys):
            assert self.store[name].tobytes() == truth.values[key].tobytes(), f"{name} has changed, or is another"
        for name in self.store.names("state"):
            base, last = self.state_of(name)
            if base in self.names:
                wanted = truth.state[self.names[base], last]
                assert self.store[name].tobytes() == wanted.tobytes(), f"{name} has changed, or is another"
            else:
                assert int(self.store[name]) == truth.counts[name], f"{name}: {self.store[name]} of {truth.counts}"

    def inputs(
        self, graph: Graph, truth: Truth, data: Mapping[str, Array], numbers: Mapping[str, Any]
    ) -> dict[str, Array]:
        """What the interpreter needs."""

        def one(v: Value) -> Array:
            role = graph.role(v)
            if role == "data":
                return np.asarray(data[v.name], np.float64)
            if role == "scalar":
                x = numbers[v.name]
                return np.asarray(float(fold_seed(x) if v.name == "seed" else np.float32(x)))
            if role == "parameter":
                return np.asarray(truth.values[self.names[v.name]], np.float64)
            base, last = self.state_of(v.name)
            if base in self.names:
                return np.asarray(truth.state[self.names[base], last], np.float64)
            return np.asarray(float(truth.counts[v.name]))

        return {v.name: one(v) for v in graph.inputs}


@dataclass(frozen=True)
class Expected:
    """Of a call: outputs in order, and updates by name, with the bound of each."""

    outputs: list[tuple[Array, Array]]
    updates: dict[str, tuple[Array, Array]]


def expected(program: Program, stage: str, inputs: Mapping[str, Array]) -> Expected:
    graph, kernels = program.trace.after(stage), program.trace.after("schedule")
    exact, bound = interpret(graph, inputs), error_bound(kernels, inputs)
    outputs = [(exact[v.name], bound[k.name]) for v, k in zip(graph.outputs, kernels.outputs, strict=True)]
    return Expected(outputs, {name: (exact[name], bound[name]) for name in graph.updates})


def assert_near(what: str, found: Any, wanted: tuple[Array, Array]) -> None:
    """Within the derived bound; where a rounding may change a choice there is none, and LOOSE of the largest goes."""
    exact, bound = wanted
    array = np.asarray(found, np.float64)
    assert array.shape == exact.shape, f"{what} has shape {array.shape}, not {exact.shape}"
    off = np.array(np.abs(array - exact))
    off[(array == exact) | (np.isnan(array) & np.isnan(exact))] = 0
    largest = np.abs(exact[np.isfinite(exact)]).max(initial=0.0)
    allowed = np.where(np.isinf(bound), LOOSE * largest, bound * (1 + 1e-6) + 1e-13 * np.abs(exact))
    bad = np.argwhere(~(off <= allowed))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        raise AssertionError(
            f"{what}: {len(bad)} of {exact.size} numbers are wrong; at {list(at)} it is {array[at]:.9g}, should be "
            f"{exact[at]:.9g}, may be off by {allowed[at]:.3g}"
        )


def names_of(row: Row, path: str = "") -> dict[str, Key]:
    """The names of a store whose model is the row, or the part of it at the path."""
    prefix = f"{path}." if path else ""
    return {n.removeprefix(prefix): key for n, key in parameters(row).items() if n.startswith(prefix)}
