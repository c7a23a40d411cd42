"""Axes of products and nests in the order in which tensors lie in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convc.ir.kernels import Gemm, Loops, TeamSchedule
from convc.ir.text import parse_graph
from convc.passes.lower import lower
from convc.passes.merge_axes import merge_axes
from convc.passes.nest_order import LAUNCH_SECONDS, SECTOR, in_memory_order, nest_seconds
from convc.passes.order_axes import order_axes
from convc.passes.pipeline import pipeline, run
from convc.passes.schedule import schedule
from convc.passes.split_reductions import split_reductions
from convc.passes.target import CPU, CUDA
from convc.testing import check_rewrite

CONV = """
    graph @g(%x: f32[n<=8,4,14,14|0231], %w: f32[32,4,3,3]) {
      %0: f32[n<=8,32,14,14|0231] = conv2d(%x, %w) {padding=[1, 1]}
      return %0
    }
"""
WGRAD = """
    graph @g(%dy: f32[n<=8,64,14,14|0231], %x: f32[n<=8,32,14,14|0231]) {
      %0: f32[64,32,3,3] = conv2d_wgrad(%dy, %x) {padding=[1, 1]}
      return %0
    }
"""


def lowered(text: str) -> str:
    return str(lower(parse_graph(text)))


def ordered(text: str) -> tuple[str, ...]:
    """The axes of m, n and k after the pass, which keeps numbers."""
    before = lowered(text)
    after = order_axes(parse_graph(before), target=CUDA)
    check_rewrite(before, order_axes, str(after), target=CUDA)
    (node,) = after.nodes
    assert isinstance(node.op, Gemm)
    (view,) = node.op.phases
    return tuple("".join(a.name for a in side) for side in (view.m, view.n, view.k))


def test_channels_innermost_make_the_sum_walk_along_them() -> None:
    """Few channels: a slice of the sum holds several taps. Many channels are walked along in any order."""
    assert ordered(CONV) == ("k", "npq", "rsc")


def test_the_columns_of_a_weight_gradient_follow_its_images() -> None:
    assert ordered(WGRAD) == ("k", "rsc", "npq")


@pytest.mark.parametrize("text", [CONV, WGRAD], ids=["fprop", "wgrad"])
@pytest.mark.parametrize("target", [CPU, replace(CUDA, level=4)], ids=["vectors", "a lower rung"])
def test_elsewhere_they_stay(text: str, target) -> None:
    check_rewrite(lowered(text), order_axes, None, target=target)


@pytest.mark.parametrize("text", [CONV, WGRAD], ids=["fprop", "wgrad"])
def test_row_major_images_leave_nothing_to_order(text: str) -> None:
    check_rewrite(lowered(text.replace("|0231", "")), order_axes, None, target=CUDA)


def test_a_nest_follows_its_largest_tensor() -> None:
    graph = lower(
        parse_graph("""
        graph @g(%x: f32[n<=4,8,6,6|0231]) {
          %0: f32[n<=4,8,3,3] = max_pool(%x) {kernel=[2, 2]}
          %1: f32[n<=4,8,6,6] = relu(%x)
          return %0, %1
        }
    """)
    )
    orders = []
    for node in graph.nodes:
        assert isinstance(node.op, Loops)
        moved = in_memory_order(node)
        assert isinstance(moved.op, Loops)
        orders.append("".join(a.name for a in moved.op.nest.axes))
    assert orders == ["npqc", "nchw"], "the larger one; of equal ones the result"
    check_rewrite(str(graph), merge_axes, str(merge_axes(graph, target=CUDA)), target=CUDA)


def test_a_lone_stages_points_are_spread_over_threads() -> None:
    """A window's gradients lie side by side, and go to memory two at a time."""
    graph = lower(
        parse_graph("""
        graph @g(%dy: f32[n<=4,8,6,6], %at: i32[n<=4,8,6,6]) {
          %0: f32[n<=4,8,12,12] = max_pool_grad(%dy, %at) {kernel=[2, 2]}
          return %0
        }
    """)
    )
    merged = merge_axes(graph, target=CUDA)
    check_rewrite(str(graph), merge_axes, str(merged), target=CUDA)
    (node,) = schedule(merged, target=CUDA).nodes
    assert isinstance(node.op, Loops)
    assert [a.name for a in node.op.nest.axes] == ["n", "cp", "r", "q", "s"]
    assert [stage.axes for stage in node.op.nest.stages] == [()]
    assert isinstance(node.op.schedule, TeamSchedule)
    assert node.op.schedule.vector == 2


def test_scattered_sectors_count_whole() -> None:
    def seconds(layout: str, result: str, shape: str = "n<=64,64,32,32") -> float:
        text = f"graph @g(%x: f32[{shape}{layout}]) {{ %0: f32[{shape}{result}] = relu(%x) return %0 }}"
        (node,) = lower(parse_graph(text)).nodes
        return nest_seconds(in_memory_order(node), CUDA) - LAUNCH_SECONDS

    moved = 64 * 64 * 32 * 32 * 4 / CUDA.bytes_per_second
    assert seconds("", "") == seconds("|0231", "|0231") == pytest.approx(2 * moved)
    assert seconds("", "|0231") == pytest.approx(2 * moved)  # its tiles turn in shared memory
    assert seconds("", "|0321", "n<=64,64,512,2") == pytest.approx((1 + SECTOR) * moved)


def test_a_sum_over_pixels_of_channels_last_is_cut_into_columns() -> None:
    """Neighbouring threads add up neighbouring channels, and there are enough of them."""
    graph = lower(
        parse_graph("""
        graph @g(%x: f32[n<=32,64,56,56|0231]) {
          %0: f32[64] = sum(%x) {axes=[0, 2, 3]}
          return %0
        }
    """)
    )
    parts, _ = split_reductions(graph, target=CUDA).nodes
    assert isinstance(parts.op, Loops)
    assert [a.name for a in parts.op.nest.axes] == ["n", "h_part", "c"]
    check_rewrite(str(graph), split_reductions, str(split_reductions(graph, target=CUDA)), target=CUDA)
    last = run(graph, pipeline(train=False), CUDA).stages[-1][1].nodes[0].op
    assert isinstance(last, Loops)
    assert last.schedule is not None
    assert last.schedule.summary == "4 threads a point, 32 apart"
