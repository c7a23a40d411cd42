"""Defining a model: layers in sequence, each knowing its parameters and how it becomes graph nodes.

    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1176, 10))

A module is built into a graph once a shape is known. Its parameters live in `module.store`, which every
program compiled from it shares. What modules have in common is in convc.modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from inspect import signature
from math import sqrt
from typing import Any, ClassVar, TypeVar, dataclass_transform

from convc.checks import checked_arguments, choice, flag, real, shown, whole
from convc.errors import IRError
from convc.ir import ops
from convc.ir.core import Op, Value
from convc.ir.types import Rows, f32
from convc.modules import GraphBuilder as GraphBuilder
from convc.modules import Module as Module
from convc.modules import Residual as Residual
from convc.modules import Sequential as Sequential

L = TypeVar("L")
Pair = int | tuple[int, ...]
MOST = 2**31 - 1
"""Of an extent."""
PADDINGS = ("same", "valid")
"""Words for a convolution's padding, as in PyTorch."""


class _Counting(GraphBuilder):
    """Takes note of parameters; of operators nothing, so that their input may have any shape."""

    def op(self, op: Op, *inputs: Value, name: str = "") -> Value:
        return inputs[0]


class Layer(Module):
    """A layer is a dataclass: its fields are checked where it is made. Raises IRError, which names the layer."""

    least: ClassVar[Mapping[str, int]] = {}
    """For fields that are whole numbers the least one, where that is not 1."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in cls.__dict__:  # of the class itself, so that @dataclass does not make a longer one
            cls.__repr__ = Layer.described  # type: ignore[method-assign, assignment]

    def described(self) -> str:
        """As it is written: `Conv2d(1, 6, 5, padding=2)`, without defaults and what only first weights need."""
        parts = []
        for name, p in signature(type(self)).parameters.items():
            value = getattr(self, name)
            if name != "gain" and (p.default is p.empty or value != p.default):
                text = f"{value:.4g}" if isinstance(value, float) else shown(value)
                parts.append(text if p.default is p.empty else f"{name}={text}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def parameter_count(self) -> int:
        g = _Counting(type(self).__name__)
        self.build(g, Value("x", f32(Rows(1), 1)))
        return sum(v.type.elements for v in g.inputs)

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            setattr(self, f.name, self._checked(f.name, str(f.type), getattr(self, f.name)))
        try:
            self.check()
        except IRError as error:
            raise IRError(f"{type(self).__name__}: {error}") from None

    def _checked(self, name: str, kind: str, value: object) -> object:
        what, low = f"{type(self).__name__}: {name}", self.least.get(name, 1)
        if kind == "bool":
            return flag(value, what, error=IRError)
        if kind == "float":
            return real(value, what, error=IRError)
        if kind == "int":
            return whole(value, what, low, MOST, error=IRError)
        if value is None and "None" in kind:
            return None
        if isinstance(value, str) and "str" in kind:
            return value
        if not kind.startswith("Pair"):
            return value
        if isinstance(value, (tuple, list)):
            counts = (2, 4) if name == "padding" else (2,)
            if len(value) not in counts:
                raise IRError(
                    f"{what} is {' or '.join(map(str, (1, *counts)))} numbers, not {shown(value)}; give so many"
                )
            return tuple(whole(v, f"{what}[{i}]", low, MOST, error=IRError) for i, v in enumerate(value))
        return whole(value, what, low, MOST, error=IRError)

    def check(self) -> None:
        """What the fields must be together. Raises IRError."""


def pair(value: Pair) -> tuple[int, int]:
    """3 -> (3, 3); (3, 5) stays. Raises IRError for other counts."""
    if not isinstance(value, tuple):
        return (value, value)
    if len(value) != 2:
        raise IRError(f"one number or two are expected, not {shown(value)}; give 3 or (3, 5)")
    return (value[0], value[1])


def sides(value: Pair) -> tuple[int, ...]:
    """Padding: 1 -> (1, 1); (top, left, bottom, right) stays. Raises IRError for other counts."""
    return value if isinstance(value, tuple) and len(value) == 4 else pair(value)


named_arguments = partial(checked_arguments, error=IRError)
"""Decorates a layer with an `__init__` of its own."""


@dataclass_transform()
def layer(cls: type[L]) -> type[L]:
    """A dataclass; arguments that do not fit it are an IRError with the nearest name, not Python's TypeError."""
    return named_arguments(dataclass(cls))


