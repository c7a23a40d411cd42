"""A program with what is known of it: its store, its truth, its numbers, and calls that are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convc.runtime.program import Program
from tests.machine.nets import CLASSES, Net
from tests.machine.truth import Array, Expected, Truth, View, assert_near, expected


@dataclass(frozen=True)
class Compiled:
    """A program, the store that it works on, and what that must hold."""

    program: Program
    truth: Truth
    view: View
    mode: str
    numbers: Mapping[str, Any]
    net: Net | None = None
    """The model that it was compiled from; a copied program has none."""

    def __str__(self) -> str:
        return f"{self.mode} {self.truth.row} of capacity {self.capacity}, {dict(self.numbers)}"

    @property
    def stage(self) -> str:
        return "apply_optimizer" if self.mode == "train" else "input"

    @property
    def capacity(self) -> int:
        return int(self.program.graph.inputs_of("data")[0].type.rows or 1)

    def data(self, n: int, seed: int) -> dict[str, Array]:
        """One array for each data input, n rows or, where there are fewer, all."""
        rng = np.random.default_rng(seed)
        drawn: dict[str, Array] = {}
        for v in self.program.graph.inputs_of("data"):
            shape = (min(n, self.capacity), *(int(e) for e in v.type.shape[1:]))
            whole = v.type.dtype == "i32"
            drawn[v.name] = (
                rng.integers(0, CLASSES, shape, np.int32) if whole else rng.standard_normal(shape, np.float32)
            )
        return drawn

    def wanted(self, data: Mapping[str, Array], numbers: Mapping[str, Any] | None = None) -> Expected:
        given = {**self.numbers, **(numbers or {})}
        inputs = self.view.inputs(self.program.trace.after(self.stage), self.truth, data, given)
        return expected(self.program, self.stage, inputs)

    def checked_call(self, data: dict[str, Array], how: str, numbers: Mapping[str, Any]) -> None:
        """By position, by name, by both or into `out`; the inputs stay as they were."""
        wanted = self.wanted(data, numbers)
        kept = {name: a.copy() for name, a in data.items()}
        found = self._called(data, how, numbers, wanted)
        for name, a in data.items():
            assert a.tobytes() == kept[name].tobytes(), f"the call wrote to its input {name}"
        self.check(found, wanted)

    def _called(
        self, data: Mapping[str, Array], how: str, numbers: Mapping[str, Any], wanted: Expected
    ) -> tuple[Any, ...]:
        arrays = list(data.values())
        if how == "name":
            found = self.program(**data, **numbers)
        elif how == "both":
            found = self.program(arrays[0], **dict(list(data.items())[1:]), **numbers)
        elif how == "out":
            out = [np.full(exact.shape, 7, np.float32) for exact, _ in wanted.outputs]
            found = self.program(*arrays, out=out if len(out) > 1 else out[0], **numbers)
            results = found if isinstance(found, tuple) else (found,)
            assert all(a is b for a, b in zip(results, out, strict=True)), "a call returns what it was given as out"
        else:
            found = self.program(*arrays, **numbers)
        return found if isinstance(found, tuple) else (found,)

    def check(self, found: tuple[Any, ...], wanted: Expected) -> None:
        """Results, and what was updated; from now on what the store holds is the truth."""
        for i, (a, b) in enumerate(zip(found, wanted.outputs, strict=True)):
            assert_near(f"result {i}", a, b)
        for name, b in wanted.updates.items():
            assert_near(name, self.view.store[name], b)
        if self.mode == "train":
            self.truth.counts |= {n: self.truth.counts[n] + 1 for n in wanted.updates if n in self.truth.counts}
            self.view.taken(self.truth)
