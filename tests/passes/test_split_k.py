"""Long sums with few results become partial sums side by side: products, and reductions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convc.ir.core import Graph
from convc.ir.kernels import Gemm, Loops
from convc.ir.text import parse_graph
from convc.passes.lower import lower
from convc.passes.split_k import split_k
from convc.passes.split_reductions import split_reductions
from convc.passes.target import CPU, CUDA
from convc.testing import check_rewrite

WGRAD = """
    graph @g(%dy: f32[n<=16,4,20,20], %x: f32[n<=16,3,22,22]) {
      %0: f32[4,3,3,3] = conv2d_wgrad(%dy, %x)
      return %0
    }
"""
PARTS = """
    graph @g(%dy: f32[n<=16,4,20,20], %x: f32[n<=16,3,22,22]) {
      %0.parts: f32[n<=16,4,3,3,3] = gemm(%dy, %x) {
        title="wgrad_parts"
        phase {
          batch(n:n<=16, g:1) m(k:4) n(c:3, r:3, s:3) k(p:20, q:20)
          a = $0[n, k, p, q]
          b = $1[n, c, p + r, q + s]
          store 0[n, k, c, r, s] = acc
        }
      } loc(: lower, split_k)
      %0: f32[4,3,3,3] = loops(%0.parts) {
        title="sum_parts"
        for(k:4, c:3, r:3, s:3)
        reduce(n_part:n<=16) total = sum($0[n_part, k, c, r, s])
        map() { store 0[k, c, r, s] = total }
      } loc(: lower, split_k)
      return %0
    }
"""


def lowered(text: str) -> Graph:
    return lower(parse_graph(text))


def test_a_weight_gradient_is_summed_in_parts() -> None:
    check_rewrite(str(lowered(WGRAD)), split_k, PARTS, target=CUDA)


@pytest.mark.parametrize("target", [CPU, replace(CUDA, level=4)], ids=["vectors", "a lower rung"])
def test_elsewhere_it_stays_whole(target) -> None:
    check_rewrite(str(lowered(WGRAD)), split_k, None, target=target)


@pytest.mark.parametrize(
    "graph",
    [
        "graph @g(%dy: f32[n<=64,9], %x: f32[n<=64,7]) {"
        ' %0: f32[9,7] = contract(%dy, %x) {spec="nk,nc->kc"} return %0 }',
        "graph @g(%x: f32[n<=64,64,28,28], %w: f32[64,64,3,3]) {"
        " %0: f32[n<=64,64,28,28] = conv2d(%x, %w) {padding=[1, 1]} return %0 }",
    ],
    ids=["one axis to sum over", "tiles enough"],
)
def test_what_gains_nothing_stays_whole(graph: str) -> None:
    check_rewrite(str(lowered(graph)), split_k, None, target=CUDA)


SUM = """
    graph @g(%x: f32[n<=8,3,20,20]) {{
      %0: f32[3] = sum(%x) {{axes=[0, 2, 3]{}}}
      return %0
    }}
"""


@pytest.mark.parametrize("attributes", ["", ", mean=True"])
def test_a_long_sum_of_few_results_is_two(attributes: str) -> None:
    graph = split_reductions(lowered(SUM.format(attributes)), target=CUDA)
    first, second = graph.nodes
    assert isinstance(first.op, Loops)
    assert isinstance(second.op, Loops)
    assert str(first.out.type) == "f32[n<=8,3]"
    assert [a.name for a in second.op.nest.stages[0].axes] == ["n"]
    check_rewrite(str(lowered(SUM.format(attributes))), split_reductions, str(graph), target=CUDA)


def test_one_long_axis_is_cut_in_equal_parts() -> None:
    text = "graph @g(%x: f32[6000]) { %0: f32[] = sum(%x) {axes=[0]} return %0 }"
    graph = split_reductions(lowered(text), target=CUDA)
    assert [str(n.out.type) for n in graph.nodes] == ["f32[6]", "f32[]"]
    check_rewrite(str(lowered(text)), split_reductions, str(graph), target=CUDA)


@pytest.mark.parametrize("extent", [2048, 6007], ids=["short", "prime"])
def test_short_and_indivisible_sums_stay_whole(extent: int) -> None:
    text = f"graph @g(%x: f32[{extent}]) {{ %0: f32[] = sum(%x) {{axes=[0]}} return %0 }}"
    check_rewrite(str(lowered(text)), split_reductions, None, target=CUDA)


def test_parts_of_a_batch_are_products_of_their_own() -> None:
    graph = split_k(lowered(WGRAD), target=CUDA)
    assert isinstance(graph.nodes[0].op, Gemm)
    assert graph.nodes[0].op.phases[0].extents == (16, 4, 27, 400)