HE = sqrt(6)
"""The gain with which ReLU layers keep the variance of what passes through them, forward or backward.

Source: He, Zhang, Ren and Sun, Delving Deep into Rectifiers, 2015: a variance of 2 / fan-in, here uniform.
"""


@layer
class Conv2d(Layer):
    """2-d convolution with bias: x NCHW, weights KCRS.

    Padding: one number, two, or (top, left, bottom, right); "valid" is none, and "same", for stride 1, keeps height
    and width: dilation * (kernel - 1) in all, half of it, rounded down, at the top and the left, as in PyTorch.
    First weights are uniform within +- gain / sqrt(fan-in), the bias within 1 / sqrt(fan-in).
    """

    least: ClassVar[Mapping[str, int]] = {"padding": 0}

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair | str = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    gain: float = 1.0

    def check(self) -> None:
        pair(self.kernel_size)
        _at_least_0("gain", self.gain)
        c, k, groups = self.in_channels, self.out_channels, self.groups
        if c % groups or k % groups:
            raise IRError(
                f"groups must divide in_channels and out_channels, but {groups} does not divide {c} and {k}; give a "
                "common divisor"
            )
        self.operator()

    def operator(self) -> Op:
        """The convolution of the graph, its padding in numbers. Raises IRError."""
        padding = self._same_or_valid() if isinstance(self.padding, str) else sides(self.padding)
        return ops.conv.Conv2d(pair(self.stride), padding, pair(self.dilation), self.groups)

    def _same_or_valid(self) -> tuple[int, ...]:
        choice(self.padding, "padding", PADDINGS, error=IRError)
        if self.padding == "valid":
            return (0, 0)
        if pair(self.stride) != (1, 1):
            raise IRError(
                f"padding 'same' keeps height and width, which needs stride 1, not {shown(self.stride)}; give the "
                "padding in numbers"
            )
        total = [d * (k - 1) for d, k in zip(pair(self.dilation), pair(self.kernel_size))]
        before = [t // 2 for t in total]
        return (*before, *(t - b for t, b in zip(total, before)))

    def build(self, g: GraphBuilder, x: Value) -> Value:
        r, s = pair(self.kernel_size)
        c = self.in_channels // self.groups
        bound = 1 / sqrt(c * r * s)
        y = g.op(self.operator(), x, g.parameter("weight", (self.out_channels, c, r, s), self.gain * bound))
        return g.op(ops.pointwise.BiasAdd(), y, g.parameter("bias", (self.out_channels,), bound)) if self.bias else y


@layer
class Linear(Layer):
    """y = x w^T + b: x [N, C], weights [K, C]; first weights as for Conv2d."""

    in_features: int
    out_features: int
    bias: bool = True
    gain: float = 1.0

    def check(self) -> None:
        _at_least_0("gain", self.gain)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        bound = 1 / sqrt(self.in_features)
        weight = g.parameter("weight", (self.out_features, self.in_features), self.gain * bound)
        y = g.op(ops.contract.Linear(), x, weight)
        return g.op(ops.pointwise.BiasAdd(), y, g.parameter("bias", (self.out_features,), bound)) if self.bias else y


@layer
class MaxPool2d(Layer):
    """The greatest of each window. Padding as for Conv2d, in numbers; its elements never win."""

    least: ClassVar[Mapping[str, int]] = {"padding": 0}

    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0

    def check(self) -> None:
        _check_window(self.kernel_size, self.padding)
        self.operator()

    def operator(self) -> Op:
        """The pooling of the graph. Raises IRError."""
        stride = () if self.stride is None else pair(self.stride)
        return ops.pool.MaxPool(pair(self.kernel_size), stride, sides(self.padding))

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(self.operator(), x)


@layer
class AvgPool2d(Layer):
    """The mean of each window, padding included as zeros or not at all. Padding as for Conv2d, in numbers."""

    least: ClassVar[Mapping[str, int]] = {"padding": 0}

    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0
    count_include_pad: bool = True

    def check(self) -> None:
        _check_window(self.kernel_size, self.padding)
        self.operator()

    def operator(self) -> Op:
        """The pooling of the graph. Raises IRError."""
        stride = () if self.stride is None else pair(self.stride)
        return ops.pool.AvgPool(pair(self.kernel_size), stride, sides(self.padding), self.count_include_pad)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(self.operator(), x)


def _check_window(kernel: Pair, padding: Pair) -> None:
    r, s = pair(kernel)
    pads = sides(padding)
    for side, size, most in (("height", r, max(pads[::2])), ("width", s, max(pads[1::2]))):
        if most >= size:
            raise IRError(
                f"padding must be smaller than the window, but {side} is padded by {most} and the window's {side} is "
                f"{size}; give less padding"
            )


def _at_least_0(name: str, number: float) -> None:
    real(number, name, 0.0, error=IRError)


@layer
class AdaptiveAvgPool2d(Layer):
    """The mean over windows that share the image out among `output_size` (P, Q) results."""

    output_size: Pair

    def check(self) -> None:
        pair(self.output_size)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.adaptive_pool.AdaptiveAvgPool(pair(self.output_size)), x)


