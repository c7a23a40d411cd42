"""Factors of products in the order in memory that the model prefers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convc.ir.kernels import Gemm
from convc.ir.text import parse_graph
from convc.passes.arrange_factors import arrange_factors
from convc.passes.lower import lower
from convc.passes.target import CPU, CUDA
from convc.testing import check_rewrite

CONV = """
    graph @g(%x: f32[n<=64,64,14,14], %w: f32[128,64,3,3]) {
      %0: f32[n<=64,128,14,14] = conv2d(%x, %w) {padding=[1, 1]}
      return %0
    }
"""


def test_the_filters_of_a_convolution_become_neighbours() -> None:
    before = lower(parse_graph(CONV))
    after = arrange_factors(before, target=CUDA)
    copy, product = after.nodes
    assert str(copy.out.type) == "f32[128,64,3,3|1230]"
    assert copy.inputs == (before.inputs[1],)
    assert product.inputs == (before.inputs[0], copy.out)
    assert isinstance(product.op, Gemm)
    assert product.op == before.nodes[0].op
    check_rewrite(str(before), arrange_factors, str(after), target=CUDA)


def test_two_products_share_one_copy() -> None:
    text = CONV.replace("return %0", "%1: f32[n<=64,128,14,14] = conv2d(%0, %w2) {padding=[1, 1]}\n return %0, %1")
    text = text.replace("%w: f32[128,64,3,3]", "%w: f32[128,64,3,3], %w2: f32[128,128,3,3]")
    shared = text.replace("conv2d(%0, %w2)", "conv2d(%x, %w)")
    assert [n.op.label for n in arrange_factors(lower(parse_graph(shared)), target=CUDA).nodes].count("relayout") == 1
    assert [n.op.label for n in arrange_factors(lower(parse_graph(text)), target=CUDA).nodes].count("relayout") == 2


@pytest.mark.parametrize("target", [CPU, replace(CUDA, level=4)], ids=["vectors", "a lower rung"])
def test_elsewhere_they_stay(target) -> None:
    check_rewrite(str(lower(parse_graph(CONV))), arrange_factors, None, target=target)


@pytest.mark.parametrize(
    "graph",
    [
        'graph @g(%x: f32[n<=64,9], %w: f32[9,7]) { %0: f32[n<=64,7] = contract(%x, %w) {spec="nk,kc->nc"} return %0 }',
        CONV.replace("n<=64,64", "1,4").replace("n<=64,128", "1,6").replace("128,64", "6,4"),
    ],
    ids=["neighbours already", "too small to pay"],
)
def test_where_a_copy_does_not_pay_they_stay(graph: str) -> None:
    check_rewrite(str(lower(parse_graph(graph))), arrange_factors, None, target=CUDA)
