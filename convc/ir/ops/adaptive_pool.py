"""Pooling to a given size: max and average over windows that share the input out, and their gradients.

Along a side of H pixels and P outputs, window p is [floor(p*H/P), ceil((p+1)*H/P)), PyTorch's rule. Where P does
not divide H the windows differ in extent and overlap. The windows that hold pixel h are [floor(h*P/H),
ceil((h+1)*P/H)): the same rule the other way round, so that a gradient is a gather just like its operator.
To [1, 1] it is global pooling. Where all windows are alike, `canonicalize` makes it ordinary pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, prod

import numpy as np

from convc.errors import IRError
from convc.ir.core import RESULT, Array, Builder, Node, Op, Value
from convc.ir.index import Axis, Bound, Index
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce
from convc.ir.ops.pool import mean_gradient, winner_gradient
from convc.ir.scalar import IndexValue, Load, Local, Scalar, load, select, store
from convc.ir.types import TensorType

MAX_PLANE = 2**24
"""Pixels of an image whose numbers are exact in f32."""


@dataclass(frozen=True)
class Share:
    """One side's windows: `extent` pixels shared among `windows`, an axis; `tap` counts the pixels of a window."""

    windows: Axis
    extent: int
    tap_name: str

    @property
    def start(self) -> Index:
        return Index.of(self.windows) * self.extent // int(self.windows.extent)

    @property
    def end(self) -> Index:
        count = int(self.windows.extent)
        return ((Index.of(self.windows) + 1) * self.extent + (count - 1)) // count

    @property
    def tap(self) -> Axis:
        """As many taps as the widest window has."""
        widest = max(end - start for start, end in spans(self.extent, int(self.windows.extent)))
        return Axis(self.tap_name, widest)

    @property
    def pixel(self) -> Index:
        return self.start + self.tap

    @property
    def guard(self) -> Bound:
        """The tap is one of the window's."""
        return Bound(self.pixel - self.end, -int(self.tap.extent), 0)

    @property
    def size(self) -> IndexValue:
        return IndexValue(self.end - self.start)


