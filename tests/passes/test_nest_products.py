"""Products with one row or two become nests, where threads work one by one."""

from __future__ import annotations

import pytest

from convc.ir.text import parse_graph
from convc.passes.lower import lower
from convc.passes.nest_products import nest_products
from convc.passes.target import CPU, CUDA
from convc.testing import check_rewrite

DEPTHWISE = """
    graph @g(%x: f32[n<=5,4,6,7], %w: f32[4,1,3,3]) {
      %0: f32[n<=5,4,3,4] = conv2d(%x, %w) {stride=[2, 2], padding=[1, 1], groups=4}
      return %0
    }
"""
NESTED = """
    graph @g(%x: f32[n<=5,4,6,7], %w: f32[4,1,3,3]) {
      %0: f32[n<=5,4,3,4] = loops(%x, %w) {
        title="fprop"
        for(n:n<=5, g:4, k:1, p:3, q:4)
        reduce(c:1, r:3, s:3) acc = sum($1[g, 0, r, s] * $0[n, g, p*2 + r - 1, q*2 + s - 1])
        map() { store 0[n, g, p, q] = acc }
      } loc(: lower, nest_products)
      return %0
    }
"""


def test_a_depthwise_convolution_is_a_nest() -> None:
    check_rewrite(str(lower(parse_graph(DEPTHWISE))), nest_products, NESTED, target=CUDA)


def test_its_weight_gradient_is_one_too() -> None:
    text = """graph @g(%dy: f32[n<=5,4,4,5], %x: f32[n<=5,4,6,7]) {
      %0: f32[4,1,3,3] = conv2d_wgrad(%dy, %x) {groups=4} return %0 }"""
    graph = nest_products(lower(parse_graph(text)), target=CUDA)
    assert [n.op.name for n in graph.nodes] == ["loops"]
    check_rewrite(str(lower(parse_graph(text))), nest_products, str(graph), target=CUDA)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (DEPTHWISE, CPU),
        ("graph @g(%x: f32[n<=5,9], %w: f32[1,9]) { %0: f32[n<=5,1] = linear(%x, %w) return %0 }", CUDA),
        (DEPTHWISE.replace("f32[4,1,3,3]", "f32[12,1,3,3]").replace("f32[n<=5,4,3,4]", "f32[n<=5,12,3,4]"), CUDA),
    ],
    ids=["vectors", "one product", "three rows each"],
)
def test_others_stay(text: str, target) -> None:
    check_rewrite(str(lower(parse_graph(text))), nest_products, None, target=target)
