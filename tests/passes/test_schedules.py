"""select_tile and schedule: how a kernel is computed, not what. The interpreter ignores both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convc.ir.core import Graph
from convc.ir.kernels import Gemm, GemmSchedule, Loops, LoopSchedule
from convc.ir.text import parse_graph
from convc.passes.assign_layout import assign_layout
from convc.passes.lower import lower
from convc.passes.schedule import schedule
from convc.passes.select_tile import select_tile
from convc.passes.target import CPU, Target
from convc.testing import check_rewrite
from tests.numerics.cases import all_cases
from tests.numerics.helpers import check, combined

FC = """graph @g(%x: f32[n<=64,5|01.0x16], %w: f32[6,5]) {{
  %0: f32[n<=64,6|01.0x16] = gemm(%x, %w) {{
    phase {{
      batch() m(k:6) n(n:n<=64) k(c:5)
      a = $1[k, c]
      b = $0[n, c]
      store 0[n, k] = acc
      {}
    }}
  }} {}
  return %0 }}"""


def test_rows_in_blocks_of_lanes_fill_the_vector() -> None:
    check_rewrite(
        FC.format("", ""),
        select_tile,
        FC.format("schedule {lanes=n, width=16, m_tile=k:6, n_tile=n:4}", "loc(: select_tile)"),
    )


def test_fewer_registers_make_a_smaller_tile() -> None:
    new = check_rewrite(
        FC.format("", ""),
        select_tile,
        FC.format("schedule {lanes=n, width=16, m_tile=k:3, n_tile=n:2}", "loc(: select_tile)"),
        target=Target("cpu", 16, 9),
    )
    assert isinstance(new.nodes[0].op, Gemm)


def test_a_loop_takes_the_axis_along_which_memory_is_consecutive() -> None:
    check_rewrite(
        """graph @g(%x: f32[n<=64,5|01.0x16], %v: f32[3,40]) {
          %0: f32[n<=64,5|01.0x16] = loops(%x) { for(n:n<=64, c:5) map() { store 0[n, c] = exp($0[n, c]) } }
          %1: f32[3,40] = loops(%v) { for(i:3, j:40) map() { store 0[i, j] = exp($0[i, j]) } }
          %2: f32[3] = loops(%v) { for(i:3) reduce(j:40) t = sum($0[i, j]) map() { store 0[i] = t } }
          %3: f32[40] = loops(%v) { for(j:40) reduce(i:3) t = sum($0[i, j]) map() { store 0[j] = t } }
          return %0, %1, %2, %3 }""".replace("%0, %1", "%1"),
        schedule,
        """graph @g(%x: f32[n<=64,5|01.0x16], %v: f32[3,40]) {
          %0: f32[n<=64,5|01.0x16] = loops(%x) {
            for(n:n<=64, c:5) map() { store 0[n, c] = exp($0[n, c]) } schedule {lanes=n, width=16} } loc(: schedule)
          %1: f32[3,40] = loops(%v) {
            for(i:3, j:40) map() { store 0[i, j] = exp($0[i, j]) } schedule {lanes=j, width=16} } loc(: schedule)
          %2: f32[3] = loops(%v) {
            for(i:3) reduce(j:40) t = sum($0[i, j]) map() { store 0[i] = t }
            schedule {lanes=j, width=16} } loc(: schedule)
          %3: f32[40] = loops(%v) {
            for(j:40) reduce(i:3) t = sum($0[i, j]) map() { store 0[j] = t }
            schedule {lanes=j, width=16} } loc(: schedule)
          return %1, %2, %3 }""",
    )


def test_a_scalar_and_an_argmax_are_not_spread_over_lanes() -> None:
    """The first of equal values wins, so an argmax cannot be cut among lanes and joined."""
    check_rewrite(
        """graph @g(%v: f32[3,40]) {
          %0: f32[3], %1: f32[3] = loops(%v) {
            for(i:3) reduce(j:40) top, at = argmax($0[i, j], #(j)) map() { store 0[i] = top store 1[i] = at } }
          %2: f32[] = loops(%v) { for() map() { store 0[] = $0[0, 1] } }
          return %0, %1, %2 }""",
        schedule,
        """graph @g(%v: f32[3,40]) {
          %0: f32[3], %1: f32[3] = loops(%v) {
            for(i:3) reduce(j:40) top, at = argmax($0[i, j], #(j)) map() { store 0[i] = top store 1[i] = at }
            schedule {lanes=none, width=1} } loc(: schedule)
          %2: f32[] = loops(%v) { for() map() { store 0[] = $0[0, 1] } schedule {lanes=none, width=1} }
            loc(: schedule)
          return %0, %1, %2 }""",
    )


@pytest.mark.parametrize("function", [select_tile, schedule])
def test_must_not_fire_on_operators(function: Callable[..., Graph]) -> None:
    check_rewrite("graph @g(%x: f32[2,3], %w: f32[4,3]) { %0: f32[2,4] = linear(%x, %w) return %0 }", function)


@pytest.mark.parametrize("registers", [8, 16, 32])
@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("rows", ["f32[n<=64", "f32[3"])
def test_every_schedule_fits_its_view(rows: str, lanes: int, registers: int) -> None:
    """Axes exist, the tile fits in registers, a blocked axis in the lanes has its block's width."""
    target = Target("cpu", lanes, registers)
    graph = scheduled(combined(all_cases(parse_rows(rows))), target)
    for node in graph.nodes:
        if isinstance(node.op, Loops):
            loop = node.op.schedule
            assert loop is not None
            names = {a.name for a in node.op.nest.axes} | {a.name for x in node.op.nest.stages for a in x.axes}
            assert loop.lanes in names or (loop.lanes is None and loop.width == 1)
            assert loop.width <= lanes
        else:
            assert isinstance(node.op, Gemm)
            for view, s in zip(node.op.phases, node.op.schedules, strict=True):
                assert s.lanes in {a.name for a in (*view.m, *view.n, *view.k)} or (s.lanes is None and s.width == 1)
                (m, m_tile), (n, n_tile) = s.m_tile, s.n_tile
                assert m in {"", *(a.name for a in view.m)}
                assert n in {"", *(a.name for a in view.n)}
                assert m_tile * n_tile + min(m_tile, n_tile) + 1 <= registers


def parse_rows(text: str) -> int:
    return parse_graph(f"graph @g(%x: {text}]) {{ return %x }}").inputs[0].type.shape[0]


def scheduled(graph: Graph, target: Target = CPU) -> Graph:
    return schedule(select_tile(lower(assign_layout(graph, target)), target), target)


@pytest.mark.parametrize(("read", "written", "width"), [(16, 4, 4), (4, 16, 4), (8, 16, 8), (16, 16, 16)])
def test_a_vector_is_no_longer_than_the_smallest_block(read: int, written: int, width: int) -> None:
    """A tensor ends with the padding of its last block: a longer vector would be stored past it."""
    graph = parse_graph(f"""graph @g(%x: f32[n<=5,3], %w: f32[6,3]) {{
      %0: f32[n<=5,3|01.0x{read}] = loops(%x) {{ for(n:n<=5, c:3) map() {{ store 0[n, c] = $0[n, c] }} }}
      %1: f32[n<=5,6|01.0x{written}] = gemm(%0, %w) {{
        phase {{ batch() m(k:6) n(n:n<=5) k(c:3) a = $1[k, c] b = $0[n, c] store 0[n, k] = acc }} }}
      %2: f32[n<=5,6|01.0x{read}] = loops(%1) {{ for(n:n<=5, k:6) map() {{ store 0[n, k] = exp($0[n, k]) }} }}
      %3: f32[n<=5,6] = loops(%2) {{ for(n:n<=5, k:6) map() {{ store 0[n, k] = $0[n, k] }} }}
      return %3 }}""")
    product, nest = schedule(select_tile(graph)).nodes[1:3]
    assert isinstance(product.op, Gemm)
    assert isinstance(nest.op, Loops)
    assert isinstance(nest.op.schedule, LoopSchedule)
    (tile,) = product.op.schedules
    assert isinstance(tile, GemmSchedule)
    assert (tile.lanes, tile.width) == (nest.op.schedule.lanes, nest.op.schedule.width) == ("n", width)
    check(graph, (1, 3, 5))
