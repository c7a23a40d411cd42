"""autodiff: the gradient nodes of a graph, appended to it. Their numbers are checked in tests/numerics."""

from __future__ import annotations

import pytest

from convc.errors import IRError
from convc.ir.text import parse_graph
from convc.passes.autodiff import autodiff
from convc.testing import check_rewrite


def test_gradients_of_parameters_are_returned_after_the_loss() -> None:
    """Gradients are functions of outputs; the pool saves its indices; one node for each use, added up."""
    graph = check_rewrite(
        """graph @g(%x: f32[n<=8,3,5,5], %w: f32[4,3,3,3] parameter, %b: f32[4] parameter, %l: i32[n<=8]) {
          %0: f32[n<=8,4,3,3] = conv2d(%x, %w) loc(conv)
          %1: f32[n<=8,4,3,3] = bias_add(%0, %b) loc(conv)
          %2: f32[n<=8,4,3,3] = relu(%1) loc(act)
          %3: f32[n<=8,4,1,1] = max_pool(%2) {kernel=[3, 3]} loc(pool)
          %4: f32[n<=8,4] = flatten(%3)
          %5: f32[n<=8] = cross_entropy(%4, %l)
          %6: f32[] = sum(%5) {axes=[0], mean=True}
          return %6, %4 }""",
        autodiff,
        """graph @g(%x: f32[n<=8,3,5,5], %w: f32[4,3,3,3] parameter, %b: f32[4] parameter, %l: i32[n<=8]) {
          %0: f32[n<=8,4,3,3] = conv2d(%x, %w) loc(conv)
          %1: f32[n<=8,4,3,3] = bias_add(%0, %b) loc(conv)
          %2: f32[n<=8,4,3,3] = relu(%1) loc(act)
          %3: f32[n<=8,4,1,1], %3_saved: i32[n<=8,4,1,1] = max_pool(%2) {kernel=[3, 3], indices=True}
            loc(pool: autodiff)
          %4: f32[n<=8,4] = flatten(%3)
          %5: f32[n<=8] = cross_entropy(%4, %l)
          %6: f32[] = sum(%5) {axes=[0], mean=True}
          %d_6: f32[] = full() {value=1.0} loc(: autodiff)
          %7: f32[n<=8] = broadcast(%d_6) {axes=[0], mean=True} loc(: autodiff)
          %8: f32[n<=8,4] = cross_entropy_grad(%7, %4, %l) loc(: autodiff)
          %9: f32[n<=8,4,1,1] = reshape(%8) loc(: autodiff)
          %10: f32[n<=8,4,3,3] = max_pool_grad(%9, %3_saved) {kernel=[3, 3]} loc(pool: autodiff)
          %11: f32[n<=8,4,3,3] = relu_grad(%10, %2) loc(act: autodiff)
          %12: f32[4] = sum(%11) {axes=[0, 2, 3]} loc(conv: autodiff)
          %13: f32[n<=8,3,5,5] = conv2d_dgrad(%11, %w) loc(conv: autodiff)
          %14: f32[4,3,3,3] = conv2d_wgrad(%11, %x) loc(conv: autodiff)
          return %6, %4, %14, %12 }""",
        outputs=2,
    )
    assert [v.type for v in graph.outputs[2:]] == [v.type for v in graph.inputs_of("parameter")]


def test_without_parameters_every_real_input_and_a_seed() -> None:
    """An output that is no scalar takes its gradient as an input; one that does not count gets zeros."""
    check_rewrite(
        """graph @g(%x: f32[n<=4,3], %y: f32[n<=4,3], %l: i32[n<=4]) {
          %0: f32[n<=4,3] = mul(%x, %x)
          return %0 }""",
        autodiff,
        """graph @g(%x: f32[n<=4,3], %y: f32[n<=4,3], %l: i32[n<=4], %d_0: f32[n<=4,3]) {
          %0: f32[n<=4,3] = mul(%x, %x)
          %1: f32[n<=4,3] = mul(%d_0, %x) loc(: autodiff)
          %2: f32[n<=4,3] = mul(%d_0, %x) loc(: autodiff)
          %3: f32[n<=4,3] = add(%1, %2) loc(: autodiff)
          %4: f32[n<=4,3] = full() loc(: autodiff)
          return %0, %3, %4 }""",
        outputs=1,
    )


REFUSED = {
    "graph @g(%x: f32[2]) { return }": "graph @g returns nothing to differentiate",
    "graph @g(%x: f32[2], %w: f32[2] parameter) { %0: f32[2] = relu(%x) return %0 }":
        "%0 depends on none of %w: there is nothing to differentiate by",
    "graph @g(%l: i32[2]) { %0: f32[2] = full() return %0 }":
        "%0 depends on none of the inputs: there is nothing to differentiate by",
    "graph @g(%z: f32[2,3], %l: i32[2]) { %0: f32[2] = correct(%z, %l) return %0 }":
        "operator 'correct' has no gradient; run autodiff before the pass that made it",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_differentiated_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(IRError) as caught:
        autodiff(parse_graph(text))
    assert str(caught.value) == REFUSED[text]