def spans(extent: int, count: int) -> list[tuple[int, int]]:
    """The windows as numbers: [start, end) of each."""
    return [(p * extent // count, -(-(p + 1) * extent // count)) for p in range(count)]


@dataclass(frozen=True)
class AdaptivePool(Op):
    """`output` is the size (P, Q) of the result."""

    traits = frozenset({"pooling"})

    output: tuple[int, int] = (1, 1)

    def validate(self) -> None:
        if len(self.output) != 2 or min(self.output) < 1:
            raise IRError(f"output must be two numbers of at least 1, not {list(self.output)}")

    def forward_type(self, x: TensorType) -> TensorType:
        if x.rank != 4:
            raise IRError(f"x must be NCHW, but its rank is {x.rank}")
        for extent, wanted, side in zip(x.shape[2:], self.output, ("height", "width")):
            if wanted > extent:
                raise IRError(f"output may be no larger than x, but its {side} is {wanted} and x's is {int(extent)}")
        return TensorType(x.dtype, (*x.shape[:2], *self.output))

    def even_kernel(self, x: TensorType) -> tuple[int, int] | None:
        """The window of ordinary pooling that does the same, where output divides x."""
        (h, w), (p, q) = x.shape[2:], self.output
        return (h // p, w // q) if h % p == 0 and w % q == 0 else None

    def forward(self, x: TensorType) -> tuple[tuple[Axis, ...], Share, Share]:
        """The axes n, c, p, q and the shares of both sides."""
        n, c = (Axis(name, extent) for name, extent in zip("nc", x.shape))
        p, q = (Axis(name, extent) for name, extent in zip("pq", self.output))
        return (n, c, p, q), Share(p, int(x.shape[2]), "r"), Share(q, int(x.shape[3]), "s")

    def backward(self, x: TensorType) -> tuple[tuple[Axis, ...], Share, Share]:
        """The axes n, c, h, w and, for both sides, the outputs in whose windows a pixel lies."""
        n, c, h, w = (Axis(name, extent) for name, extent in zip("nchw", x.shape))
        return (n, c, h, w), Share(h, self.output[0], "r"), Share(w, self.output[1], "s")

    def windows(self, shape: Sequence[int]) -> list[tuple[tuple[int, int], tuple[slice, slice]]]:
        """For each output (p, q) the part of the plane that is its window."""
        rows, columns = (spans(int(e), count) for e, count in zip(shape[2:], self.output))
        places = product(range(self.output[0]), range(self.output[1]))
        return [((p, q), (slice(*rows[p]), slice(*columns[q]))) for p, q in places]


def _load(operand: int, axes: Sequence[Axis], high: Share, wide: Share, fill: float = 0.0) -> Load:
    """The element of the operand at the windows' tap; `fill` where a window has no such tap."""
    return load(operand, *axes[:2], high.pixel, wide.pixel, guards=(high.guard, wide.guard), fill=fill)


def _gather(axes: Sequence[Axis], high: Share, wide: Share, part: Scalar) -> LoopNest:
    """dx[n, c, h, w] = the sum of `part` over the outputs whose windows hold the pixel."""
    stages = (Reduce((high.tap, wide.tap), "sum", ("total",), (part,)), Map((), (store(0, axes, Local("total")),)))
    return LoopNest(tuple(axes), stages)


@dataclass(frozen=True)
class AdaptiveAvgPool(AdaptivePool, name="adaptive_avg_pool"):
    """y[n,c,p,q] = mean of x[n,c,h,w] over window p of h and window q of w."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return (self.forward_type(x),)

    def reference(self, x: Array) -> tuple[Array, ...]:
        y = np.empty((*x.shape[:2], *self.output), x.dtype)
        for (p, q), (h, w) in self.windows(x.shape):
            y[:, :, p, q] = x[:, :, h, w].mean((2, 3))
        return (y,)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return (b(AdaptiveAvgPoolGrad(self.output, result=node.inputs[0].type), dy),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes, high, wide = self.forward(inputs[0])
        x = _load(0, axes, high, wide)
        mean = Local("total") / (high.size * wide.size)
        stages = (Reduce((high.tap, wide.tap), "sum", ("total",), (x,)), Map((), (store(0, axes, mean),)))
        return Loops(LoopNest(axes, stages), results=tuple(outputs))


@dataclass(frozen=True)
class AdaptiveAvgPoolGrad(AdaptivePool, name="adaptive_avg_pool_grad"):
    """dx = adaptive_avg_pool_grad(dy): each window's gradient shared evenly among its pixels. Declared type: x's."""

    result: TensorType = field(kw_only=True, metadata=RESULT)

    def infer(self, dy: TensorType) -> tuple[TensorType, ...]:
        return mean_gradient(self.result, self.forward_type(self.result.logical()), dy)

    def reference(self, dy: Array) -> tuple[Array, ...]:
        dx = np.zeros((*dy.shape[:2], *map(int, self.result.shape[2:])), dy.dtype)
        for (p, q), (h, w) in self.windows(dx.shape):
            dx[:, :, h, w] += (dy[:, :, p, q] / ((h.stop - h.start) * (w.stop - w.start)))[..., None, None]
        return (dx,)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        ddx = grads[0]
        assert ddx is not None
        return (b(AdaptiveAvgPool(self.output), ddx),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes, high, wide = self.backward(outputs[0])
        dy = _load(0, axes, high, wide)
        _, *forward = self.forward(outputs[0])
        sizes = [of.size.index.substitute({of.windows: back.pixel}) for of, back in zip(forward, (high, wide))]
        part = dy / (IndexValue(sizes[0]) * IndexValue(sizes[1]))
        return Loops(_gather(axes, high, wide, part), results=tuple(outputs))


@dataclass(frozen=True)
class AdaptiveMaxPool(AdaptivePool, name="adaptive_max_pool"):
    """y[n,c,p,q] = max of x[n,c,h,w] over window p of h and window q of w.

    With `indices=True` a second result holds the winning pixel h*W + w (the first of equal ones) as i32.
    """

    indices: bool = False

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        y = self.forward_type(x)
        if self.indices and x.shape[2] * x.shape[3] > MAX_PLANE:
            raise IRError(f"an image may have at most {MAX_PLANE} pixels for its indices to be exact in f32, not {x}")
        return (y, TensorType("i32", y.shape)) if self.indices else (y,)

    def reference(self, x: Array) -> tuple[Array, ...]:
        y = np.empty((*x.shape[:2], *self.output), x.dtype)
        at = np.empty(y.shape, np.int32)
        for (p, q), (h, w) in self.windows(x.shape):
            window = x[:, :, h, w]
            flat = window.reshape(*x.shape[:2], -1)
            best = flat.argmax(-1)
            y[:, :, p, q] = np.take_along_axis(flat, best[..., None], -1)[..., 0]
            at[:, :, p, q] = (h.start + best // window.shape[3]) * x.shape[3] + w.start + best % window.shape[3]
        return (y, at) if self.indices else (y,)

    def augmented(self) -> Op:
        return replace(self, indices=True)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return (b(AdaptiveMaxPoolGrad(self.output, result=node.inputs[0].type), dy, node.outputs[1]),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes, high, wide = self.forward(inputs[0])
        taps = (high.tap, wide.tap)
        x = _load(0, axes, high, wide, fill=-inf)
        stores = [store(0, axes, Local("best"))]
        if not self.indices:
            reduction = Reduce(taps, "max", ("best",), (x,))
        else:
            at = IndexValue(high.pixel * wide.extent + wide.pixel)
            reduction = Reduce(taps, "argmax", ("best", "at"), (x, at))
            stores.append(store(1, axes, Local("at")))
        return Loops(LoopNest(axes, (reduction, Map((), tuple(stores)))), results=tuple(outputs))


@dataclass(frozen=True)
class AdaptiveMaxPoolGrad(AdaptivePool, name="adaptive_max_pool_grad"):
    """dx = adaptive_max_pool_grad(dy, indices): each window's gradient goes to the pixel that won. Declared type: x's.

    An index that is no pixel of its window gets nothing.
    """

    result: TensorType = field(kw_only=True, metadata=RESULT)

    def infer(self, dy: TensorType, indices: TensorType) -> tuple[TensorType, ...]:
        return winner_gradient(self.result, self.forward_type(self.result.logical()), dy, indices)

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("i32",) if operand == 1 else ("f32",)

    def whole_below(self, operand: int, inputs: Sequence[TensorType]) -> int | None:
        return prod(int(e) for e in self.result.shape[2:]) if operand == 1 else None

    def reference(self, dy: Array, indices: Array) -> tuple[Array, ...]:
        height, width = map(int, self.result.shape[2:])
        dx = np.zeros((*dy.shape[:2], height, width), dy.dtype)
        pixels = np.arange(height * width).reshape(height, width)
        for (p, q), (h, w) in self.windows(dx.shape):
            won = pixels[h, w] == indices[:, :, p, q][..., None, None]
            dx[:, :, h, w] += np.where(won, dy[:, :, p, q][..., None, None], 0)
        return (dx,)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes, high, wide = self.backward(outputs[0])
        pixel = IndexValue(Index.of(axes[2]) * int(outputs[0].shape[3]) + axes[3])
        part = select("eq", _load(1, axes, high, wide, fill=-1.0), pixel, _load(0, axes, high, wide), 0.0)
        return Loops(_gather(axes, high, wide, part), results=tuple(outputs))
