"""conv2d and its two gradients. Tensors: x NCHW, w KCRS, y NKPQ (CUTLASS writes NHWC and KRSC).

    y[n,k,p,q] = sum over c,r,s of x[n, c, p*u + r*dh - top, q*v + s*dw - left] * w[k,c,r,s]

(cross-correlation; in group g of G, k and c run over that group's channels; x is 0 outside).
Source: Chetlur et al., cuDNN: Efficient Primitives for Deep Learning, 2014, equation 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np

from convc.errors import IRError
from convc.ir.core import RESULT, Array, Builder, Node, Op, Value
from convc.ir.gemm_view import ACC, GemmView
from convc.ir.index import Axis, Index
from convc.ir.kernels import Gemm
from convc.ir.scalar import load, store
from convc.ir.types import MAX_EXTENT, TensorType, f32


@dataclass(frozen=True)
class Conv(Op):
    """Attributes that forward and both gradients share.

    stride (u, v); padding (ph, pw) or (top, left, bottom, right); dilation (dh, dw); groups.
    """

    traits = frozenset({"convolution", "matmul"})

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def validate(self) -> None:
        if len(self.stride) != 2 or min(self.stride) < 1:
            raise IRError(f"stride must be two numbers of at least 1, not {list(self.stride)}")
        if len(self.dilation) != 2 or min(self.dilation) < 1:
            raise IRError(f"dilation must be two numbers of at least 1, not {list(self.dilation)}")
        if len(self.padding) not in (2, 4) or min(self.padding) < 0:
            raise IRError(
                "padding must be two or four numbers (top, left, bottom, right) of at least 0,"
                f" not {list(self.padding)}"
            )
        if self.groups < 1:
            raise IRError(f"groups must be at least 1, not {self.groups}")
        if len(self.padding) == 4 and self.padding[:2] == self.padding[2:]:
            object.__setattr__(self, "padding", self.padding[:2])  # one spelling for one meaning

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right)."""
        return (*self.padding, *self.padding) if len(self.padding) == 2 else self.padding  # type: ignore[return-value]

    @property
    def shared(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def forward_type(self, x: TensorType, w: TensorType) -> TensorType:
        if x.rank != 4 or w.rank != 4:
            raise IRError(f"x must be NCHW and w KCRS, but their ranks are {x.rank} and {w.rank}")
        if x.dtype != w.dtype:
            raise IRError(f"x and w must have one dtype, but they are {x.dtype} and {w.dtype}")
        (n, c, *hw), (k, cw, *rs) = x.shape, w.shape
        if c % self.groups or k % self.groups:
            raise IRError(f"groups must divide C and K, but {self.groups} does not divide C={c} and K={k}")
        if c // self.groups != cw:
            raise IRError(
                f"x has C={c} channels in {self.groups} group(s), so w (KCRS) must have C={c // self.groups}, not {cw}"
            )
        top, left, bottom, right = self.pads
        pq = []
        for extent, before, after, taps, stride, dilation, axis in zip(
            hw, (top, left), (bottom, right), rs, self.stride, self.dilation, ("height", "width")
        ):
            span, padded = (taps - 1) * dilation + 1, extent + before + after
            if padded >= MAX_EXTENT:
                raise IRError(
                    f"the padded input must be below 2^31 in {axis}, not {padded} ({before}+{extent}+{after})"
                )
            if span > padded:
                raise IRError(
                    f"the kernel must fit in the padded input, but its {axis} spans {span}"
                    f" ({taps} taps, dilation {dilation}) and the padded {axis} is {padded} ({before}+{extent}+{after})"
                )
            pq.append((padded - span) // stride + 1)
        return TensorType(x.dtype, (n, k, *pq))

    def tap(self, p: Axis, r: Axis, side: int) -> Index:
        """The input coordinate that tap r of output p reads; side 0 is height, 1 is width."""
        return Index.of(p) * self.stride[side] + Index.of(r) * self.dilation[side] - self.pads[side]

    def windows(self, x: Array, rs: Sequence[int], pq: Sequence[int]) -> Array:
        """x padded and cut in windows: [N, C, P, Q, R, S]."""
        top, left, bottom, right = self.pads
        (u, v), (dh, dw) = self.stride, self.dilation
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        span = ((rs[0] - 1) * dh + 1, (rs[1] - 1) * dw + 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))
        return windows[:, :, ::u, ::v, ::dh, ::dw][:, :, : pq[0], : pq[1]]


def _grouped(x: Array, groups: int, axis: int) -> Array:
    """Axis cut in [groups, rest]."""
    shape = x.shape
    return x.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


@dataclass(frozen=True)
class Conv2d(Conv, name="conv2d"):
    """y = conv2d(x, w): the forward convolution (fprop)."""

    @property
    def label(self) -> str:
        return "fprop"

    def infer(self, x: TensorType, w: TensorType) -> tuple[TensorType, ...]:
        return (self.forward_type(x, w),)

    def reference(self, x: Array, w: Array) -> tuple[Array, ...]:
        y = self.forward_type(_type(x), _type(w)).shape
        windows = _grouped(self.windows(x, w.shape[2:], y[2:]), self.groups, 1)  # [N, G, C/G, P, Q, R, S]
        out = np.einsum("ngcpqrs,gkcrs->ngkpq", windows, _grouped(w, self.groups, 0), optimize=True)
        return (out.reshape(x.shape[0], *y[1:]),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        x, w = node.inputs
        (dy,) = grads
        assert dy is not None
        return (
            b(Conv2dDgrad(**self.shared, result=x.type), dy, w),
            b(Conv2dWgrad(**self.shared, result=w.type), dy, x),
        )

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        ax = _Axes.of(self, inputs[0], inputs[1], outputs[0])
        view = GemmView(
            batch=(ax.g,), m=(ax.k,), n=(ax.n, ax.p, ax.q), k=(ax.c, ax.r, ax.s),
            a=load(1, ax.filter, ax.c, ax.r, ax.s),
            b=load(0, ax.n, ax.channel, self.tap(ax.p, ax.r, 0), self.tap(ax.q, ax.s, 1)),
            stores=(store(0, (ax.n, ax.filter, ax.p, ax.q), ACC),),
        )  # fmt: skip
        return Gemm((view,), results=tuple(outputs))


@dataclass(frozen=True)
class Conv2dDgrad(Conv, name="conv2d_dgrad"):
    """dx = conv2d_dgrad(dy, w): the gradient by the data; the declared type is x's.

    dx[n,c,h,w] = sum over k,r,s with h = p*u + r*dh - top (w likewise) of dy[n,k,p,q] * w[k,c,r,s]
    """

    result: TensorType = field(kw_only=True, metadata=RESULT)

    @property
    def label(self) -> str:
        return "dgrad"

    def infer(self, dy: TensorType, w: TensorType) -> tuple[TensorType, ...]:
        expected = self.forward_type(self.result.logical(), w.logical())
        if dy.logical() != expected:
            raise IRError(f"dx {self.result} and w {w} give dy {expected}, not {dy}")
        return (self.result,)

    def reference(self, dy: Array, w: Array) -> tuple[Array, ...]:
        top, left, bottom, right = self.pads
        (u, v), (dh, dw) = self.stride, self.dilation
        (_, c, h, wd), (p, q), (r, s) = self.result.shape, dy.shape[2:], w.shape[2:]
        padded = np.zeros((dy.shape[0], c, h + top + bottom, wd + left + right), dy.dtype)
        dyg, wg = _grouped(dy, self.groups, 1), _grouped(w, self.groups, 0)
        for i in range(r):
            for j in range(s):
                part = np.einsum("ngkpq,gkc->ngcpq", dyg, wg[..., i, j], optimize=True)
                target = padded[:, :, i * dh : i * dh + (p - 1) * u + 1 : u, j * dw : j * dw + (q - 1) * v + 1 : v]
                target += part.reshape(target.shape)
        return (padded[:, :, top : top + h, left : left + wd],)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy, w = node.inputs
        (ddx,) = grads
        assert ddx is not None
        return b(Conv2d(**self.shared), ddx, w), b(Conv2dWgrad(**self.shared, result=w.type), dy, ddx)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        """u * v disjoint phases: pixels with one remainder of h + top by u meet one set of taps only."""
        ax = _Axes.of(self, outputs[0], inputs[1], inputs[0])
        height = _phases(outputs[0].shape[2], ax.r.extent, self.stride[0], self.dilation[0], self.pads[0], "h", "r")
        width = _phases(outputs[0].shape[3], ax.s.extent, self.stride[1], self.dilation[1], self.pads[1], "w", "s")
        views = []
        for h in height:
            for w in width:
                view = GemmView(
                    batch=(ax.g,), m=(ax.c,), n=(ax.n, h.pixel, w.pixel), k=(ax.k, h.tap, w.tap),
                    a=load(1, ax.filter, ax.c, h.tap_index, w.tap_index),
                    b=load(0, ax.n, ax.filter, h.output, w.output),
                    stores=(store(0, (ax.n, ax.channel, h.coordinate, w.coordinate), ACC),),
                )  # fmt: skip
                views.append(view)
        return Gemm(tuple(views), results=tuple(outputs))


@dataclass(frozen=True)
class Conv2dWgrad(Conv, name="conv2d_wgrad"):
    """dw = conv2d_wgrad(dy, x): the gradient by the weights; the declared type is w's.

    dw[k,c,r,s] = sum over n,p,q of dy[n,k,p,q] * x[n, c, p*u + r*dh - top, q*v + s*dw - left]
    """

    result: TensorType = field(kw_only=True, metadata=RESULT)

    @property
    def label(self) -> str:
        return "wgrad"

    def infer(self, dy: TensorType, x: TensorType) -> tuple[TensorType, ...]:
        expected = self.forward_type(x.logical(), self.result.logical())
        if dy.logical() != expected:
            raise IRError(f"x {x} and dw {self.result} give dy {expected}, not {dy}")
        return (self.result,)

    def reference(self, dy: Array, x: Array) -> tuple[Array, ...]:
        windows = _grouped(self.windows(x, self.result.shape[2:], dy.shape[2:]), self.groups, 1)
        dw = np.einsum("ngkpq,ngcpqrs->gkcrs", _grouped(dy, self.groups, 1), windows, optimize=True)
        return (dw.reshape([int(e) for e in self.result.shape]),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        dy, x = node.inputs
        (ddw,) = grads
        assert ddw is not None
        return b(Conv2d(**self.shared), x, ddw), b(Conv2dDgrad(**self.shared, result=x.type), dy, ddw)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        ax = _Axes.of(self, inputs[1], outputs[0], inputs[0])
        view = GemmView(
            batch=(ax.g,), m=(ax.k,), n=(ax.c, ax.r, ax.s), k=(ax.n, ax.p, ax.q),
            a=load(0, ax.n, ax.filter, ax.p, ax.q),
            b=load(1, ax.n, ax.channel, self.tap(ax.p, ax.r, 0), self.tap(ax.q, ax.s, 1)),
            stores=(store(0, (ax.filter, ax.c, ax.r, ax.s), ACC),),
        )  # fmt: skip
        return Gemm((view,), results=tuple(outputs))


@dataclass(frozen=True)
class _Axes:
    """The named axes of a convolution; `filter` and `channel` are k and c with their group's offset."""

    n: Axis
    g: Axis
    k: Axis
    c: Axis
    p: Axis
    q: Axis
    r: Axis
    s: Axis

    @staticmethod
    def of(conv: Conv, x: TensorType, w: TensorType, y: TensorType) -> _Axes:
        (k, c, r, s), (p, q) = w.shape, y.shape[2:]
        extents = {
            "n": x.shape[0],
            "g": conv.groups,
            "k": k // conv.groups,
            "c": c,
            "p": p,
            "q": q,
            "r": r,
            "s": s,
        }
        return _Axes(**{name: Axis(name, extent) for name, extent in extents.items()})

    @property
    def filter(self) -> Index:
        return Index.of(self.g) * int(self.k.extent) + self.k

    @property
    def channel(self) -> Index:
        return Index.of(self.g) * int(self.c.extent) + self.c


@dataclass(frozen=True)
class _Phase:
    """Pixels `coordinate = first + stride * pixel` and the taps that reach them."""

    pixel: Axis
    tap: Axis
    coordinate: Index
    tap_index: Index
    output: Index


def _phases(
    extent: int, taps: int, stride: int, dilation: int, before: int, pixel: str, tap: str
) -> tuple[_Phase, ...]:
    """One phase for each remainder of (coordinate + before) by the stride that occurs.

    A tap t reaches a coordinate h where h + before - t*dilation is a multiple of the stride. In one phase
    these are every (stride / gcd(stride, dilation))-th tap from a first one, or none: then dx is 0 there.
    """
    step = stride // gcd(stride, dilation)
    phases = []
    for first in range(min(stride, extent)):
        pixels = Axis(pixel, -(-(extent - first) // stride))
        start = next((t for t in range(min(step, taps)) if (first + before - t * dilation) % stride == 0), taps)
        reached = Axis(tap, max(0, -(-(taps - start) // step)))
        offset = (first + before - start * dilation) // stride
        phases.append(
            _Phase(
                pixel=pixels,
                tap=reached,
                coordinate=Index.of(pixels) * stride + first,
                tap_index=Index.of(reached) * step + (start if reached.extent else 0),
                output=Index.of(pixels) + offset - Index.of(reached) * (step * dilation // stride),
            )
        )
    return tuple(phases)


def _type(x: Array) -> TensorType:
    return f32(*x.shape)