@layer
class AdaptiveMaxPool2d(Layer):
    """The greatest of windows that share the image out among `output_size` (P, Q) results."""

    output_size: Pair

    def check(self) -> None:
        pair(self.output_size)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.adaptive_pool.AdaptiveMaxPool(pair(self.output_size)), x)


@named_arguments
class GlobalAvgPool(AdaptiveAvgPool2d):
    """The mean of each channel: [N, C, H, W] becomes [N, C, 1, 1]."""

    def __init__(self) -> None:
        super().__init__(1)


@named_arguments
class GlobalMaxPool(AdaptiveMaxPool2d):
    """The greatest of each channel: [N, C, H, W] becomes [N, C, 1, 1]."""

    def __init__(self) -> None:
        super().__init__(1)


@layer
class LocalResponseNorm(Layer):
    """y = x * (k + alpha/size * sum of squares over `size` channels around)^-beta, with PyTorch's defaults.

    AlexNet's paper does not divide alpha by the size: its numbers are size 5, alpha 5e-4, beta 0.75, k 2.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def check(self) -> None:
        self.operator()

    def operator(self) -> Op:
        """The normalisation of the graph. Raises IRError."""
        return ops.norm.Lrn(self.size, self.alpha, self.beta, self.k)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(self.operator(), x)


@layer
class Dropout(Layer):
    """In training an element is 0 with probability p, else it is divided by 1 - p; otherwise nothing happens.

    The program takes one more run-time number, `seed`, which it knows by itself: the one that it was compiled with.
    The train steps are counted in the state `dropout.step`, and each draws other elements.
    """

    p: float = 0.5

    def check(self) -> None:
        ops.dropout.Dropout(self.p)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        op = ops.dropout.Dropout(self.p, g.sites)
        if not g.training or self.p == 0:
            return x
        g.sites += 1
        return g.op(op, x, g.scalar("seed", "i32"), g.count("dropout.step"))


@layer
class Flatten(Layer):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.shape.Flatten(), x)


@layer
class ReLU(Layer):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Relu(), x)


@layer
class LeakyReLU(Layer):
    """y = x where x > 0, else slope * x; the slope is above 0."""

    slope: float = 0.01

    def check(self) -> None:
        ops.pointwise.LeakyRelu(self.slope)

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.LeakyRelu(self.slope), x)


@layer
class Sigmoid(Layer):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Sigmoid(), x)


@layer
class Tanh(Layer):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Tanh(), x)


@layer
class Softmax(Layer):
    least: ClassVar[Mapping[str, int]] = {"axis": 0}

    axis: int = 1

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.loss.Softmax(self.axis), x)
