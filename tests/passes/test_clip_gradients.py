"""clip_gradients: every gradient times one factor, which comes from the norm of them all."""

from __future__ import annotations

import pytest

from convc.errors import IRError
from convc.ir.text import parse_graph
from convc.passes import pipeline
from convc.passes.clip_gradients import clip_gradients
from convc.testing import check_rewrite

BEFORE = """
    graph @g(%x: f32[2,3], %w: f32[2,3] parameter, %b: f32[3] parameter) {{
      %loss: f32[] = sum(%x) {{axes=[0, 1]}}
      %d_w: f32[2,3] = mul(%x, %w)
      %d_b: f32[3] = sum(%x) {{axes=[0]}}
      return %loss{}
    }}"""


def test_the_norm_of_all_gradients_scales_each() -> None:
    check_rewrite(
        BEFORE.format(", %d_w, %d_b"),
        clip_gradients,
        """graph @g(%x: f32[2,3], %w: f32[2,3] parameter, %b: f32[3] parameter, %clip_norm: f32[] scalar) {
          %loss: f32[] = sum(%x) {axes=[0, 1]}
          %d_w: f32[2,3] = mul(%x, %w)
          %d_b: f32[3] = sum(%x) {axes=[0]}
          %0: f32[2] = norm(%d_w) {axes=[1]} loc(w: clip_gradients)
          %1: f32[] = norm(%0) {axes=[0]} loc(w: clip_gradients)
          %2: f32[] = norm(%d_b) {axes=[0]} loc(b: clip_gradients)
          %3: f32[] = hypot(%1, %2) loc(b: clip_gradients)
          %4: f32[] = clip_scale(%3, %clip_norm) loc(: clip_gradients)
          %5: f32[2,3] = mul(%d_w, %4) loc(w: clip_gradients)
          %6: f32[3] = mul(%d_b, %4) loc(b: clip_gradients)
          return %loss, %5, %6 }""",
        outputs=1,
    )


def test_a_scalar_that_is_there_is_the_limit() -> None:
    text = BEFORE.format(", %d_w, %d_b").replace("%x: f32[2,3],", "%x: f32[2,3], %clip_norm: f32[] scalar,")
    graph = clip_gradients(parse_graph(text))
    assert [v.name for v in graph.inputs] == ["x", "clip_norm", "w", "b"]


def test_an_input_of_that_name_that_is_none_keeps_it() -> None:
    text = BEFORE.format(", %d_w, %d_b").replace("%b", "%clip_norm")
    graph = clip_gradients(parse_graph(text))
    assert [v.name for v in graph.inputs_of("scalar")] == ["clip_norm_1"]


def test_it_runs_between_gradients_and_updates_where_an_optimizer_clips() -> None:
    names = [pipeline.pass_name(p) for p in pipeline.pipeline(True, clip=True)]
    at = names.index("clip_gradients")
    assert names[at - 1 : at + 2] == ["autodiff", "clip_gradients", "apply_optimizer"]
    for passes in (pipeline.pipeline(True), pipeline.pipeline(False, clip=True)):
        assert clip_gradients not in passes


def test_without_gradients_there_is_nothing_to_clip() -> None:
    with pytest.raises(IRError, match=r"must end with one gradient for each of its 2 parameters .* run autodiff first"):
        clip_gradients(parse_graph(BEFORE.format("")))
