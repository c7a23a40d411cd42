"""What a model is made of: modules that know their parameters, and what they write their graph to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

from convc.checks import instance, real, seed_of, shape_of, shown
from convc.errors import ConvcError, IRError, RunError
from convc.frozen import Frozen
from convc.ir import ops
from convc.ir.core import Builder, Graph, Op, Role, Value
from convc.ir.ops.count import NUMBER, Count
from convc.ir.types import Rows, TensorType, f32
from convc.layer_table import Named, table_of_graph, table_of_layers
from convc.locks import Lock
from convc.runtime.memory import Slot
from convc.runtime.store import ParameterStore, check_type
from convc.table import Table

CHUNK = 2**20
"""Numbers that are drawn at once."""
Key = tuple[str, int]
"""A parameter within its module: the name that the module gives it, and how many of that name came before."""
_IDENTITY = Lock()
"""Held while parameters get their places: models that share a module may be compiled at the same time."""


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
        self.owners: dict[str, tuple[Module, Key]] = {}
        """For each parameter the module that it belongs to, and which one it is there."""
        self._known: dict[tuple[int, Key], Value] = {}
        self._building: list[tuple[Module, dict[str, int], Frozen]] = []
        self.updates: dict[str, Value] = {}
        self.sites = 0
        """How many layers draw random numbers so far: each has a stream of its own."""

    def input(self, name: str, t: TensorType, role: Role = "data") -> Value:
        v = Value(self.builder.fresh(name), t)
        self.inputs.append(v)
        self.roles[v.name] = role
        return v

    def parameter(self, name: str, shape: Sequence[int], bound: float) -> Value:
        """A trained tensor, at first uniform in [-bound, bound] (0: zeros).

        It belongs to the module that is being built: one that is built at a second place has the tensor that it got
        at the first. Where it is frozen, at any of its places, a train step has it as a constant. Raises IRError where
        it would need another shape there.
        """
        instance(name, str, "a parameter's name is text, such as 'weight'", error=IRError)
        shape = shape_of(shape, f"the shape of {name}", remedy="give its extents", error=IRError)
        bound = real(bound, f"the bound of {name}", 0.0, error=IRError)
        key = self._key(name)
        if key is not None and (known := self._known.get((id(key[0]), key[1]))) is not None:
            if known.type != f32(*shape):
                raise IRError(
                    f"{self.builder.path or self.name}: a module has one {name} at all its places, but needs "
                    f"{list(shape)} here and {list(known.type.shape)} as %{known.name}; make two modules"
                )
            self._freeze(known, name)
            return known
        v = self.input(f"{self.builder.path}.{name}" if self.builder.path else name, f32(*shape), "parameter")
        self.initial[v.name] = bound
        if key is not None:
            self.owners[v.name] = key
            self._known[id(key[0]), key[1]] = v
        self._freeze(v, name)
        return v

    def _key(self, name: str) -> tuple[Module, Key] | None:
        if not self._building:
            return None
        module, counts, _ = self._building[-1]
        counts[name] = counts.get(name, 0) + 1
        return module, (name, counts[name] - 1)

    def _freeze(self, v: Value, name: str) -> None:
        """Make it a constant of a train step where a module around the one being built has it frozen."""
        path = f"{self.builder.path}.{name}" if self.builder.path else name
        frozen = [here.covers(path) for _, _, here in self._building]
        if self.training and any(frozen):
            self.roles[v.name] = "constant"

    @contextmanager
    def building(self, module: Module) -> Iterator[None]:
        """Parameters are the module's; its `build` may call that of its base class."""
        if self._building and self._building[-1][0] is module:
            yield
            return
        frozen = Frozen(self.builder.path, module.frozen, not module.trainable)
        self._building.append((module, {}, frozen))
        try:
            yield
        finally:
            self._building.pop()
        frozen.check()

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
        """The first result of a new node. Raises IRError, with the layer, where the operands do not fit."""
        instance(op, Op, "g.op takes an operator of convc.ir.ops, such as ops.pointwise.Relu()", error=IRError)
        for v in inputs:
            instance(v, Value, f"the operands of {op.name} are values, x or what g.op returned", error=IRError)
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
    """Base of layers and models. Subclasses give `build`.

    A module has its parameters once. Where it stands at several places of a model they are tied: one array, named
    after the first place, whose gradient is the sum over all places. Where it is compiled by itself, or stands in a
    second model, these train the same arrays, whichever was compiled first; the optimizer's state, and names, are
    each model's own. Which module it is decides, not whether two are equal.
    """

    name: str = ""
    trainable: bool = True
    """Where it is set to False, parameters of the module, and of those in it, are frozen: see `freeze`."""
    input_shape: tuple[int, ...] | None = None
    """(C, H, W) or (features,): what the model was made for, or first compiled for; None where nobody said."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "build" in cls.__dict__:
            cls.build = _owning(cls.__dict__["build"])  # type: ignore[method-assign]

    @property
    def store(self) -> ParameterStore:
        """The parameters and their optimizer's state; every program compiled from this model shares it."""
        return self.__dict__.setdefault("_store", ParameterStore())  # type: ignore[no-any-return]

    @property
    def frozen(self) -> tuple[str, ...]:
        """The patterns that `freeze` was given."""
        return self.__dict__.get("_frozen", ())  # type: ignore[no-any-return]

    def freeze(self, *patterns: str) -> None:
        """Parameters that train steps compiled from now on leave as they are; without patterns, none.

        A pattern is the name of a layer, for all in it, or of a parameter, as in "conv1", "fc1.bias" or "conv*"
        (`*` and `?` as in file names). Such parameters have no gradient, optimizer state or update, and what led only
        to their gradients is not computed; stores and weights files hold them as before. A module at several places
        is frozen where it is frozen at one. Raises IRError for a pattern that is no text, and at compilation for one
        that matches nothing.
        """
        for pattern in patterns:
            instance(pattern, str, "freeze takes names of layers, such as 'conv1' or 'conv*'", error=IRError)
        self.__dict__["_frozen"] = patterns

    @property
    def initial_bounds(self) -> dict[str, float]:
        """For each parameter of the model, the bound of its first value."""
        return self.__dict__.setdefault("_initial_bounds", {})  # type: ignore[no-any-return]

    @property
    def slots(self) -> dict[Key, Slot]:
        """Where the parameters lie that are this module's own, once a model with it was compiled."""
        return self.__dict__.setdefault("_slots", {})  # type: ignore[no-any-return]

    def layers_at(self, path: str) -> Iterator[Named]:
        """The layers that the module is made of, in order, `path` being its place in the model; it is one itself."""
        yield Named(path, self.described(), self.parameter_count())

    def described(self) -> str:
        """The module on one line: as a dataclass shows itself, else its class."""
        return f"{type(self).__name__}()" if type(self).__repr__ is Module.__repr__ else repr(self)

    def parameter_count(self) -> int | None:
        """How many numbers it learns, where that is known without an input shape."""
        return None

    def summary(self, input_shape: Sequence[int] | None = None) -> Table:
        """The layers with their outputs, parameters and FLOP, as text and, in a notebook, as a table.

        `input_shape`: (N, C, H, W) or (N, features); FLOP are of N inputs, forward. None: one input of the shape that
        the model was made for, or first compiled for; where there is none, layers and parameters alone. Raises
        IRError where the layers do not fit the shape.
        """
        layers, name = list(self.layers_at("")), self.name or type(self).__name__
        if input_shape is None and self.input_shape is None:
            return table_of_layers(name, layers)
        g, y = self.forward_graph(input_shape if input_shape is not None else (1, *(self.input_shape or ())))
        return table_of_graph(name, layers, g.graph(y))

    def _shown(self) -> Table:
        """The summary, which for a model that does not fit its shape says so."""
        try:
            return self.summary()
        except ConvcError as error:
            return table_of_layers(self.name or type(self).__name__, list(self.layers_at("")), f"; {error}")

    def __repr__(self) -> str:
        return str(self._shown())

    def _repr_html_(self) -> str:
        return self._shown().html()

    def build(self, g: GraphBuilder, x: Value) -> Value:
        """Add this module's nodes for input x; returns its output."""
        raise IRError(f"{type(self).__name__} defines no build(g, x)")

    def forward_graph(self, input_shape: Sequence[int], training: bool = False) -> tuple[GraphBuilder, Value]:
        """The model on `input_shape` (N, C, H, W) or (N, features), N being the batch capacity."""
        rows, *rest = shape_of(input_shape, "input_shape", remedy="N is the most rows of a batch", error=IRError)
        g = GraphBuilder(self.name or type(self).__name__.lower(), training)
        x = g.input("x", f32(Rows(rows), *rest))
        with g.building(self):
            return g, built(self, g, x)

    def initialise(self, g: GraphBuilder, seed: int) -> None:
        """Give every parameter not yet there its first value; it depends on the seed and its name alone.

        A parameter of a module that was compiled before is there already, under whatever name. Raises RunError for a
        seed that is none, and where the store has another module's parameter under the name.
        """
        seed = seed_of(seed)
        with _IDENTITY, self.store.locked():
            types = {v.name: v.type for v in g.inputs}
            held = {name: m.slots[key] for name, (m, key) in g.owners.items() if key in m.slots}
            for name, slot in held.items():
                check_type(f"the store holds {name}", slot, types[name])
                if name in self.store and self.store.slot(name) is not slot:
                    raise RunError(
                        f"a name stands for one module's parameter, but {name} was another's when this model was "
                        "compiled before; make a new model of its layers"
                    )
            for name, slot in held.items():
                self.store.adopt(name, slot)
            for name in self.store.add({name: ("parameter", types[name]) for name in g.initial}):
                fill_uniform(self.store[name], g.initial[name], seed, name)
            for name, (module, key) in g.owners.items():
                module.slots[key] = self.store.slot(name)
            self.initial_bounds.update(g.initial)
            if self.input_shape is None:
                self.input_shape = tuple(int(e) for e in g.inputs[0].type.shape[1:])

    def reset(self, seed: int) -> None:
        """Forget what was learned: parameters get their first values for `seed`, state becomes zero.

        Raises RunError for a seed that is none: a whole number with 0 <= seed < 2^64.
        """
        seed = seed_of(seed)
        with self.store.locked():
            for name, bound in self.initial_bounds.items():
                fill_uniform(self.store[name], bound, seed, name)
            self.store.zero_state()


