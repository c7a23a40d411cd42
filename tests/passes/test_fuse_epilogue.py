"""fuse_epilogue: pointwise operators that follow a matrix product move into its epilogue."""

from __future__ import annotations

import pytest

from convc.passes.fuse_epilogue import fuse_epilogue
from convc.testing import check_rewrite


def test_bias_residual_scale_and_activation() -> None:
    check_rewrite(
        """graph @g(%x: f32[n<=4,3,5,5], %w: f32[4,3,3,3], %b: f32[4], %r: f32[n<=4,4,3,3], %s: f32[]) {
          %0: f32[n<=4,4,3,3] = conv2d(%x, %w) loc(conv: some_pass)
          %1: f32[n<=4,4,3,3] = bias_add(%0, %b) loc(conv)
          %2: f32[n<=4,4,3,3] = add(%r, %1)
          %3: f32[n<=4,4,3,3] = mul(%2, %s)
          %4: f32[n<=4,4,3,3] = relu(%3) loc(act: other_pass)
          return %4 }""",
        fuse_epilogue,
        """graph @g(%x: f32[n<=4,3,5,5], %w: f32[4,3,3,3], %b: f32[4], %r: f32[n<=4,4,3,3], %s: f32[]) {
          %4: f32[n<=4,4,3,3] = fused(%x, %w, %b, %r, %s)
            {anchor=conv2d, steps=[bias_add($5, $2), add($3, $6), mul($7, $4), relu($8)]}
            loc(conv: some_pass, other_pass, fuse_epilogue)
          return %4 }""",
    )


def test_gradients_are_anchors_too() -> None:
    """Backward: relu_grad joins dgrad, the scale of a weight gradient joins wgrad, and both are still read."""
    check_rewrite(
        """graph @g(%dy: f32[n<=4,4,3,3], %w: f32[4,3,3,3], %x: f32[n<=4,3,5,5], %s: f32[], %p: f32[n<=4,6]) {
          %0: f32[n<=4,3,5,5] = conv2d_dgrad(%dy, %w)
          %1: f32[n<=4,3,5,5] = relu_grad(%0, %x)
          %2: f32[4,3,3,3] = conv2d_wgrad(%dy, %x)
          %3: f32[4,3,3,3] = mul(%2, %s)
          %4: f32[6,6] = contract(%p, %p) {spec="na,nb->ab"}
          %5: f32[6,6] = tanh(%4)
          return %1, %3, %5 }""",
        fuse_epilogue,
        """graph @g(%dy: f32[n<=4,4,3,3], %w: f32[4,3,3,3], %x: f32[n<=4,3,5,5], %s: f32[], %p: f32[n<=4,6]) {
          %1: f32[n<=4,3,5,5] = fused(%dy, %w, %x) {anchor=conv2d_dgrad, steps=[relu_grad($3, $2)]}
            loc(: fuse_epilogue)
          %3: f32[4,3,3,3] = fused(%dy, %x, %s) {anchor=conv2d_wgrad, steps=[mul($3, $2)]} loc(: fuse_epilogue)
          %5: f32[6,6] = fused(%p, %p) {anchor=contract {spec="na,nb->ab"}, steps=[tanh($2)]} loc(: fuse_epilogue)
          return %1, %3, %5 }""",
    )


def test_of_two_products_that_are_added_one_takes_the_addition() -> None:
    """Whichever does, it runs after the other."""
    check_rewrite(
        """graph @g(%x: f32[2,3], %w: f32[3,3], %v: f32[3,3]) {
          %0: f32[2,3] = linear(%x, %w)
          %1: f32[2,3] = linear(%x, %v)
          %2: f32[2,3] = add(%0, %1)
          return %2 }""",
        fuse_epilogue,
        """graph @g(%x: f32[2,3], %w: f32[3,3], %v: f32[3,3]) {
          %1: f32[2,3] = linear(%x, %v)
          %2: f32[2,3] = fused(%x, %w, %1) {anchor=linear, steps=[add($3, $2)]} loc(: fuse_epilogue)
          return %2 }""",
    )


def test_a_product_with_itself_reads_its_sum_twice() -> None:
    check_rewrite(
        """graph @g(%x: f32[2,3], %w: f32[3,3]) {
          %0: f32[2,3] = linear(%x, %w)
          %1: f32[2,3] = mul(%0, %0)
          return %1 }""",
        fuse_epilogue,
        """graph @g(%x: f32[2,3], %w: f32[3,3]) {
          %1: f32[2,3] = fused(%x, %w) {anchor=linear, steps=[mul($2, $2)]} loc(: fuse_epilogue)
          return %1 }""",
    )


MUST_NOT_FIRE = {
    "the product is returned": """
        %0: f32[2,3] = linear(%x, %w) %1: f32[2,3] = relu(%0) return %0, %1""",
    "the product has two readers": """
        %0: f32[2,3] = linear(%x, %w) %1: f32[2,3] = relu(%0) %2: f32[2,3] = tanh(%0) return %1, %2""",
    "the product is an update": """
        %0: f32[2,3] = linear(%x, %w) %1: f32[2,3] = relu(%0) return %1 update %s = %0""",
    "the reader is no pointwise operator": """
        %0: f32[2,3] = linear(%x, %w) %1: f32[2,3] = softmax(%0) return %1""",
    "the product is the bias": """
        %0: f32[3] = contract(%x, %y) {spec="nc,n->c"} %1: f32[2,3] = bias_add(%x, %0) return %1""",
    "the product is a scalar factor": """
        %0: f32[] = contract(%y, %y) {spec="n,n->"} %1: f32[2,3] = mul(%x, %0) return %1""",
    "nothing is a product": """
        %0: f32[2,3] = relu(%x) %1: f32[2,3] = tanh(%0) return %1""",
}


@pytest.mark.parametrize("reason", MUST_NOT_FIRE)
def test_must_not_fire_where(reason: str) -> None:
    head = "graph @g(%x: f32[2,3], %w: f32[3,3], %y: f32[2], %s: f32[2,3] state)"
    check_rewrite(f"{head} {{ {MUST_NOT_FIRE[reason]} }}", fuse_epilogue)


def test_a_chain_stops_where_its_value_is_needed_elsewhere() -> None:
    check_rewrite(
        """graph @g(%x: f32[2,3], %w: f32[3,3]) {
          %0: f32[2,3] = linear(%x, %w)
          %1: f32[2,3] = tanh(%0)
          %2: f32[2,3] = relu(%1)
          %3: f32[2,3] = add(%1, %2)
          return %3 }""",
        fuse_epilogue,
        """graph @g(%x: f32[2,3], %w: f32[3,3]) {
          %1: f32[2,3] = fused(%x, %w) {anchor=linear, steps=[tanh($2)]} loc(: fuse_epilogue)
          %2: f32[2,3] = relu(%1)
          %3: f32[2,3] = add(%1, %2)
          return %3 }""",
    )
