"""Which lanes of the last vector count follows from the domain, whatever a kernel loads there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import convc
from convc.ir.core import Graph
from convc.ir.text import parse_graph
from convc.runtime.cpu import CpuExecutable
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from tests.numerics.helpers import call, check
from tests.numerics.masked import LENGTHS, ROWS, maps, nests, planned, products, with_lanes

KINDS: dict[str, Callable[[int], Graph]] = {"nests": nests, "maps": maps, "products": products}
LANES = [(None, 1), *((axis, width) for axis in ("n", "c") for width in (4, 8))]


def program_of(graph: Graph, lanes: str | None, width: int) -> Program:
    trace = planned(graph, lambda g: with_lanes(g, lanes, width))
    return Program(trace, CpuExecutable(trace.stages[-1][1]), ParameterStore())


@pytest.mark.parametrize(("lanes", "width"), LANES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel(kind: str, lanes: str | None, width: int) -> None:
    """Monoids and products for every axis in the lanes, fewer rows than the capacity, a length of no whole vectors."""
    graph = KINDS[kind](LENGTHS[0])
    check(graph, ROWS, program_of(graph, lanes, width))


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS[1:])
@pytest.mark.parametrize(("lanes", "width"), LANES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_at_more_lengths(kind: str, lanes: str | None, width: int, length: int) -> None:
    graph = KINDS[kind](length)
    check(graph, ROWS, program_of(graph, lanes, width))


def test_a_factor_without_the_sums_axis_is_masked_too() -> None:
    """Past the end, 0 of one factor times infinity of the other would be NaN."""
    graph = parse_graph("""graph @g(%w: f32[2,5], %x: f32[n<=3]) {
      %y: f32[n<=3,2] = gemm(%w, %x) { phase {
        batch() m(k:2) n(n:n<=3) k(c:5) a = $0[k, c] b = $1[n] store 0[n, k] = acc } }
      return %y }""")
    inputs = {"w": np.ones((2, 5)), "x": np.full(3, np.inf)}
    for lanes, width in LANES:
        (found,) = call(program_of(graph, lanes, width), inputs, 3)
        assert (found == np.inf).all(), f"{lanes} in {width} lanes"


def test_the_sum_of_one_number_seven_times() -> None:
    graph = parse_graph("""graph @g(%s: f32[]) {
      %0: f32[7] = broadcast(%s) {axes=[0]} %1: f32[] = sum(%0) {axes=[0]} return %1 }""")
    assert convc.compile(graph, target="cpu")(np.float32(1)) == 7


def test_cross_entropy_of_seven_equal_logits() -> None:
    graph = parse_graph("""graph @g(%s: f32[], %l: i32[n<=3]) {
      %0: f32[n<=3,7] = broadcast(%s) {axes=[0, 1]} %1: f32[n<=3] = cross_entropy(%0, %l) return %1 }""")
    found = convc.compile(graph, target="cpu")(np.float32(0.5), np.array([0, 6, 3], np.int32))
    np.testing.assert_allclose(found, np.log(7), rtol=2e-6)


@pytest.mark.parametrize(("capacity", "rows"), [(16, 5), (16, 16), (5, 5), (5, 1)])
def test_a_step_down_the_mean_of_the_logits(capacity: int, rows: int) -> None:
    """d mean / d bias = 1, on any number of rows: at rate 1 the bias goes from 0 to -1."""
    graph = parse_graph(f"""graph @g(%x: f32[n<={capacity},3], %w: f32[1,3] parameter, %b: f32[1] parameter) {{
      %0: f32[n<={capacity},1] = linear(%x, %w) %1: f32[n<={capacity},1] = bias_add(%0, %b)
      %loss: f32[] = sum(%1) {{axes=[0, 1], mean=True}} return %loss }}""")
    step = convc.compile(graph, target="cpu", mode="train", optimizer=convc.SGD(momentum=0.0))
    step(np.ones((rows, 3), np.float32), lr=1.0)
    np.testing.assert_allclose(step.parameters["b"], -1, rtol=1e-6)
