"""canonicalize: one spelling for one meaning, and no node that does nothing."""

from __future__ import annotations

import pytest

from convc.passes.canonicalize import canonicalize
from convc.testing import check_rewrite

RULES = {
    "flatten is a reshape": (
        "graph @g(%x: f32[n<=4,3,2,2]) { %0: f32[n<=4,12] = flatten(%x) return %0 }",
        "graph @g(%x: f32[n<=4,3,2,2]) { %0: f32[n<=4,12] = reshape(%x) loc(: canonicalize) return %0 }",
    ),
    "a reshape to the same shape goes": (
        "graph @g(%x: f32[n<=4,6]) { %0: f32[n<=4,6] = reshape(%x) %1: f32[n<=4,6] = relu(%0) return %1 }",
        "graph @g(%x: f32[n<=4,6]) { %1: f32[n<=4,6] = relu(%x) return %1 }",
    ),
    "reshapes in a row are one": (
        """graph @g(%x: f32[n<=4,12]) {
          %0: f32[n<=4,3,2,2] = reshape(%x)
          %1: f32[n<=4,6,2] = reshape(%0)
          %2: f32[n<=4,4,3] = reshape(%1)
          return %2 }""",
        """graph @g(%x: f32[n<=4,12]) {
          %0: f32[n<=4,3,2,2] = reshape(%x)
          %1: f32[n<=4,6,2] = reshape(%x) loc(: canonicalize)
          %2: f32[n<=4,4,3] = reshape(%x) loc(: canonicalize)
          return %2 }""",
    ),
    "a flatten there and back goes": (
        """graph @g(%x: f32[n<=4,3,2,2]) {
          %0: f32[n<=4,12] = flatten(%x)
          %1: f32[n<=4,3,2,2] = reshape(%0)
          return %1 }""",
        """graph @g(%x: f32[n<=4,3,2,2]) {
          %0: f32[n<=4,12] = reshape(%x) loc(: canonicalize)
          return %x }""",
    ),
    "relu twice is relu once": (
        """graph @g(%x: f32[n<=4,3]) {
          %0: f32[n<=4,3] = relu(%x)
          %1: f32[n<=4,3] = relu(%0)
          %2: f32[n<=4,3] = relu(%1)
          return %2, %0 }""",
        "graph @g(%x: f32[n<=4,3]) { %0: f32[n<=4,3] = relu(%x) return %0, %0 }",
    ),
    "adding zeros and multiplying by one": (
        """graph @g(%x: f32[n<=4,3]) {
          %0: f32[] = full() {value=-0.0}
          %1: f32[n<=4,3] = full() {value=1}
          %2: f32[n<=4,3] = add(%x, %0)
          %3: f32[n<=4,3] = mul(%2, %1)
          return %3 }""",
        """graph @g(%x: f32[n<=4,3]) {
          %0: f32[] = full() {value=-0.0}
          %1: f32[n<=4,3] = full() {value=1}
          return %x }""",
    ),
    "adaptive pooling with even windows is pooling": (
        """graph @g(%x: f32[n<=4,3,6,8]) {
          %0: f32[n<=4,3,3,2] = adaptive_avg_pool(%x) {output=[3, 2]}
          %1: f32[n<=4,3,1,1] = adaptive_max_pool(%x)
          return %0, %1 }""",
        """graph @g(%x: f32[n<=4,3,6,8]) {
          %0: f32[n<=4,3,3,2] = avg_pool(%x) {kernel=[2, 4]} loc(: canonicalize)
          %1: f32[n<=4,3,1,1] = max_pool(%x) {kernel=[6, 8]} loc(: canonicalize)
          return %0, %1 }""",
    ),
    "the greatest of single pixels goes, their mean does not: of -0 it is 0": (
        """graph @g(%x: f32[n<=4,3,6,8]) {
          %0: f32[n<=4,3,6,8] = adaptive_avg_pool(%x) {output=[6, 8]}
          %1: f32[n<=4,3,6,8] = max_pool(%0) {kernel=[1, 1]}
          return %1 }""",
        """graph @g(%x: f32[n<=4,3,6,8]) {
          %0: f32[n<=4,3,6,8] = avg_pool(%x) {kernel=[1, 1]} loc(: canonicalize)
          return %0 }""",
    ),
    "a broadcast along no axis goes": (
        """graph @g(%x: f32[4,3], %w: f32[4,3] parameter) {
          %0: f32[4,3] = broadcast(%x) {axes=[]}
          %1: f32[4,3] = tanh(%0)
          return %1
          update %w = %0 }""",
        "graph @g(%x: f32[4,3], %w: f32[4,3] parameter) { %1: f32[4,3] = tanh(%x) return %1 update %w = %x }",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_fires(rule: str) -> None:
    check_rewrite(RULES[rule][0], canonicalize, RULES[rule][1])


def test_must_not_fire() -> None:
    """Other constants (0 among them: -0 + 0 is 0), a neutral one on the left (where a scalar would lose the shape),
    a real broadcast."""
    check_rewrite(
        """graph @g(%x: f32[n<=4,3], %s: f32[]) {
          %0: f32[] = full() {value=1}
          %1: f32[] = full()
          %2: f32[n<=4,3] = add(%x, %0)
          %3: f32[n<=4,3] = mul(%2, %1)
          %4: f32[n<=4,3] = full()
          %5: f32[n<=4,3] = add(%4, %s)
          %6: f32[n<=4,3] = relu(%5)
          %7: f32[n<=4,3] = tanh(%6)
          %8: f32[n<=4,3] = relu(%7)
          %9: f32[n<=4,3,2] = broadcast(%8) {axes=[2]}
          %10: f32[n<=4,6] = reshape(%9)
          return %10, %3 }""",
        canonicalize,
    )
