"""apply_optimizer: gradients become updates, state and run-time numbers become inputs."""

from __future__ import annotations

from functools import partial

import pytest

from convc.errors import IRError
from convc.ir.ops.optim import Adam, Sgd
from convc.ir.text import parse_graph
from convc.passes.apply_optimizer import apply_optimizer
from convc.testing import check_rewrite

BEFORE = """
    graph @g(%x: f32[2,3], %w: f32[3] parameter, %b: f32[] parameter) {
      %loss: f32[] = sum(%x) {axes=[0, 1]}
      %d_w: f32[3] = sum(%x) {axes=[0]}
      %d_b: f32[] = sum(%x) {axes=[0, 1], mean=True}
      return %loss, %d_w, %d_b
    }"""


def test_momentum_by_default() -> None:
    check_rewrite(
        BEFORE,
        apply_optimizer,
        """graph @g(%x: f32[2,3], %w: f32[3] parameter, %b: f32[] parameter,
            %lr: f32[] scalar, %momentum: f32[] scalar, %weight_decay: f32[] scalar,
            %w.velocity: f32[3] state, %b.velocity: f32[] state) {
          %loss: f32[] = sum(%x) {axes=[0, 1]}
          %d_w: f32[3] = sum(%x) {axes=[0]}
          %d_b: f32[] = sum(%x) {axes=[0, 1], mean=True}
          %w.new: f32[3], %w.velocity.new: f32[3]
            = sgd_momentum(%w, %d_w, %w.velocity, %lr, %momentum, %weight_decay) loc(w: apply_optimizer)
          %b.new: f32[], %b.velocity.new: f32[]
            = sgd_momentum(%b, %d_b, %b.velocity, %lr, %momentum, %weight_decay) loc(b: apply_optimizer)
          return %loss
          update %w = %w.new
          update %w.velocity = %w.velocity.new
          update %b = %b.new
          update %b.velocity = %b.velocity.new }""",
        outputs=1,
    )


def test_names_that_are_taken() -> None:
    """An input called lr is the user's own: the optimizer's gets another name."""
    check_rewrite(
        """graph @g(%lr: f32[3] parameter) {
          %loss: f32[] = sum(%lr) {axes=[0]}
          return %loss, %lr }""",
        partial(apply_optimizer, rule=Sgd()),
        """graph @g(%lr: f32[3] parameter, %lr_1: f32[] scalar, %weight_decay: f32[] scalar) {
          %loss: f32[] = sum(%lr) {axes=[0]}
          %lr.new: f32[3] = sgd(%lr, %lr, %lr_1, %weight_decay) loc(lr: apply_optimizer)
          return %loss
          update %lr = %lr.new }""",
        outputs=1,
    )


def test_adam_has_two_moments_and_a_step_count() -> None:
    graph = apply_optimizer(parse_graph(BEFORE), Adam())
    assert [v.name for v in graph.inputs_of("state")] == ["adam.step", "w.m", "w.v", "b.m", "b.v"]
    assert [v.name for v in graph.inputs_of("scalar")] == ["lr", "beta1", "beta2", "eps", "weight_decay"]
    assert list(graph.updates) == ["adam.step", "w", "w.m", "w.v", "b", "b.m", "b.v"]


@pytest.mark.parametrize(
    ("parameters", "returned", "count"),
    [("%w: f32[3] parameter, %b: f32[] parameter", "%loss", 2), ("%w: f32[3], %b: f32[]", "%loss, %d_w", 0)],
)
def test_a_graph_without_gradients_is_refused_in_one_line(parameters: str, returned: str, count: int) -> None:
    text = BEFORE.replace("%w: f32[3] parameter, %b: f32[] parameter", parameters)
    graph = parse_graph(text.replace("return %loss, %d_w, %d_b", f"return {returned}"))
    with pytest.raises(IRError) as caught:
        apply_optimizer(graph)
    assert str(caught.value) == (
        f"graph @g must end with one gradient for each of its {count} parameters after at least one output,"
        f" but it returns {len(graph.outputs)} values; run autodiff first"
    )
