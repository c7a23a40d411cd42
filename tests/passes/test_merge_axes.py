"""merge_axes: neighbouring loops that walk memory in one line become one loop."""

from __future__ import annotations

import pytest

from convc.passes.merge_axes import merge_axes
from convc.testing import check_rewrite


def test_a_map_over_a_tensor_is_one_loop() -> None:
    check_rewrite(
        """graph @g(%x: f32[4,3,5]) {
          %0: f32[4,3,5] = loops(%x) { for(n:4, c:3, h:5) map() { store 0[n, c, h] = exp($0[n, c, h]) } }
          return %0 }""",
        merge_axes,
        """graph @g(%x: f32[4,3,5]) {
          %0: f32[4,3,5] = loops(%x) {
            for(nch:60)
            map() { store 0[nch / 15, (nch / 5) % 3, nch % 5] = exp($0[nch / 15, (nch / 5) % 3, nch % 5]) }
          } loc(: merge_axes)
          return %0 }""",
    )


def test_batch_rows_stay_apart_and_what_is_spread_merges_as_far_as_it_can() -> None:
    check_rewrite(
        """graph @g(%x: f32[n<=4,3,5], %v: f32[3,5], %b: f32[3]) {
          %0: f32[n<=4,3,5] = loops(%x, %v, %b) {
            for(n:n<=4, c:3, h:5) map() { store 0[n, c, h] = $0[n, c, h] * $1[c, h] } }
          %1: f32[n<=4,3,5] = loops(%0, %b) {
            for(n:n<=4, c:3, h:5) map() { store 0[n, c, h] = $0[n, c, h] + $1[c] } }
          return %1 }""",
        merge_axes,
        """graph @g(%x: f32[n<=4,3,5], %v: f32[3,5], %b: f32[3]) {
          %0: f32[n<=4,3,5] = loops(%x, %v, %b) {
            for(n:n<=4, ch:15) map() { store 0[n, ch / 5, ch % 5] = $0[n, ch / 5, ch % 5] * $1[ch / 5, ch % 5] }
          } loc(: merge_axes)
          %1: f32[n<=4,3,5] = loops(%0, %b) {
            for(n:n<=4, c:3, h:5) map() { store 0[n, c, h] = $0[n, c, h] + $1[c] } }
          return %1 }""",
    )


def test_a_reduction_keeps_its_own_axes() -> None:
    check_rewrite(
        """graph @g(%x: f32[4,3,5]) {
          %0: f32[3,5] = loops(%x) {
            for(c:3, h:5) reduce(n:4) total = sum($0[n, c, h]) map() { store 0[c, h] = total } }
          return %0 }""",
        merge_axes,
        """graph @g(%x: f32[4,3,5]) {
          %0: f32[3,5] = loops(%x) {
            for(ch:15) reduce(n:4) total = sum($0[n, ch / 5, ch % 5]) map() { store 0[ch / 5, ch % 5] = total }
          } loc(: merge_axes)
          return %0 }""",
    )


MUST_NOT_FIRE = {
    "axes are exchanged": "for(n:4, c:4) map() { store 0[n, c] = $0[c, n] }",
    "an access is shifted": "for(n:4, c:4) map() { store 0[n, c] = $0[n, c + 1] }",
    "an access is guarded": "for(n:4, c:4) map() { store 0[n, c] = $0[n, c | c in [0, 2)] }",
    "the joined name is taken": "for(n:4, c:4) reduce(nc:2) t = sum($0[n, c]) map() { store 0[n, c] = t }",
    "there is one axis": "for(n:4) map(c:4) { store 0[n, c] = $0[n, c] }",
}


@pytest.mark.parametrize("reason", MUST_NOT_FIRE)
def test_must_not_fire_where(reason: str) -> None:
    check_rewrite(
        f"graph @g(%x: f32[4,4]) {{ %0: f32[4,4] = loops(%x) {{ {MUST_NOT_FIRE[reason]} }} return %0 }}", merge_axes
    )


def test_a_blocked_layout_keeps_its_rows() -> None:
    """In blocks of lanes the pixels of one row are 4 apart: still one line, so they merge."""
    check_rewrite(
        """graph @g(%x: f32[n<=8,3,5|012.0x4]) {
          %0: f32[n<=8,3,5|012.0x4] = loops(%x) {
            for(n:n<=8, c:3, h:5) map() { store 0[n, c, h] = exp($0[n, c, h]) } }
          return %0 }""",
        merge_axes,
        """graph @g(%x: f32[n<=8,3,5|012.0x4]) {
          %0: f32[n<=8,3,5|012.0x4] = loops(%x) {
            for(n:n<=8, ch:15) map() { store 0[n, ch / 5, ch % 5] = exp($0[n, ch / 5, ch % 5]) }
          } loc(: merge_axes)
          return %0 }""",
    )
