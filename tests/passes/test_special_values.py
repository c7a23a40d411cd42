"""A pass that simplifies changes no bit: NaN, infinities, both zeros and what overflows in f32, before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.ir.core import Array, Graph, Node, Value
from convc.ir.interp import run_shape
from convc.ir.ops.reduce import Full
from convc.ir.text import parse_graph, print_graph
from convc.passes.eliminate_common import eliminate_common
from convc.passes.fold_constants import fold_constants
from convc.passes.pipeline import SIMPLIFY
from tests.numerics.cases import CASES, Case, names
from tests.passes.test_canonicalize import RULES

NAN, INF = np.nan, np.inf
SPECIAL = np.array([0.0, -0.0, NAN, INF, -INF, 1.0, -1.0, 2.0**-149, -(2.0**-126), 2.0**100, -(2.0**127)], np.float32)
CONSTANTS = (0.0, -0.0, NAN, INF, -INF, -1.5, 2.0**-149, 2.0**127)
TARGETS = [
    "cpu",
    pytest.param("emulator", marks=pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed")),
]


def run_f32(graph: Graph, inputs: dict[str, Array], rows: int) -> list[Array]:
    """The results as a machine that computes in f32 has them."""
    known: dict[Value, Array] = {v: inputs[v.name] for v in graph.inputs}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            results = node.op.execute([known[v] for v in node.inputs], rows)
            known.update((v, np.asarray(r, np.float32)) for v, r in zip(node.outputs, results, strict=True))
    return [known[v] for v in graph.results]


def bits(a: Array) -> Array:
    """Bit patterns, all NaN being one."""
    return np.where(np.isnan(a), np.float32(NAN), a).astype(np.float32).view(np.uint32)


def special_inputs(graph: Graph, rows: int) -> dict[str, Array]:
    found = {}
    for number, v in enumerate(graph.inputs):
        shape = run_shape(v.type, rows)
        found[v.name] = np.resize(np.roll(SPECIAL, number), shape)
    return found


def same_bits(before: Graph, after: Graph, rows: int) -> None:
    inputs = special_inputs(before, rows)
    for a, b in zip(run_f32(before, inputs, rows), run_f32(after, inputs, rows), strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))


@pytest.mark.parametrize("simplify", SIMPLIFY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("rule", RULES)
def test_every_rewrite(rule: str, simplify: object) -> None:
    graph = parse_graph(RULES[rule][0])
    for rows in (4, 1):
        same_bits(graph, simplify(graph), rows)  # type: ignore[operator]


ZEROS = """graph @g(%x: f32[n<=16,11]) {
  %0: f32[] = full()
  %1: f32[] = full() {value=-0.0}
  %2: f32[n<=16,11] = add(%x, %0)
  %3: f32[n<=16,11] = add(%x, %1)
  %4: f32[n<=16,11] = mul(%x, %0)
  %5: f32[n<=16,11] = mul(%x, %1)
  return %2, %3, %4, %5, %0, %1 }"""


@pytest.mark.parametrize("simplify", SIMPLIFY, ids=lambda f: f.__name__)
def test_zeros_keep_their_signs(simplify: object) -> None:
    graph = parse_graph(ZEROS)
    assert print_graph(parse_graph(print_graph(graph))) == print_graph(graph)
    same_bits(graph, simplify(graph), 16)  # type: ignore[operator]
    assert eliminate_common(graph) == graph or len(eliminate_common(graph).nodes) == 6


@pytest.mark.parametrize("target", TARGETS)
def test_zeros_on_a_target(target: str) -> None:
    """-0 + 0 is 0, -0 + -0 is -0, and a product's sign is that of its factors."""
    program = convc.compile(parse_graph(ZEROS), target=target)
    x = np.tile(SPECIAL, (16, 1))
    found = program(x)
    with np.errstate(invalid="ignore"):
        expected = (x + np.float32(0), x + np.float32(-0.0), x * np.float32(0), x * np.float32(-0.0))
    normal = (np.abs(x) >= 2.0**-126) | (x == 0) | np.isnan(x)  # a target may take what is below for 0
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(bits(a)[normal], bits(b)[normal])
    assert np.signbit(found[4:]).tolist() == [False, True]


ALONE = [c for c in CASES if c.inputs and all(t.dtype == "f32" for t in c.inputs) and len(c.outputs) == 1]


