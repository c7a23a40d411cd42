"""Max and average pooling over windows of the last two axes, and their gradients (gathers, never scatters)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import numpy as np

from convc.errors import IRError
from convc.ir.core import RESULT, Array, Builder, Node, Op, Value
from convc.ir.index import Axis, Bound, Index
from convc.ir.kernel_rules import EXACT_BELOW
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, Stage
from convc.ir.scalar import Binary, Const, IndexValue, Local, Scalar, load, maximum, scalar, select, store
from convc.ir.types import MAX_EXTENT, TensorType


def mean_gradient(dx: TensorType, y: TensorType, dy: TensorType) -> tuple[TensorType, ...]:
    """Results of a mean's gradient: dx, whose means are of type y. Raises IRError where dy is not of that type."""
    if dy.logical() != y:
        raise IRError(f"dx {dx} gives dy {y}, not {dy}")
    return (dx,)


def winner_gradient(dx: TensorType, y: TensorType, dy: TensorType, indices: TensorType) -> tuple[TensorType, ...]:
    """Results of a maximum's gradient: dx, whose maxima are of type y. Raises IRError where the rest does not fit."""
    if dy.logical() != y or indices.logical() != TensorType("i32", y.shape):
        raise IRError(f"dx {dx} gives dy {y} and i32 indices of its shape, not {dy} and {indices}")
    return (dx,)


@dataclass(frozen=True)
class Pool(Op):
    """Windows of `kernel` (R, S) at `stride` (the kernel where it is left out), `padding` as for conv2d."""

    traits = frozenset({"pooling"})

    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = (0, 0)

    def validate(self) -> None:
        if len(self.kernel) != 2 or min(self.kernel) < 1:
            raise IRError(f"kernel must be two numbers of at least 1, not {list(self.kernel)}")
        if self.kernel[0] * self.kernel[1] > EXACT_BELOW:
            raise IRError(
                f"a window may have at most {EXACT_BELOW} taps, for indices to be exact in f32, not {list(self.kernel)}"
            )
        if len(self.stride) not in (0, 2) or (self.stride and min(self.stride) < 1):
            raise IRError(f"stride must be two numbers of at least 1, not {list(self.stride)}")
        if len(self.padding) not in (2, 4) or min(self.padding) < 0:
            raise IRError(f"padding must be two or four numbers of at least 0, not {list(self.padding)}")
        if self.stride == self.kernel:
            object.__setattr__(self, "stride", ())  # one spelling for one meaning
        if len(self.padding) == 4 and self.padding[:2] == self.padding[2:]:
            object.__setattr__(self, "padding", self.padding[:2])

    @property
    def step(self) -> tuple[int, int]:
        return (self.stride or self.kernel)[:2]  # type: ignore[return-value]

    @property
    def pads(self) -> tuple[int, int, int, int]:
        return (*self.padding, *self.padding) if len(self.padding) == 2 else self.padding  # type: ignore[return-value]

    @property
    def shared(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}

    def forward_type(self, x: TensorType) -> TensorType:
        if x.rank != 4:
            raise IRError(f"x must be NCHW, but its rank is {x.rank}")
        top, left, bottom, right = self.pads
        pq = []
        for extent, before, after, window, step, side in zip(
            x.shape[2:], (top, left), (bottom, right), self.kernel, self.step, ("height", "width")
        ):
            if extent + before + after >= MAX_EXTENT:
                raise IRError(f"the padded input must be below 2^31 in {side}, not {extent + before + after}")
            if max(before, after) >= window:
                raise IRError(f"padding must be smaller than the window, but {side} is padded by"
                              f" {max(before, after)} and the window's {side} is {window}")  # fmt: skip
            if window > extent + before + after:
                raise IRError(f"the window must fit in the padded input, but its {side} is {window}"
                              f" and the padded {side} is {extent + before + after}")  # fmt: skip
            pq.append((extent + before + after - window) // step + 1)
        return TensorType(x.dtype, (*x.shape[:2], *pq))

    def axes(self, x: TensorType, y: TensorType) -> dict[str, Axis]:
        extents = dict(zip("nchw", x.shape)) | dict(zip("pq", y.shape[2:])) | dict(zip("rs", self.kernel))
        return {name: Axis(name, extent) for name, extent in extents.items()}

    def tap(self, p: Axis, r: Axis, side: int) -> Index:
        return Index.of(p) * self.step[side] + r - self.pads[side]

    def windows(self, x: Array, fill: float) -> Array:
        """x padded with `fill` and cut in windows: [N, C, P, Q, R, S]."""
        top, left, bottom, right = self.pads
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, (2, 3))
        return windows[:, :, :: self.step[0], :: self.step[1]]

    def scatter(self, parts: Array, x: TensorType) -> Array:
        """The adjoint of `windows`: parts [N, C, P, Q, R, S] added up at their pixels."""
        top, left, bottom, right = self.pads
        (h, w), (u, v) = (int(e) for e in x.shape[2:]), self.step
        n, c, p, q, r, s = parts.shape
        padded = np.zeros((n, c, h + top + bottom, w + left + right), parts.dtype)
        for i in range(r):
            for j in range(s):
                padded[:, :, i : i + (p - 1) * u + 1 : u, j : j + (q - 1) * v + 1 : v] += parts[..., i, j]
        return padded[:, :, top : top + h, left : left + w]

    def tiles_exactly(self, x: TensorType, y: TensorType) -> bool:
        """Whether every pixel is in exactly one window."""
        covered = tuple(p * k for p, k in zip(y.shape[2:], self.kernel))
        return not self.stride and max(self.pads) == 0 and covered == tuple(x.shape[2:])

    def covering(self, ax: dict[str, Axis]) -> tuple[Index, Index, tuple[Bound, ...]]:
        """The window (p, q) whose tap (r, s) is pixel (h, w), and the guards under which there is one."""
        h = Index.of(ax["h"]) + self.pads[0] - ax["r"]
        w = Index.of(ax["w"]) + self.pads[1] - ax["s"]
        return (
            h // self.step[0],
            w // self.step[1],
            (Bound(h % self.step[0], 0, 1), Bound(w % self.step[1], 0, 1)),
        )

    def gather(self, ax: dict[str, Axis], x: TensorType, y: TensorType, part: Any) -> LoopNest:
        """dx from `part(p, q, guards)`, the share of one window, in the cheapest loop order."""
        n, c, r, s = (ax[a] for a in "ncrs")
        if self.tiles_exactly(x, y):
            value = part(Index.of(ax["p"]), Index.of(ax["q"]), ())
            pixel = (n, c, self.tap(ax["p"], r, 0), self.tap(ax["q"], s, 1))
            return LoopNest((n, c, ax["p"], ax["q"]), (Map((r, s), (store(0, pixel, value),)),))
        p, q, guards = self.covering(ax)
        stages: tuple[Stage, ...] = (
            Reduce((r, s), "sum", ("total",), (part(p, q, guards),)),
            Map((), (store(0, (n, c, ax["h"], ax["w"]), Local("total")),)),
        )
        return LoopNest((n, c, ax["h"], ax["w"]), stages)


