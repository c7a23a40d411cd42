"""assign_layout: batch rows in blocks of lanes, with relayouts where arrays come in and go out."""

from __future__ import annotations

import pytest

from convc.ir.text import parse_graph
from convc.passes.assign_layout import assign_layout
from convc.passes.target import Target
from convc.testing import check_rewrite


def test_inputs_that_are_read_and_outputs_cross_the_border() -> None:
    """%u is not read, %w has no rows, %2 mixes rows and has none; an output keeps its name."""
    check_rewrite(
        """graph @g(%x: f32[n<=6,2,3], %l: i32[n<=6], %w: f32[6], %u: f32[n<=6]) {
          %0: f32[n<=6,6] = reshape(%x)
          %1: f32[n<=6,6] = bias_add(%0, %w)
          %loss: f32[n<=6] = cross_entropy(%1, %l)
          %2: f32[] = sum(%loss) {axes=[0]}
          return %2, %1, %x }""",
        assign_layout,
        """graph @g(%x: f32[n<=6,2,3], %l: i32[n<=6], %w: f32[6], %u: f32[n<=6]) {
          %x_blocked: f32[n<=6,2,3|012.0x4] = relayout(%x) loc(: assign_layout)
          %l_blocked: i32[n<=6|0.0x4] = relayout(%l) loc(: assign_layout)
          %0: f32[n<=6,6|01.0x4] = reshape(%x_blocked) loc(: assign_layout)
          %1_blocked: f32[n<=6,6|01.0x4] = bias_add(%0, %w) loc(: assign_layout)
          %loss: f32[n<=6|0.0x4] = cross_entropy(%1_blocked, %l_blocked) loc(: assign_layout)
          %2: f32[] = sum(%loss) {axes=[0]}
          %1: f32[n<=6,6] = relayout(%1_blocked) loc(: assign_layout)
          return %2, %1, %x }""",
    )


@pytest.mark.parametrize(
    ("capacity", "lanes", "width"), [(4, 16, 4), (7, 16, 4), (8, 16, 8), (64, 16, 16), (64, 8, 8), (5, 4, 4)]
)
def test_a_block_is_the_targets_lanes_or_what_the_capacity_fills(capacity: int, lanes: int, width: int) -> None:
    check_rewrite(
        f"graph @g(%x: f32[n<={capacity},3]) {{ %0: f32[3] = sum(%x) {{axes=[0]}} return %0 }}",
        assign_layout,
        f"""graph @g(%x: f32[n<={capacity},3]) {{
          %x_blocked: f32[n<={capacity},3|01.0x{width}] = relayout(%x) loc(: assign_layout)
          %0: f32[3] = sum(%x_blocked) {{axes=[0]}}
          return %0 }}""",
        target=Target("cpu", lanes, 32),
    )


@pytest.mark.parametrize("rows", ["n<=1", "n<=3", "64"])
def test_must_not_fire_for_few_rows_or_a_fixed_batch(rows: str) -> None:
    check_rewrite(f"graph @g(%x: f32[{rows},3]) {{ %0: f32[{rows},3] = relu(%x) return %0 }}", assign_layout)


def test_must_not_fire_where_it_has_fired() -> None:
    once = assign_layout(parse_graph("graph @g(%x: f32[n<=8,3]) { %0: f32[n<=8,3] = relu(%x) return %0 }"))
    check_rewrite(once, assign_layout)