def _owning(build: Any) -> Any:
    """A `build` during which parameters are the module's."""

    @wraps(build)
    def within(self: Module, g: GraphBuilder, x: Value) -> Value:
        with g.building(self):
            return build(self, g, x)  # type: ignore[no-any-return]

    return within


def fill_uniform(array: np.ndarray, bound: float, seed: int, name: str) -> None:
    """Uniform in [-bound, bound) from Philox keyed by (seed, crc32 of the name)."""
    # Of a list with a number from 2^63 on NumPy makes floats, which are the same for neighbouring seeds.
    generator = np.random.Philox(key=np.array([seed, zlib.crc32(name.encode())], np.uint64))
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):  # in parts: of a large layer the bits take more memory than the numbers
        part = flat[start : start + CHUNK]
        unit = (generator.random_raw(part.size) >> np.uint64(40)).astype(np.float64) * 2.0**-24
        part[...] = (2 * unit - 1) * bound


def built(module: Module, g: GraphBuilder, x: Value) -> Value:
    """The module's output for x. Raises IRError where its `build` gives anything but a value of the graph."""
    y = module.build(g, x)
    if not isinstance(y, Value):
        raise IRError(
            f"build(g, x) returns the value that the last g.op(...) gave, but {type(module).__name__}'s returned "
            f"{shown(y)}; end it with `return`"
        )
    return y


