"""Defining a model: layers in sequence, each knowing its parameters and how it becomes graph nodes.

    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1176, 10))

A module is built into a graph once a shape is known. Its parameters live in `module.store`, which every
program compiled from it shares. What modules have in common is in convc.modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from numbers import Integral

from convc.errors import IRError
from convc.ir import ops
from convc.ir.core import Value
from convc.ir.types import f32
from convc.modules import GraphBuilder as GraphBuilder
from convc.modules import Module as Module
from convc.modules import Residual as Residual
from convc.modules import Sequential as Sequential

Pair = int | tuple[int, ...]


def pair(value: Pair) -> tuple[int, int]:
    """3 -> (3, 3); (3, 5) stays. What the numbers may be is the operator's to say."""
    if not isinstance(value, tuple | list):
        return (value, value)
    if len(value) != 2:
        raise IRError(f"expected one number or two, not {list(value)}")
    return (value[0], value[1])


def whole(name: str, value: int) -> int:
    """A count given from Python; raises IRError where it is no integer."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise IRError(f"{name} must be an integer, not {value!r}")
    return int(value)


HE = sqrt(6)
"""The gain with which ReLU layers keep the variance of what passes through them, forward or backward.

Source: He, Zhang, Ren and Sun, Delving Deep into Rectifiers, 2015: a variance of 2 / fan-in, here uniform.
"""


@dataclass
class Conv2d(Module):
    """2-d convolution with bias: x NCHW, weights KCRS. Padding: one number, two, or (top, left, bottom, right).

    First weights are uniform within +- gain / sqrt(fan-in), the bias within 1 / sqrt(fan-in).
    """

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    gain: float = 1.0

    def build(self, g: GraphBuilder, x: Value) -> Value:
        padding = self.padding if isinstance(self.padding, tuple) and len(self.padding) == 4 else pair(self.padding)
        op = ops.conv.Conv2d(pair(self.stride), padding, pair(self.dilation), self.groups)
        weight = f32(self.out_channels, whole("in_channels", self.in_channels) // op.groups, *pair(self.kernel_size))
        bound = 1 / sqrt(prod(weight.shape[1:]))
        y = g.op(op, x, g.parameter("weight", weight.shape, self.gain * bound))
        return g.op(ops.pointwise.BiasAdd(), y, g.parameter("bias", (self.out_channels,), bound)) if self.bias else y


@dataclass
class Linear(Module):
    """y = x w^T + b: x [N, C], weights [K, C]; first weights as for Conv2d."""

    in_features: int
    out_features: int
    bias: bool = True
    gain: float = 1.0

    def build(self, g: GraphBuilder, x: Value) -> Value:
        weight = f32(self.out_features, self.in_features)
        bound = 1 / sqrt(weight.shape[1])
        y = g.op(ops.contract.Linear(), x, g.parameter("weight", weight.shape, self.gain * bound))
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
class AdaptiveAvgPool2d(Module):
    """The mean over windows that share the image out among `output_size` (P, Q) results."""

    output_size: Pair

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.adaptive_pool.AdaptiveAvgPool(pair(self.output_size)), x)


@dataclass
class AdaptiveMaxPool2d(Module):
    """The greatest of windows that share the image out among `output_size` (P, Q) results."""

    output_size: Pair

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.adaptive_pool.AdaptiveMaxPool(pair(self.output_size)), x)


class GlobalAvgPool(AdaptiveAvgPool2d):
    """The mean of each channel: [N, C, H, W] becomes [N, C, 1, 1]."""

    def __init__(self) -> None:
        super().__init__(1)


class GlobalMaxPool(AdaptiveMaxPool2d):
    """The greatest of each channel: [N, C, H, W] becomes [N, C, 1, 1]."""

    def __init__(self) -> None:
        super().__init__(1)


@dataclass
class LocalResponseNorm(Module):
    """y = x * (k + alpha/size * sum of squares over `size` channels around)^-beta, with PyTorch's defaults.

    AlexNet's paper does not divide alpha by the size: its numbers are size 5, alpha 5e-4, beta 0.75, k 2.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.norm.Lrn(self.size, self.alpha, self.beta, self.k), x)


@dataclass
class Dropout(Module):
    """In training an element is 0 with probability p, else it is divided by 1 - p; otherwise nothing happens.

    The program takes one more run-time number, `seed`, which it knows by itself: the one that it was compiled with.
    The train steps are counted in the state `dropout.step`, and each draws other elements.
    """

    p: float = 0.5

    def build(self, g: GraphBuilder, x: Value) -> Value:
        op = ops.dropout.Dropout(self.p, g.sites)  # checks p in any mode
        if not g.training or self.p == 0:
            return x
        g.sites += 1
        return g.op(op, x, g.scalar("seed", "i32"), g.count("dropout.step"))


@dataclass
class Flatten(Module):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.shape.Flatten(), x)


@dataclass
class ReLU(Module):
    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.Relu(), x)


@dataclass
class LeakyReLU(Module):
    """y = x where x > 0, else slope * x; the slope is above 0."""

    slope: float = 0.01

    def build(self, g: GraphBuilder, x: Value) -> Value:
        return g.op(ops.pointwise.LeakyRelu(self.slope), x)


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
