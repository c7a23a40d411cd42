"""lower: every operator becomes a kernel. What its views compute is checked in tests/numerics."""

from __future__ import annotations

from convc.passes.lower import lower
from convc.testing import check_rewrite


def test_a_strided_grouped_convolution_and_a_mean() -> None:
    check_rewrite(
        """graph @g(%x: f32[n<=3,4,6,6], %w: f32[6,2,3,3]) {
          %0: f32[n<=3,6,3,3] = conv2d(%x, %w) {stride=[2, 2], padding=[1, 0, 0, 1], groups=2} loc(conv1)
          %1: f32[n<=3,6] = sum(%0) {axes=[2, 3], mean=True}
          return %1 }""",
        lower,
        """graph @g(%x: f32[n<=3,4,6,6], %w: f32[6,2,3,3]) {
          %0: f32[n<=3,6,3,3] = gemm(%x, %w) {
            title="fprop"
            phase {
              batch(g:2) m(k:3) n(n:n<=3, p:3, q:3) k(c:2, r:3, s:3)
              a = $1[g*3 + k, c, r, s]
              b = $0[n, g*2 + c, p*2 + r - 1, q*2 + s]
              store 0[n, g*3 + k, p, q] = acc
            }
          } loc(conv1: lower)
          %1: f32[n<=3,6] = loops(%0) {
            title="sum"
            for(n:n<=3, c:6)
            reduce(h:3, w:3) total = sum($0[n, c, h, w])
            map() { store 0[n, c] = total / 9.0 }
          } loc(: lower)
          return %1 }""",
    )


def test_a_strided_dgrad_is_disjoint_phases() -> None:
    """One for each remainder of a coordinate by the stride: no phase tests whether a tap reaches a pixel."""
    check_rewrite(
        """graph @g(%dy: f32[n<=3,6,3,2], %w: f32[6,4,2,3]) {
          %0: f32[n<=3,4,6,4] = conv2d_dgrad(%dy, %w) {stride=[2, 1]}
          return %0 }""",
        lower,
        """graph @g(%dy: f32[n<=3,6,3,2], %w: f32[6,4,2,3]) {
          %0: f32[n<=3,4,6,4] = gemm(%dy, %w) {
            title="dgrad"
            phase {
              batch(g:1) m(c:4) n(n:n<=3, h:3, w:4) k(k:6, r:1, s:3)
              a = $1[k, c, 0, s]
              b = $0[n, k, h, w - s]
              store 0[n, c, h*2, w] = acc
            }
            phase {
              batch(g:1) m(c:4) n(n:n<=3, h:3, w:4) k(k:6, r:1, s:3)
              a = $1[k, c, 1, s]
              b = $0[n, k, h, w - s]
              store 0[n, c, h*2 + 1, w] = acc
            }
          } loc(: lower)
          return %0 }""",
    )


def test_an_epilogue_is_part_of_the_store() -> None:
    check_rewrite(
        """graph @g(%x: f32[n<=3,5], %w: f32[7,5], %b: f32[7]) {
          %0: f32[n<=3,7] = fused(%x, %w, %b) {anchor=linear, steps=[bias_add($3, $2), relu($4)]} loc(fc)
          return %0 }""",
        lower,
        """graph @g(%x: f32[n<=3,5], %w: f32[7,5], %b: f32[7]) {
          %0: f32[n<=3,7] = gemm(%x, %w, %b) {
            title="fprop_bias_relu"
            phase {
              batch() m(k:7) n(n:n<=3) k(c:5)
              a = $1[k, c]
              b = $0[n, c]
              store 0[n, k] = max(acc + $2[k], 0.0)
            }
          } loc(fc: lower)
          return %0 }""",
    )


def test_must_not_fire_on_kernels() -> None:
    check_rewrite(
        """graph @g(%x: f32[3]) {
          %0: f32[3] = loops(%x) { for(n:3) map() { store 0[n] = exp($0[n]) } }
          return %0 }""",
        lower,
    )
