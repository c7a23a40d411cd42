"""eliminate_dead: nodes whose results nobody reads go away."""

from __future__ import annotations

from convc.passes.eliminate_dead import eliminate_dead
from convc.testing import check_rewrite


def test_fires() -> None:
    """A whole chain goes; what an update needs stays, and so does a node of which one result is read."""
    check_rewrite(
        """graph @g(%x: f32[n<=4,1,2,2], %w: f32[3] state) {
          %0: f32[n<=4,1,2,2] = tanh(%x)
          %1: f32[n<=4,1,2,2] = relu(%0)
          %2: f32[n<=4,1,1,1], %3: i32[n<=4,1,1,1] = max_pool(%x) {indices=True}
          %4: f32[3] = mul(%w, %w)
          return %2
          update %w = %4 }""",
        eliminate_dead,
        """graph @g(%x: f32[n<=4,1,2,2], %w: f32[3] state) {
          %2: f32[n<=4,1,1,1], %3: i32[n<=4,1,1,1] = max_pool(%x) {indices=True}
          %4: f32[3] = mul(%w, %w)
          return %2
          update %w = %4 }""",
    )


def test_must_not_fire() -> None:
    check_rewrite(
        """graph @g(%x: f32[n<=4,3], %unread: f32[2]) {
          %0: f32[n<=4,3] = tanh(%x)
          %1: f32[n<=4,3] = relu(%0)
          return %1, %0 }""",
        eliminate_dead,
    )
