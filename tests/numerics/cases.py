"""For every operator the shapes and attributes it is tested on. No extent divides a tile or a vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convc.ir.core import OPS, Op, checked_infer
from convc.ir.ops.adaptive_pool import AdaptiveAvgPool, AdaptiveAvgPoolGrad, AdaptiveMaxPool, AdaptiveMaxPoolGrad
from convc.ir.ops.clip import ClipScale, Hypot, Norm
from convc.ir.ops.contract import Contract, Linear
from convc.ir.ops.conv import Conv2d, Conv2dDgrad, Conv2dWgrad
from convc.ir.ops.count import Count
from convc.ir.ops.dropout import WORD, Dropout
from convc.ir.ops.fused import Fused, Step
from convc.ir.ops.loss import Softmax, SoftmaxGrad
from convc.ir.ops.norm import Lrn, LrnGrad, LrnTerms
from convc.ir.ops.optim import SgdMomentum
from convc.ir.ops.pointwise import Add, BiasAdd, LeakyRelu, LeakyReluGrad, Relu, ReluGrad, Sigmoid
from convc.ir.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from convc.ir.ops.reduce import Broadcast, Full, Sum
from convc.ir.ops.shape import Relayout, Reshape, batch_blocked
from convc.ir.types import Rows, TensorType, f32

CONVOLUTIONS: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "plain": ({}, (3, 7, 6), (5, 3, 3, 2)),
    "pointwise": ({}, (5, 3, 5), (7, 5, 1, 1)),
    "whole": ({}, (2, 4, 3), (3, 2, 4, 3)),
    "padded": ({"padding": (2, 1)}, (2, 5, 4), (3, 2, 3, 3)),
    "lopsided": ({"padding": (1, 0, 2, 3)}, (2, 5, 4), (3, 2, 3, 3)),
    "strided": ({"stride": (2, 3), "padding": (1, 2)}, (3, 8, 9), (2, 3, 3, 2)),
    "skipping": ({"stride": (4, 3)}, (2, 9, 8), (3, 2, 2, 2)),
    "dilated": ({"dilation": (2, 3), "padding": (2, 3)}, (2, 7, 8), (3, 2, 3, 3)),
    "strided_dilated": ({"stride": (2, 3), "dilation": (2, 2), "padding": (1, 0, 2, 1)}, (2, 8, 9), (3, 2, 2, 3)),
    "stride_divides_dilation": ({"stride": (2, 4), "dilation": (4, 2)}, (1, 9, 9), (2, 1, 2, 3)),
    "grouped": ({"groups": 3, "padding": (1, 1)}, (6, 5, 4), (9, 2, 3, 3)),
    "grouped_strided": ({"groups": 2, "stride": (2, 2), "padding": (0, 1, 1, 0)}, (4, 7, 6), (6, 2, 3, 3)),
    "depthwise": ({"groups": 5, "padding": (1, 1)}, (5, 6, 5), (5, 1, 3, 3)),
    "one_pixel": ({"padding": (0, 0, 0, 1)}, (3, 1, 1), (1, 3, 1, 2)),
    "unreached": ({"stride": (2, 2), "padding": (0, 2, 0, 0)}, (1, 2, 1), (1, 1, 1, 2)),
    "depthwise_multiplied": ({"groups": 3, "stride": (2, 1)}, (3, 6, 5), (6, 1, 3, 2)),
}
"""name: (attributes, x without rows, w)"""

POOLS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "exact": ({"kernel": (2, 2)}, (3, 6, 4)),
    "cut": ({"kernel": (2, 3)}, (3, 7, 8)),
    "overlapping": ({"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}, (2, 7, 5)),
    "lopsided": ({"kernel": (3, 3), "stride": (2, 2), "padding": (2, 0, 1, 2)}, (2, 6, 5)),
    "gaps": ({"kernel": (1, 2), "stride": (2, 3)}, (2, 5, 8)),
    "whole": ({"kernel": (4, 3)}, (5, 4, 3)),
}

ADAPTIVE: dict[str, tuple[tuple[int, int], tuple[int, ...]]] = {
    "global": ((1, 1), (5, 4, 3)),
    "even": ((3, 2), (2, 6, 4)),
    "uneven": ((3, 4), (3, 7, 6)),
    "same": ((2, 5), (2, 2, 5)),
    "nearly_same": ((4, 6), (2, 5, 7)),
}
"""name: (output, x without rows)"""

NORMS: dict[str, dict[str, Any]] = {
    "paper": {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0},
    "even": {"size": 4, "alpha": 0.5, "beta": 0.5, "k": 1.0},
    "wide": {"size": 17, "alpha": 1.0, "beta": 1.25, "k": 0.5},
    "one": {"size": 1, "alpha": 0.3},
}


@dataclass(frozen=True)
class Case:
    """An operator and its operand types."""

    name: str
    op: Op
    inputs: tuple[TensorType, ...]

    @property
    def outputs(self) -> tuple[TensorType, ...]:
        return checked_infer(self.op, self.inputs)


def convolutions(n: int) -> list[Case]:
    """fprop, dgrad and wgrad of every convolution, on n rows (typed or not)."""
    cases = []
    for name, (attributes, image, w) in CONVOLUTIONS.items():
        x, weight = f32(n, *image), f32(*w)
        y = Conv2d(**attributes).infer(x, weight)[0]
        cases += [
            Case(f"conv2d-{name}", Conv2d(**attributes), (x, weight)),
            Case(f"dgrad-{name}", Conv2dDgrad(**attributes, result=x), (y, weight)),
            Case(f"wgrad-{name}", Conv2dWgrad(**attributes, result=weight), (y, x)),
        ]
    return cases


def pools(n: int) -> list[Case]:
    cases = []
    for name, (attributes, image) in POOLS.items():
        x = f32(n, *image)
        y = MaxPool(**attributes).infer(x)[0]
        indices = TensorType("i32", y.shape)
        cases += [
            Case(f"max_pool-{name}", MaxPool(**attributes), (x,)),
            Case(f"max_pool_indices-{name}", MaxPool(**attributes, indices=True), (x,)),
            Case(f"max_pool_grad-{name}", MaxPoolGrad(**attributes, result=x), (y, indices)),
        ]
        for counted in (True, False):
            mark = "" if counted else "_inside"
            cases += [
                Case(f"avg_pool{mark}-{name}", AvgPool(**attributes, count_include_pad=counted), (x,)),
                Case(
                    f"avg_pool_grad{mark}-{name}",
                    AvgPoolGrad(**attributes, count_include_pad=counted, result=x),
                    (y,),
                ),
            ]
    return cases


def adaptive_pools(n: int) -> list[Case]:
    cases = []
    for name, (output, image) in ADAPTIVE.items():
        x = f32(n, *image)
        y = AdaptiveMaxPool(output).infer(x)[0]
        cases += [
            Case(f"adaptive_max_pool-{name}", AdaptiveMaxPool(output), (x,)),
            Case(f"adaptive_max_pool_indices-{name}", AdaptiveMaxPool(output, indices=True), (x,)),
            Case(
                f"adaptive_max_pool_grad-{name}",
                AdaptiveMaxPoolGrad(output, result=x),
                (y, TensorType("i32", y.shape)),
            ),
            Case(f"adaptive_avg_pool-{name}", AdaptiveAvgPool(output), (x,)),
            Case(f"adaptive_avg_pool_grad-{name}", AdaptiveAvgPoolGrad(output, result=x), (y,)),
        ]
    return cases


def regularisers(n: int) -> list[Case]:
    """Normalisation across channels, dropout, leaky activations; those that fuse also in a matrix product."""
    image, logits, weight, bias = f32(n, 7, 3, 5), f32(n, 11), f32(7, 11), f32(7)
    dropped = (Step(BiasAdd(), (5, 2)), Step(LeakyRelu(0.2), (6,)), Step(Dropout(0.3, 4), (7, 3, 4)))
    filters = f32(7, 2, 3, 3)
    cases = [
        Case("dropout-image", Dropout(), (image, WORD, WORD)),
        Case("dropout-logits", Dropout(0.9, 2**32 - 1), (logits, WORD, WORD)),
        Case("dropout-none", Dropout(0.0), (logits, WORD, WORD)),
        Case("count", Count(), (WORD,)),
        Case("dropout-flat", Dropout(0.25), (f32(37), WORD, WORD)),
        Case("fused-linear-dropout", Fused(Linear(), dropped), (logits, weight, bias, WORD, WORD)),
        Case(
            "fused-conv-dropout",
            Fused(Conv2d(), (Step(Dropout(0.4), (4, 2, 3)),)),
            (f32(n, 2, 5, 7), filters, WORD, WORD),
        ),
        Case(
            "fused-dgrad-dropout",
            Fused(Conv2dDgrad(stride=(2, 1), result=f32(n, 2, 7, 6)), (Step(Dropout(0.6, 1), (4, 2, 3)),)),
            (f32(n, 7, 3, 4), filters, WORD, WORD),
        ),
        Case("leaky_relu", LeakyRelu(), (image,)),
        Case("leaky_relu-steep", LeakyRelu(1.5), (logits,)),
        Case("leaky_relu_grad", LeakyReluGrad(0.2), (image, image)),
    ]
    for name, attributes in NORMS.items():
        cases += [
            Case(f"lrn-{name}", Lrn(**attributes), (image,)),
            Case(f"lrn_terms-{name}", LrnTerms(**attributes), (image, image)),
            Case(f"lrn_grad-{name}", LrnGrad(**attributes), (image, image, image)),
        ]
    return cases


def others(n: int) -> list[Case]:
    """Every operator that is no convolution and no pooling."""
    image, logits, one, row = f32(n, 3, 5, 4), f32(n, 11), f32(), f32(n)
    labels, weight, bias = TensorType("i32", (n,)), f32(7, 11), f32(7)
    filters, hidden = f32(5, 3, 3, 3), f32(n, 7)
    strided: dict[str, Any] = {"stride": (2, 1), "padding": (1, 0, 2, 1)}
    y = Conv2d(**strided).infer(image, filters)[0]
    conv_steps = (Step(BiasAdd(), (4, 2)), Step(Relu(), (5,)), Step(Add(), (6, 3)))
    cases = [
        Case("linear", Linear(), (logits, weight)),
        Case("linear-grad-x", Contract("nk,kc->nc"), (hidden, weight)),
        Case("linear-grad-w", Contract("nk,nc->kc"), (hidden, logits)),
        Case("contract-batched", Contract("gij,gjk->gik"), (f32(3, 5, 7), f32(3, 7, 2))),
        Case("contract-dot", Contract("n,n->"), (f32(37), f32(37))),
        Case("contract-outer", Contract("a,b->ab"), (f32(5), f32(19))),
        Case("fused-linear", Fused(Linear(), (Step(BiasAdd(), (3, 2)), Step(Sigmoid(), (4,)))), (logits, weight, bias)),
        Case("fused-conv", Fused(Conv2d(**strided), conv_steps), (image, filters, f32(5), y)),
        Case(
            "fused-dgrad",
            Fused(Conv2dDgrad(**strided, result=image), (Step(ReluGrad(), (3, 2)),)),
            (y, filters, image),
        ),
        Case(
            "fused-wgrad",
            Fused(Conv2dWgrad(**strided, result=filters), (Step(OPS["mul"](), (3, 2)),)),
            (y, image, one),
        ),
        Case("bias_add-image", BiasAdd(), (image, f32(3))),
        Case("bias_add-logits", BiasAdd(), (logits, f32(11))),
        Case("bias_add-last", BiasAdd(axis=3), (image, f32(4))),
        Case("add-scalar", Add(), (image, one)),
        Case("mul-scalar", OPS["mul"](), (logits, one)),
        Case("mul-self", OPS["mul"](), (image, image)),
        Case("add-flat", Add(), (f32(37), f32(37))),
        Case("sum-rows", Sum((0,)), (logits,)),
        Case("sum-rows-mean", Sum((0,), mean=True), (row,)),
        Case("sum-bias", Sum((0, 2, 3)), (image,)),
        Case("sum-all-mean", Sum((0, 1, 2, 3), mean=True), (image,)),
        Case("sum-inner", Sum((1, 3), mean=True), (image,)),
        Case("sum-none", Sum(()), (logits,)),
        Case("broadcast-rows", Broadcast((0,), mean=True, result=row), (one,)),
        Case("broadcast-bias", Broadcast((0, 2, 3), mean=True, result=image), (f32(3),)),
        Case("broadcast-inner", Broadcast((1, 3), result=image), (f32(n, 5),)),
        Case("full", Full(value=0.1, result=image), ()),
        Case("reshape", Reshape(result=f32(n, 4, 15)), (image,)),
        Case("reshape-odd", Reshape(result=f32(n, 2, 6, 5)), (image,)),
        Case("flatten", OPS["flatten"](), (image,)),
        Case("relayout", Relayout(result=image), (image,)),
        Case("relayout-blocked", Relayout(result=batch_blocked(image, 4)), (image,)),
        Case("softmax", Softmax(), (logits,)),
        Case("softmax-inner", Softmax(axis=2), (image,)),
        Case("softmax_grad", SoftmaxGrad(), (logits, logits)),
        Case("cross_entropy", OPS["cross_entropy"](), (logits, labels)),
        Case("cross_entropy_grad", OPS["cross_entropy_grad"](), (row, logits, labels)),
        Case("correct", OPS["correct"](), (logits, labels)),
        Case("mse", OPS["mse"](), (image, image)),
        Case("mse_grad", OPS["mse_grad"](), (one, logits, logits)),
        Case("sgd", OPS["sgd"](), (filters, filters, one, one)),
        Case("momentum", SgdMomentum(), (weight, weight, weight, one, one, one)),
        Case("nesterov", SgdMomentum(nesterov=True), (bias, bias, bias, one, one, one)),
        Case("adam", OPS["adam"](), (filters, filters, filters, filters, *[one] * 6)),
        Case("adamw", OPS["adamw"](), (weight, weight, weight, weight, *[one] * 6)),
        Case("rmsprop", OPS["rmsprop"](), (filters, filters, filters, *[one] * 4)),
        Case("rmsprop_momentum", OPS["rmsprop_momentum"](), (bias, bias, bias, bias, *[one] * 5)),
        Case("norm-filters", Norm((1, 2, 3)), (filters,)),
        Case("norm-all", Norm((0, 1)), (weight,)),
        Case("norm-rows", Norm((0, 2, 3)), (image,)),
        Case("norm-none", Norm(()), (logits,)),
        Case("hypot", Hypot(), (image, image)),
        Case("hypot-scalar", Hypot(), (one, one)),
        Case("clip_scale", ClipScale(), (one, one)),
        Case("clip_scale-row", ClipScale(), (row, one)),
    ]
    for name in ("relu", "sigmoid", "tanh"):
        cases += [
            Case(name, OPS[name](), (image,)),
            Case(f"{name}_grad", OPS[f"{name}_grad"](), (image, image)),
        ]
    return cases


FAMILIES: dict[str, Callable[[int], list[Case]]] = {
    "convolutions": convolutions,
    "pools": pools,
    "adaptive_pools": adaptive_pools,
    "regularisers": regularisers,
    "others": others,
}


def all_cases(n: int) -> list[Case]:
    return [c for family in FAMILIES.values() for c in family(n)]


def names(cases: list[Case]) -> list[str]:
    return [c.name for c in cases]


ROWS = Rows(6)
CASES = all_cases(ROWS)
"""Typed rows, at a capacity that is no power of two."""
