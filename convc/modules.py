"""What a model is made of: modules that know their parameters, and what they write their graph to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from convc.checks import seed_of
from convc.errors import IRError
from convc.ir import ops
from convc.ir.core import Builder, Graph, Op, Role, Value
from convc.ir.ops.count import NUMBER, Count
from convc.ir.types import Rows, TensorType, f32
from convc.runtime.store import ParameterStore

CHUNK = 2**20
"""Numbers that are drawn at once."""


class GraphBuilder:
    """What a module's `build` writes to: nodes through `op`, parameters through `parameter`.

    `training`: the graph is for a train step, and holds what only training has, such as dropout.
    """

    def __init__(self, name: str, training: bool = False) -> None:
        self.name = name
        self.training = training
        self.builder = Builder()
        self.inputs: list[Value] = []
        self.roles: dict[str, Role] = {}
        self.initial: dict[str, float] = {}
        self.updates: dict[str, Value] = {}
        self.sites = 0
        """How many layers draw random numbers so far: each has a stream of its own."""

    def input(self, name: str, t: TensorType, role: Role = "data") -> Value:
        v = Value(self.builder.fresh(name), t)
        self.inputs.append(v)
        self.roles[v.name] = role
        return v

    def parameter(self, name: str, shape: Sequence[int], bound: float) -> Value:
        """A trained tensor, at first uniform in [-bound, bound] (0: zeros)."""
        v = self.input(f"{self.builder.path}.{name}" if self.builder.path else name, f32(*shape), "parameter")
        self.initial[v.name] = bound
        return v

    def scalar(self, name: str, dtype: str = "f32") -> Value:
        """The run-time number of that name, one for the whole graph."""
        known = (v for v in self.inputs if self.roles[v.name] == "scalar" and v.name == name)
        return next(known, None) or self.input(name, TensorType(dtype, ()), "scalar")

    def count(self, name: str) -> Value:
        """How many times the graph has run, this time included: i32[], a state of that name which it counts itself."""
        if name not in self.updates:
            path, self.builder.path = self.builder.path, ""
            self.updates[name] = self.builder(Count(), self.input(name, NUMBER, "state"), name=f"{name}.new")
            self.builder.path = path
        return self.updates[name]

    def op(self, op: Op, *inputs: Value, name: str = "") -> Value:
        with self.placed_errors():
            return self.builder(op, *inputs, name=name)

    @contextmanager
    def placed_errors(self) -> Iterator[None]:
        """An IRError raised inside names the layer, once."""
        try:
            yield
        except IRError as error:
            place = f"{self.builder.path or self.name}: "
            raise error if str(error).startswith(place) else IRError(f"{place}{error}") from None

    def graph(self, *outputs: Value) -> Graph:
        roles = {k: r for k, r in self.roles.items() if r != "data"}
        return Graph(self.name, tuple(self.inputs), tuple(self.builder.nodes), outputs, roles, self.updates)


class Module:
    """Base of layers and models. Subclasses give `build`."""

    name: str = ""

    @cached_property
    def store(self) -> ParameterStore:
        """The parameters and their optimizer's state; every program compiled from this model shares it."""
        return ParameterStore()

    @cached_property
    def initial_bounds(self) -> dict[str, float]:
        """For each parameter that was given its first value, the bound of that value."""
        return {}

    def build(self, g: GraphBuilder, x: Value) -> Value:
        """Add this module's nodes for input x; returns its output."""
        raise IRError(f"{type(self).__name__} defines no build(g, x)")

    def forward_graph(self, input_shape: Sequence[int], training: bool = False) -> tuple[GraphBuilder, Value]:
        """The model on `input_shape` (N, C, H, W) or (N, features), N being the batch capacity."""
        g = GraphBuilder(self.name or type(self).__name__.lower(), training)
        rows, *rest = input_shape
        x = g.input("x", f32(Rows(rows), *rest))
        return g, self.build(g, x)

    def initialise(self, g: GraphBuilder, seed: int) -> None:
        """Give every parameter not yet there its first value; it depends on the seed and its name alone.

        Raises RunError for a seed that is none.
        """
        seed = seed_of(seed)
        self.store.add({v.name: ("parameter", v.type) for v in g.inputs if v.name in g.initial})
        for name, bound in g.initial.items():
            if name not in self.initial_bounds:
                fill_uniform(self.store[name], bound, seed, name)
                self.initial_bounds[name] = bound

    def reset(self, seed: int) -> None:
        """Forget what was learned: parameters get their first values for `seed`, state becomes zero.

        Raises RunError for a seed that is none: a whole number with 0 <= seed < 2^64.
        """
        seed = seed_of(seed)
        for name, bound in self.initial_bounds.items():
            fill_uniform(self.store[name], bound, seed, name)
        self.store.zero_state()


def fill_uniform(array: np.ndarray, bound: float, seed: int, name: str) -> None:
    """Uniform in [-bound, bound) from Philox keyed by (seed, crc32 of the name)."""
    # Of a list with a number from 2^63 on NumPy makes floats, which are the same for neighbouring seeds.
    generator = np.random.Philox(key=np.array([seed, zlib.crc32(name.encode())], np.uint64))
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):  # in parts: of a large layer the bits take more memory than the numbers
        part = flat[start : start + CHUNK]
        unit = (generator.random_raw(part.size) >> np.uint64(40)).astype(np.float64) * 2.0**-24
        part[...] = (2 * unit - 1) * bound


class Sequential(Module):
    """Modules one after the other. A layer's name is given, as in `("conv1", nn.Conv2d(...))`, or its number."""

    def __init__(self, *layers: Module | tuple[str, Module], name: str = "") -> None:
        self.layers = [x if isinstance(x, tuple) else (str(i), x) for i, x in enumerate(layers)]
        self.name = name or "sequential"
        names = [n for n, _ in self.layers]
        if len(set(names)) != len(names):
            raise IRError(f"layer names must differ, but '{next(n for n in names if names.count(n) > 1)}' occurs twice")

    def __iter__(self) -> Iterator[tuple[str, Module]]:
        return iter(self.layers)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        outer = g.builder.path
        for name, layer in self.layers:
            g.builder.path = f"{outer}.{name}" if outer else name
            with g.placed_errors():
                x = layer.build(g, x)
        g.builder.path = outer
        return x


class Residual(Module):
    """y = x + inner(x)."""

    def __init__(self, *layers: Module | tuple[str, Module]) -> None:
        self.inner = Sequential(*layers)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Add(), self.inner.build(g, x), x)
