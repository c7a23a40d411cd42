"""fold_constants: operators of constants become constants, where n does not matter."""

from __future__ import annotations

from convc.passes.fold_constants import fold_constants
from convc.testing import check_rewrite


def test_fires() -> None:
    check_rewrite(
        """graph @g(%x: f32[n<=4,3]) {
          %0: f32[n<=4,3] = full() {value=2}
          %1: f32[] = full() {value=3}
          %2: f32[n<=4,3] = mul(%0, %1)
          %3: f32[n<=4,3] = add(%2, %2)
          %4: f32[n<=4] = sum(%3) {axes=[1]}
          %5: f32[3] = sum(%3) {axes=[0], mean=True}
          %6: f32[n<=4,3] = add(%x, %3)
          return %6, %4, %5 }""",
        fold_constants,
        """graph @g(%x: f32[n<=4,3]) {
          %0: f32[n<=4,3] = full() {value=2}
          %1: f32[] = full() {value=3}
          %2: f32[n<=4,3] = full() {value=6} loc(: fold_constants)
          %3: f32[n<=4,3] = full() {value=12} loc(: fold_constants)
          %4: f32[n<=4] = full() {value=36} loc(: fold_constants)
          %5: f32[3] = full() {value=12} loc(: fold_constants)
          %6: f32[n<=4,3] = add(%x, %3)
          return %6, %4, %5 }""",
    )


def test_must_not_fire() -> None:
    """A sum over rows, and a mean spread over them, depend on n."""
    check_rewrite(
        """graph @g(%x: f32[n<=4,3]) {
          %0: f32[n<=4] = full() {value=2}
          %1: f32[] = sum(%0) {axes=[0]}
          %2: f32[] = full() {value=1}
          %3: f32[n<=4] = broadcast(%2) {axes=[0], mean=True}
          %4: f32[n<=4,3] = relu(%x)
          return %1, %3, %4 }""",
        fold_constants,
    )


def test_padding_makes_a_constant_uneven() -> None:
    check_rewrite(
        """graph @g(%x: f32[3]) {
          %0: f32[1,1,2,2] = full() {value=2}
          %1: f32[1,1,3,3] = avg_pool(%0) {stride=[1, 1], padding=[1, 1]}
          %2: f32[1,1,1,1] = max_pool(%0)
          return %x, %1, %2 }""",
        fold_constants,
        """graph @g(%x: f32[3]) {
          %0: f32[1,1,2,2] = full() {value=2}
          %1: f32[1,1,3,3] = avg_pool(%0) {stride=[1, 1], padding=[1, 1]}
          %2: f32[1,1,1,1] = full() {value=2} loc(: fold_constants)
          return %x, %1, %2 }""",
    )
