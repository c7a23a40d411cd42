"""Shapes and attributes of single operators drawn at random: every view against its definition.

Whole graphs are drawn by convc.testing.fuzz; tests/cuda draws from the families here, too.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from convc.errors import IRError
from convc.ir.core import OPS, Op
from convc.ir.ops.contract import Contract, Linear
from convc.ir.ops.conv import Conv2d, Conv2dDgrad, Conv2dWgrad
from convc.ir.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from convc.ir.ops.reduce import Broadcast, Sum
from convc.ir.types import Rows, TensorType, f32
from convc.testing import check_view
from tests.numerics.cases import Case

SIDE = st.integers(1, 9)
SMALL = st.integers(1, 3)


@st.composite
def batches(draw: st.DrawFn, most: int = 20) -> int:
    """Typed rows, or a fixed batch."""
    if draw(st.booleans()):
        return Rows(draw(st.integers(1, most)))
    return draw(st.integers(1, 4))


@st.composite
def convolutions(draw: st.DrawFn, rows: st.SearchStrategy[int]) -> list[Case]:
    """A convolution that fits, and its two gradients."""
    n, groups, channels, filters = draw(rows), draw(SMALL), draw(SMALL), draw(SMALL)
    taps = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    attributes: dict[str, Any] = {
        "stride": (draw(SMALL), draw(SMALL)),
        "padding": tuple(draw(st.integers(0, 3)) for _ in range(4)),
        "dilation": (draw(SMALL), draw(SMALL)),
        "groups": groups,
    }
    top, left, bottom, right = attributes["padding"]
    least = [(t - 1) * d + 1 - p for t, d, p in zip(taps, attributes["dilation"], (top + bottom, left + right))]
    image = [max(1, low) + draw(st.integers(0, 5)) for low in least]
    x, w = f32(n, groups * channels, *image), f32(groups * filters, channels, *taps)
    y = Conv2d(**attributes).infer(x, w)[0]
    return [
        Case("fprop", Conv2d(**attributes), (x, w)),
        Case("dgrad", Conv2dDgrad(**attributes, result=x), (y, w)),
        Case("wgrad", Conv2dWgrad(**attributes, result=w), (y, x)),
    ]


@st.composite
def pools(draw: st.DrawFn) -> list[Case]:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    attributes: dict[str, Any] = {
        "kernel": kernel,
        "stride": draw(st.one_of(st.just(()), st.tuples(SMALL, SMALL))),
        "padding": tuple(draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)),
    }
    image = [max(1, kernel[i] - attributes["padding"][i]) + draw(st.integers(0, 5)) for i in range(2)]
    x = f32(draw(batches()), draw(SMALL), *image)
    y = MaxPool(**attributes).infer(x)[0]
    counted = draw(st.booleans())
    return [
        Case("max", MaxPool(**attributes, indices=True), (x,)),
        Case("max_grad", MaxPoolGrad(**attributes, result=x), (y, TensorType("i32", y.shape))),
        Case("avg", AvgPool(**attributes, count_include_pad=counted), (x,)),
        Case("avg_grad", AvgPoolGrad(**attributes, count_include_pad=counted, result=x), (y,)),
    ]


@st.composite
def layers(draw: st.DrawFn) -> list[Case]:
    """A linear layer with its gradients, and the loops around it."""
    n, c, k = draw(batches(40)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    x, w, y = f32(n, c), f32(k, c), f32(n, k)
    labels = TensorType("i32", (n,))
    image = f32(n, draw(SIDE), draw(SIDE), draw(SIDE))
    axes = tuple(sorted(draw(st.sets(st.integers(0, 3)))))
    mean = draw(st.booleans())
    loss: tuple[Op, ...] = (OPS["cross_entropy"](), OPS["correct"](), OPS["softmax"]())
    kept = Sum(axes).infer(image)[0]
    cases = [
        Case("linear", Linear(), (x, w)),
        Case("dgrad", Contract("nk,kc->nc"), (y, w)),
        Case("wgrad", Contract("nk,nc->kc"), (y, x)),
        *(Case(op.name, op, (y,) if op.name == "softmax" else (y, labels)) for op in loss),
        Case("cross_entropy_grad", OPS["cross_entropy_grad"](), (f32(n), y, labels)),
        Case("sum", Sum(axes, mean), (image,)),
        Case("bias", OPS["bias_add"](), (image, f32(image.shape[1]))),
    ]
    if not isinstance(n, Rows) or kept.rows is not None:
        cases.append(Case("broadcast", Broadcast(axes, mean, result=image), (kept,)))
    return cases


FAMILIES = {"convolutions": convolutions(batches()), "pools": pools(), "layers": layers()}


@settings(max_examples=40)
@given(convolutions(st.just(1)))
def test_every_tap_of_any_convolution_is_met_once(cases: list[Case]) -> None:
    for case in cases:
        check_view(case.op, *case.inputs)


@settings(max_examples=40)
@given(pools())
def test_every_gather_of_any_pool_is_in_bounds(cases: list[Case]) -> None:
    for case in cases:
        check_view(case.op, *case.inputs, rows=1 if isinstance(case.inputs[0].shape[0], Rows) else None)


@settings(max_examples=200)
@given(convolutions(batches()))
def test_gradients_of_a_gradient_that_does_not_fit_are_refused(cases: list[Case]) -> None:
    """dgrad and wgrad verify the declared type against the forward rule: one pixel more in y never passes."""
    y, w = cases[1].inputs
    x = cases[0].inputs[0]
    for op, operands in ((cases[1].op, (w,)), (cases[2].op, (x,))):
        wrong = TensorType("f32", (*y.shape[:3], int(y.shape[3]) + 1))
        with pytest.raises(IRError, match="give dy"):
            op.infer(wrong, *operands)