def named_layers(layers: Sequence[object], owner: str) -> list[tuple[str, Module]]:
    """Layers with their names, given or numbers. Raises IRError, naming the layer's place, where one is no module."""
    found: list[tuple[str, Module]] = []
    for i, given in enumerate(layers):
        name: str = str(i)
        layer: object = given
        if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
            name, layer = given
        if not isinstance(layer, Module):
            what, remedy = shown(layer), "give convc.nn modules, or (name, module)"
            if isinstance(layer, tuple) and len(layer) == 2 and isinstance(layer[1], Module):
                raise IRError(
                    f"a layer's name is text, but that of number {i} of {owner} is {shown(layer[0])}; quote it"
                )
            if isinstance(layer, (list, tuple)):
                what, remedy = f"a {type(layer).__name__}", f"unpack it: {owner}(*layers)"
            elif isinstance(layer, type) and issubclass(layer, Module):
                remedy = f"make an object of it: {layer.__name__}()"
            raise IRError(f"a layer of {owner} is a module, but number {i} is {what}; {remedy}")
        if not name:
            raise IRError(f"a layer's name must not be empty, but that of number {i} of {owner} is; give one")
        found.append((name, layer))
    return found


class Sequential(Module):
    """Modules one after the other. A layer's name is given, as in `("conv1", nn.Conv2d(...))`, or its number.

    `input_shape`: (C, H, W) or (features,) that the model is made for: `print(model)` shows it on that shape.
    """

    def __init__(
        self, *layers: Module | tuple[str, Module], name: str = "", input_shape: Sequence[int] | None = None
    ) -> None:
        self.layers = named_layers(layers, "Sequential")
        self.name = instance(name, str, "Sequential: name is text", error=IRError) or "sequential"
        names = [n for n, _ in self.layers]
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise IRError(f"layer names must differ, but '{twice}' occurs twice; rename one")
        if input_shape is not None:
            self.input_shape = shape_of(input_shape, "input_shape", remedy="give (C, H, W), without N", error=IRError)

    def layers_at(self, path: str) -> Iterator[Named]:
        for name, layer in self.layers:
            yield from layer.layers_at(f"{path}.{name}" if path else name)

    def __iter__(self) -> Iterator[tuple[str, Module]]:
        return iter(self.layers)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        outer = g.builder.path
        for name, layer in self.layers:
            g.builder.path = f"{outer}.{name}" if outer else name
            with g.placed_errors():
                x = built(layer, g, x)
        g.builder.path = outer
        return x


class Residual(Module):
    """y = x + inner(x)."""

    def __init__(self, *layers: Module | tuple[str, Module]) -> None:
        named_layers(layers, "Residual")
        self.inner = Sequential(*layers)

    def layers_at(self, path: str) -> Iterator[Named]:
        yield from self.inner.layers_at(path)
        yield Named(path, "Residual: x + the above", 0)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Add(), built(self.inner, g, x), x)
