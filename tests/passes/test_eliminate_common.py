"""eliminate_common: two nodes that compute the same become one."""

from __future__ import annotations

from convc.passes.eliminate_common import eliminate_common
from convc.testing import check_rewrite


def test_fires() -> None:
    """Through a chain, for several results, in outputs and updates."""
    check_rewrite(
        """graph @g(%x: f32[4,1,2,2], %s: f32[4,1,2,2] state) {
          %0: f32[4,1,2,2] = tanh(%x) loc(first)
          %1: f32[4,1,2,2] = tanh(%x) loc(second)
          %2: f32[4,1,2,2] = relu(%0)
          %3: f32[4,1,2,2] = relu(%1)
          %4: f32[4,1,1,1], %5: i32[4,1,1,1] = max_pool(%2) {indices=True}
          %6: f32[4,1,1,1], %7: i32[4,1,1,1] = max_pool(%3) {indices=True}
          return %4, %7, %3
          update %s = %3 }""",
        eliminate_common,
        """graph @g(%x: f32[4,1,2,2], %s: f32[4,1,2,2] state) {
          %0: f32[4,1,2,2] = tanh(%x) loc(first)
          %2: f32[4,1,2,2] = relu(%0)
          %4: f32[4,1,1,1], %5: i32[4,1,1,1] = max_pool(%2) {indices=True}
          return %4, %5, %2
          update %s = %2 }""",
    )


def test_must_not_fire() -> None:
    """Another operand order, other attributes, other declared types, other operands."""
    check_rewrite(
        """graph @g(%x: f32[n<=4,4,4,4], %y: f32[n<=4,4,4,4]) {
          %0: f32[n<=4,4,4,4] = add(%x, %y)
          %1: f32[n<=4,4,4,4] = add(%y, %x)
          %2: f32[n<=4,4,2,2] = max_pool(%x)
          %3: f32[n<=4,4,3,3] = max_pool(%x) {stride=[1, 1]}
          %4: f32[n<=4,64] = reshape(%x)
          %5: f32[n<=4,16,4] = reshape(%x)
          %6: f32[] = full() {value=1}
          %7: f32[] = full() {value=2}
          return %0, %1, %2, %3, %4, %5, %6, %7 }""",
        eliminate_common,
    )