@dataclass(frozen=True)
class MaxPool(Pool, name="max_pool"):
    """y[n,c,p,q] = max over r,s of x[n, c, p*u + r - top, q*v + s - left], padding never chosen.

    With `indices=True` a second result holds the winning tap r*S + s (the first of equal ones) as i32.
    """

    indices: bool = False

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        y = self.forward_type(x)
        return (y, TensorType("i32", y.shape)) if self.indices else (y,)

    def reference(self, x: Array) -> tuple[Array, ...]:
        windows = self.windows(x, -inf)
        flat = windows.reshape(*windows.shape[:4], -1)
        at = flat.argmax(-1)
        y = np.take_along_axis(flat, at[..., None], -1)[..., 0]
        return (y, at.astype(np.int32)) if self.indices else (y,)

    def augmented(self) -> Op:
        return replace(self, indices=True)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return (b(MaxPoolGrad(**self.shared, result=node.inputs[0].type), dy, node.outputs[1]),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        ax = self.axes(inputs[0], outputs[0])
        n, c, p, q, r, s = (ax[a] for a in "ncpqrs")
        value = load(0, n, c, self.tap(p, r, 0), self.tap(q, s, 1), fill=-inf)
        stores = [store(0, (n, c, p, q), Local("best"))]
        if not self.indices:
            reduction = Reduce((r, s), "max", ("best",), (value,))
        else:
            at = IndexValue(Index.of(r) * int(s.extent) + s)
            reduction = Reduce((r, s), "argmax", ("best", "at"), (value, at))
            stores.append(store(1, (n, c, p, q), Local("at")))
        return Loops(LoopNest((n, c, p, q), (reduction, Map((), tuple(stores)))), results=tuple(outputs))


@dataclass(frozen=True)
class MaxPoolGrad(Pool, name="max_pool_grad"):
    """dx = max_pool_grad(dy, indices): each window's gradient goes to the tap that won. Declared type: x's."""

    result: TensorType = field(kw_only=True, metadata=RESULT)

    def infer(self, dy: TensorType, indices: TensorType) -> tuple[TensorType, ...]:
        return winner_gradient(self.result, self.forward_type(self.result.logical()), dy, indices)

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("i32",) if operand == 1 else ("f32",)

    def whole_below(self, operand: int, inputs: Sequence[TensorType]) -> int | None:
        return self.kernel[0] * self.kernel[1] if operand == 1 else None

    def reference(self, dy: Array, indices: Array) -> tuple[Array, ...]:
        taps = np.arange(self.kernel[0] * self.kernel[1])
        parts = np.where(indices[..., None] == taps, dy[..., None], 0)
        return (self.scatter(parts.reshape(*dy.shape, *self.kernel), self.result),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        ax = self.axes(outputs[0], inputs[0])
        tap = IndexValue(Index.of(ax["r"]) * self.kernel[1] + ax["s"])

        def part(p: Index, q: Index, guards: tuple[Bound, ...]) -> Scalar:
            window = (ax["n"], ax["c"], p, q)
            return select("eq", load(1, *window, guards=guards, fill=-1.0), tap, load(0, *window, guards=guards), 0.0)

        return Loops(self.gather(ax, outputs[0], inputs[0], part), results=tuple(outputs))


@dataclass(frozen=True)
class AvgPool(Pool, name="avg_pool"):
    """y[n,c,p,q] = mean over r,s of x[n, c, p*u + r - top, q*v + s - left].

    The mean is over all taps, padding included as zeros, or with `count_include_pad=False` over those inside.
    """

    count_include_pad: bool = True

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return (self.forward_type(x),)

    def taps(self, x: Sequence[int], pq: Sequence[int]) -> Array:
        """How many taps each window's mean is over: [P, Q]."""
        if self.count_include_pad:
            return np.full([int(e) for e in pq], float(self.kernel[0] * self.kernel[1]))
        return np.asarray(self.windows(np.ones((1, 1, int(x[2]), int(x[3]))), 0.0).sum((-1, -2))[0, 0])

    def reference(self, x: Array) -> tuple[Array, ...]:
        windows = self.windows(x, 0.0)
        return (windows.sum((-1, -2)) / self.taps(x.shape, windows.shape[2:4]).astype(x.dtype),)

    def divisor(self, p: Index, q: Index, x: TensorType) -> Scalar:
        """The same number as an expression of the window's coordinates."""
        if self.count_include_pad:
            return Const(float(self.kernel[0] * self.kernel[1]))
        sides = []
        for side, coordinate in enumerate((p, q)):
            first = coordinate * self.step[side] - self.pads[side]
            end = first + self.kernel[side]
            inside = Binary("min", IndexValue(end), scalar(float(x.shape[2 + side])))
            sides.append(inside - Binary("max", IndexValue(first), scalar(0.0)))
        return maximum(sides[0] * sides[1], 1.0)  # a gradient asks for windows that are not there, too: 0/0 is NaN

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        op = AvgPoolGrad(**self.shared, count_include_pad=self.count_include_pad, result=node.inputs[0].type)
        return (b(op, dy),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        ax = self.axes(inputs[0], outputs[0])
        n, c, p, q, r, s = (ax[a] for a in "ncpqrs")
        value = load(0, n, c, self.tap(p, r, 0), self.tap(q, s, 1))
        if self.kernel == (1, 1):  # 0 + x, over 1: a point of its own, which fuses with its neighbours
            return Loops(
                LoopNest((n, c, p, q), (Map((), (store(0, (n, c, p, q), value + 0.0),)),)), results=tuple(outputs)
            )
        mean = Local("total") / self.divisor(Index.of(p), Index.of(q), inputs[0])
        stages = (Reduce((r, s), "sum", ("total",), (value,)), Map((), (store(0, (n, c, p, q), mean),)))
        return Loops(LoopNest((n, c, p, q), stages), results=tuple(outputs))


@dataclass(frozen=True)
class AvgPoolGrad(AvgPool, name="avg_pool_grad"):
    """dx = avg_pool_grad(dy): each window's gradient shared evenly among its taps. Declared type: x's."""

    result: TensorType = field(kw_only=True, metadata=RESULT)

    def infer(self, dy: TensorType) -> tuple[TensorType, ...]:
        return mean_gradient(self.result, self.forward_type(self.result.logical()), dy)

    def reference(self, dy: Array) -> tuple[Array, ...]:
        share = dy / self.taps(self.result.shape, dy.shape[2:]).astype(dy.dtype)
        parts = np.broadcast_to(share[..., None, None], (*dy.shape, *self.kernel))
        return (self.scatter(parts, self.result),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        ddx = grads[0]
        assert ddx is not None
        return (b(AvgPool(**self.shared, count_include_pad=self.count_include_pad), ddx),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        ax = self.axes(outputs[0], inputs[0])

        def part(p: Index, q: Index, guards: tuple[Bound, ...]) -> Scalar:
            return load(0, ax["n"], ax["c"], p, q, guards=guards) / self.divisor(p, q, outputs[0])

        return Loops(self.gather(ax, outputs[0], inputs[0], part), results=tuple(outputs))
