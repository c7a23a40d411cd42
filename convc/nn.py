"""Defining a model: layers in sequence, each knowing its parameters and how it becomes graph nodes.

    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1176, 10))

A module is built into a graph once a shape is known. Its parameters live in `module.store`, which every
program compiled from it shares.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np

from convc.errors import IRError
from convc.ir import ops
from convc.ir.core import Builder, Graph, Op, Role, Value
from convc.ir.types import Rows, TensorType, f32
from convc.runtime.store import ParameterStore

Pair = int | tuple[int, ...]


def pair(value: Pair) -> tuple[int, int]:
    """3 -> (3, 3); (3, 5) stays."""
    if isinstance(value, int):
        return (value, value)
    if len(value) != 2:
        raise IRError(f"expected one number or two, not {list(value)}")
    return (value[0], value[1])


class GraphBuilder:
    """What a module's `build` writes to: nodes through `op`, parameters through `parameter`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.builder = Builder()
        self.inputs: list[Value] = []
        self.roles: dict[str, Role] = {}
        self.initial: dict[str, float] = {}

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

    def op(self, op: Op, *inputs: Value, name: str = "") -> Value:
        try:
            return self.builder(op, *inputs, name=name)
        except IRError as error:
            raise IRError(f"{self.builder.path or self.name}: {error}") from None

    def graph(self, *outputs: Value) -> Graph:
        roles = {k: r for k, r in self.roles.items() if r != "data"}
        return Graph(self.name, tuple(self.inputs), tuple(self.builder.nodes), outputs, roles)


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

    def forward_graph(self, input_shape: Sequence[int]) -> tuple[GraphBuilder, Value]:
        """The model on `input_shape` (N, C, H, W) or (N, features), N being the batch capacity."""
        g = GraphBuilder(self.name or type(self).__name__.lower())
        rows, *rest = input_shape
        x = g.input("x", f32(Rows(rows), *rest))
        return g, self.build(g, x)

    def initialise(self, g: GraphBuilder, seed: int) -> None:
        """Give every parameter not yet there its first value; it depends on the seed and its name alone."""
        self.store.add({v.name: ("parameter", v.type) for v in g.inputs if v.name in g.initial})
        for name, bound in g.initial.items():
            if name not in self.initial_bounds:
                fill_uniform(self.store[name], bound, seed, name)
                self.initial_bounds[name] = bound

    def reset(self, seed: int) -> None:
        """Forget what was learned: parameters get their first values for `seed`, state becomes zero."""
        for name, bound in self.initial_bounds.items():
            fill_uniform(self.store[name], bound, seed, name)
        self.store.zero_state()


def fill_uniform(array: np.ndarray, bound: float, seed: int, name: str) -> None:
    """Uniform in [-bound, bound) from Philox keyed by (seed, crc32 of the name)."""
    bits = np.random.Philox(key=[seed, zlib.crc32(name.encode())]).random_raw(array.size)
    unit = (bits >> np.uint64(40)).astype(np.float64) * 2.0**-24
    array[...] = ((2 * unit - 1) * bound).reshape(array.shape)


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
            x = layer.build(g, x)
        g.builder.path = outer
        return x


@dataclass
class Conv2d(Module):
    """2-d convolution with bias: x NCHW, weights KCRS. Padding: one number, two, or (top, left, bottom, right)."""

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True

    def build(self, g: GraphBuilder, x: Value) -> Value:
        r, s = pair(self.kernel_size)
        c = self.in_channels // self.groups
        bound = 1 / sqrt(max(c * r * s, 1))
        padding = self.padding if isinstance(self.padding, tuple) and len(self.padding) == 4 else pair(self.padding)
        op = ops.conv.Conv2d(pair(self.stride), padding, pair(self.dilation), self.groups)
        y = g.op(op, x, g.parameter("weight", (self.out_channels, c, r, s), bound))
        return g.op(ops.pointwise.BiasAdd(), y, g.parameter("bias", (self.out_channels,), bound)) if self.bias else y


@dataclass
class Linear(Module):
    """y = x w^T + b: x [N, C], weights [K, C]."""

    in_features: int
    out_features: int
    bias: bool = True

    def build(self, g: GraphBuilder, x: Value) -> Value:
        bound = 1 / sqrt(max(self.in_features, 1))
        y = g.op(ops.contract.Linear(), x, g.parameter("weight", (self.out_features, self.in_features), bound))
        return g.op(ops.pointwise.BiasAdd(), y, g.parameter("bias", (self.out_features,), bound)) if self.bias else y


@dataclass
class MaxPool2d(Module):
    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0

    def build(self, g: GraphBuilder, x: Value) -> Value:
        stride = () if self.stride is None else pair(self.stride)
        return g.op(ops.pool.MaxPool(pair(self.kernel_size), stride, pair(self.padding)), x)


@dataclass
class AvgPool2d(Module):
    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0
    count_include_pad: bool = True

    def build(self, g: GraphBuilder, x: Value) -> Value:
        stride = () if self.stride is None else pair(self.stride)
        op = ops.pool.AvgPool(pair(self.kernel_size), stride, pair(self.padding), self.count_include_pad)
        return g.op(op, x)


@dataclass
class Flatten(Module):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.shape.Flatten(), x)


@dataclass
class ReLU(Module):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Relu(), x)


@dataclass
class Sigmoid(Module):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Sigmoid(), x)


@dataclass
class Tanh(Module):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Tanh(), x)


@dataclass
class Softmax(Module):
    axis: int = 1

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.loss.Softmax(self.axis), x)


class Residual(Module):
    """y = x + inner(x)."""

    def __init__(self, *layers: Module | tuple[str, Module]) -> None:
        self.inner = Sequential(*layers)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Add(), self.inner.build(g, x), x)
