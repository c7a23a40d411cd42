"""Every gradient against central differences whose step shrinks: the error falls with the square of the step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import pytest

import convc
from convc.compiler import model_graph
from convc.ir.core import OPS, Op
from convc.ir.kernels import KernelOp
from convc.ir.ops.loss import SoftmaxGrad
from convc.ir.types import Rows
from convc.testing import check_gradients
from tests.numerics.cases import Case, all_cases, names
from tests.numerics.helpers import combined


def has_gradient(op: Op) -> bool:
    return type(op).vjp is not Op.vjp


CASES = [  # rows are read off inputs: a case whose result alone has them comes with a fixed batch
    c
    for c in (*all_cases(Rows(3)), *(x for x in all_cases(3) if x.op.name == "broadcast"))
    if has_gradient(c.op)
    and any(t.dtype == "f32" for t in c.inputs)
    and any(t.rows is not None for t in c.inputs) == any(t.rows is not None for t in (*c.inputs, *c.outputs))
]
KINKED = ("relu", "leaky_relu", "max_pool", "adaptive_max_pool")


def test_operators_without_a_gradient_are_the_ones_that_need_none() -> None:
    """Updates, clipping and fused nodes come after autodiff; these are gradients themselves, or a count."""
    without = {n for n, cls in OPS.items() if not issubclass(cls, KernelOp) and cls.vjp is Op.vjp}
    assert without == {
        "fused", "sgd", "sgd_momentum", "adam", "adamw", "rmsprop", "rmsprop_momentum", "norm", "hypot", "clip_scale",
        "correct", "cross_entropy_grad", "mse_grad", "softmax_grad", "sigmoid_grad", "tanh_grad", "max_pool_grad",
        "adaptive_max_pool_grad", "lrn_terms", "lrn_grad",
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_operator(case: Case) -> None:
    graph = combined([case])
    for rows in (3, 2):
        inputs = {"c0.x0": apart(case.inputs[0].shape)[:rows]} if case.op.name in KINKED else {}
        errors = check_gradients(graph, rows=rows, inputs=inputs)
        assert len(errors) == sum(v.type.dtype == "f32" for v in graph.inputs)


def apart(shape: Sequence[int]) -> np.ndarray:
    """Numbers at least 1/8 from each other and 1/16 from 0: no step is long enough to reach a kink."""
    size = prod(shape)
    return ((np.random.default_rng(0).permutation(size) - size // 2 + 0.5) / 8).reshape([int(e) for e in shape])


def test_a_value_that_is_read_twice_gets_the_sum_of_its_gradients() -> None:
    check_gradients(
        convc.parse_graph("""
        graph @g(%x: f32[n<=4,3], %w: f32[3,3]) {
          %0: f32[n<=4,3] = linear(%x, %w)
          %1: f32[n<=4,3] = mul(%0, %x)
          %2: f32[n<=4,3] = tanh(%1)
          %3: f32[n<=4,3] = add(%2, %0)
          return %3
        }""")
    )


SMOOTH = (
    ("conv1", convc.nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0, 2, 1), groups=2)),
    ("act1", convc.nn.Tanh()),
    ("pool", convc.nn.AvgPool2d(2, 1, 1, count_include_pad=False)),
    ("res", convc.nn.Residual(("conv", convc.nn.Conv2d(4, 4, 3, padding=1)), ("act", convc.nn.Sigmoid()))),
    ("flatten", convc.nn.Flatten()),
    ("fc", convc.nn.Linear(80, 5)),
)  # fmt: skip


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("rows", [4, 3])
def test_a_whole_model(loss: str, rows: int) -> None:
    model = convc.nn.Sequential(*SMOOTH)
    _, graph = model_graph(model, (4, 2, 7, 6), "train", loss)
    check_gradients(graph, rows=rows)


def test_a_wrong_gradient_is_found() -> None:
    """softmax's gradient along the wrong axis, and one that is off in the seventh digit only."""

    class Wrong(type(OPS["softmax"]())):  # type: ignore[misc]
        def vjp(self, b, node, grads):  # type: ignore[no-untyped-def]
            return (b(SoftmaxGrad(2), grads[0], node.out),)

    class AlmostRight(type(OPS["tanh"]())):  # type: ignore[misc]
        def reference(self, x):  # type: ignore[no-untyped-def]
            return (np.tanh(x * (1 + 1e-7)),)

    image = next(c for c in all_cases(Rows(3)) if c.name == "softmax-inner").inputs
    for op in (Wrong(1), AlmostRight()):
        with pytest.raises(AssertionError, match="the gradient by %x0 is wrong"):
            check_gradients(op, image)