@pytest.mark.parametrize("case", ALONE, ids=names(ALONE))
def test_folding_an_operator_is_running_it_in_f32(case: Case) -> None:
    """Every operator of constants: what is folded is, bit for bit, what f32 gives, infinities and NaN too."""
    for constant in CONSTANTS:
        fulls = [Node(Full(constant, result=t), (), (Value(f"x{i}", t),)) for i, t in enumerate(case.inputs)]
        results = tuple(Value(f"y{i}", t) for i, t in enumerate(case.outputs))
        node = Node(case.op, tuple(n.out for n in fulls), results)
        graph = Graph("g", (), (*fulls, node), results)
        folded = fold_constants(graph)
        for rows in (1, 2):
            with np.errstate(all="ignore"):
                before = case.op.execute([np.full(run_shape(t, rows), constant, np.float32) for t in case.inputs], rows)
                after = run_f32(folded, {}, rows)
            for a, b in zip(before, after, strict=True):
                np.testing.assert_array_equal(bits(np.asarray(a, np.float32)), bits(b))


@pytest.mark.parametrize("target", TARGETS)
def test_what_overflows_in_f32_is_folded_to_infinity(target: str) -> None:
    """1e30 * 1e30 * 1e-30: 1e30 in float64, infinite in the program that it stands for."""
    text = """graph @g(%big: f32[], %small: f32[]) {{
      {constants}
      %2: f32[] = mul({a}, {a})
      %3: f32[] = mul(%2, {b})
      return %3 }}"""
    folded = text.format(
        constants="%0: f32[] = full() {value=1e30} %1: f32[] = full() {value=1e-30}", a="%0", b="%1"
    ).replace("%big: f32[], %small: f32[]", "")
    graph = fold_constants(parse_graph(folded))
    assert all(isinstance(n.op, Full) for n in graph.nodes)
    assert convc.compile(parse_graph(folded), target=target)() == INF
    run = convc.compile(parse_graph(text.format(constants="", a="%big", b="%small")), target=target)
    assert run(np.float32(1e30), np.float32(1e-30)) == INF


def test_equal_constants_are_joined_and_zeros_are_told_apart() -> None:
    graph = parse_graph(ZEROS)
    twice = replace(graph, nodes=(*graph.nodes, Node(Full(0.0, result=graph.nodes[0].out.type), (), (
        Value("z", graph.nodes[0].out.type),
    ))))  # fmt: skip
    assert len(eliminate_common(twice).nodes) == len(graph.nodes)


@pytest.mark.parametrize("target", TARGETS)
def test_a_nan_passes_through_gradients(target: str) -> None:
    """relu's gradient is 0 where y <= 0, as PyTorch's: beneath a NaN stands dy. NaN in dy stays where y > 0."""
    program = convc.compile(
        parse_graph("""graph @g(%dy: f32[n<=16,7], %y: f32[n<=16,7]) {
          %0: f32[n<=16,7] = relu_grad(%dy, %y)
          %1: f32[n<=16,7] = leaky_relu_grad(%dy, %y) {slope=0.25}
          %2: f32[n<=16,7] = sigmoid_grad(%dy, %y)
          %3: f32[n<=16,7] = tanh_grad(%dy, %y)
          return %0, %1, %2, %3 }"""),
        target=target,
    )
    dy = np.array([2, 2, 2, 2, NAN, NAN, 2], np.float32)
    y = np.array([NAN, 1, 0, -1, 1, -1, INF], np.float32)
    for rows in (16, 3):
        found = program(np.tile(dy, (rows, 1)), np.tile(y, (rows, 1)))
        np.testing.assert_array_equal(found[0], np.tile(np.array([2, 2, 0, 0, NAN, 0, 2]), (rows, 1)))
        np.testing.assert_array_equal(found[1], np.tile(np.array([0.5, 2, 0.5, 0.5, NAN, NAN, 2]), (rows, 1)))
        assert np.isnan(found[2][:, [0, 4, 5]]).all()
        assert np.isnan(found[3][:, [0, 4, 5]]).all()


@pytest.mark.parametrize("target", TARGETS)
def test_a_nan_that_won_its_window_takes_the_gradient(target: str) -> None:
    program = convc.compile(
        parse_graph("""graph @g(%x: f32[n<=8,1,2,2], %dy: f32[n<=8,1,1,1]) {
          %0: f32[n<=8,1,1,1], %1: i32[n<=8,1,1,1] = max_pool(%x) {indices=True}
          %2: f32[n<=8,1,2,2] = max_pool_grad(%dy, %1)
          return %2 }"""),
        target=target,
    )
    x = np.array([[1, 2, NAN, 3], [NAN, 2, NAN, 3], [-INF, -INF, -INF, -INF]], np.float32).reshape(3, 1, 2, 2)
    found = program(x, np.full((3, 1, 1, 1), 5, np.float32)).reshape(3, 4)
    np.testing.assert_array_equal(found, [[0, 0, 5, 0], [5, 0, 0, 0], [5, 0, 0, 0]])
