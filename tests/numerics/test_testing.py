"""The checks of convc.testing: each finds what it is there to find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convc.errors import IRError
from convc.ir.core import Array, Graph
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis
from convc.ir.kernels import Gemm
from convc.ir.ops.conv import Conv2d
from convc.ir.scalar import Load, Store, substitute_axes
from convc.ir.text import parse_graph
from convc.ir.types import Layout, Rows, TensorType, f32
from convc.passes.lower import lower
from convc.passes.pipeline import GENERATE, run
from convc.testing import check_rewrite, check_view, error_bound, random_inputs, tolerance
from convc.testing.views import definition, memory_offset

TWICE = "graph @g(%x: f32[n<=6,3]) { %0: f32[n<=6,3] = relu(%x) %1: f32[n<=6,3] = relu(%0) return %1 }"


def identity(graph: Graph) -> Graph:
    return graph


def drop_last(graph: Graph) -> Graph:
    last = graph.nodes[-1]
    return graph.with_nodes(graph.nodes[:-1], {last.out: last.inputs[0]})


def test_check_rewrite_finds_another_text() -> None:
    with pytest.raises(AssertionError) as caught:
        check_rewrite(TWICE, identity, TWICE.replace("relu(%0)", "tanh(%0)"))
    assert [x for x in str(caught.value).splitlines() if x[0] in "+-"] == [
        "--- expected", "+++ found", "-  %1: f32[n<=6,3] = tanh(%0)", "+  %1: f32[n<=6,3] = relu(%0)",
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="the graph reads differently"):
        check_rewrite(TWICE, drop_last)
    check_rewrite(TWICE, identity)


def test_check_rewrite_finds_other_numbers() -> None:
    """The text is as promised, but it does not compute what it did."""
    before = TWICE.replace("relu(%0)", "tanh(%0)")
    after = "graph @g(%x: f32[n<=6,3]) { %0: f32[n<=6,3] = relu(%x) return %0 }"
    with pytest.raises(AssertionError, match=r"^%1 with 6 rows is off by 0\.\d+, and its largest number is 0\.\d+$"):
        check_rewrite(before, drop_last, after)
    check_rewrite(TWICE, drop_last, after)


def test_check_rewrite_finds_rows_that_are_mixed_up() -> None:
    """A sum over all rows where a mean was: the same for one row only."""
    before = "graph @g(%x: f32[n<=6]) { %0: f32[] = sum(%x) {axes=[0], mean=True} return %0 }"

    def forget_mean(graph: Graph) -> Graph:
        return parse_graph(before.replace(", mean=True", ""))

    with pytest.raises(AssertionError, match="%0 with 6 rows is off by"):
        check_rewrite(before, forget_mean, before.replace(", mean=True", ""))
    one = {"x": np.ones(1)}
    assert error_bound(lower(parse_graph(before)), one).keys() == {"0"}


def test_check_rewrite_finds_a_lost_output_and_an_ill_formed_graph() -> None:
    with pytest.raises(AssertionError, match="another number of outputs"):
        check_rewrite(
            TWICE, lambda g: replace(g, outputs=(*g.outputs, *g.outputs)), TWICE.replace("return %1", "return %1, %1")
        )
    with pytest.raises(IRError, match="used before it is defined"):
        check_rewrite(TWICE, lambda g: g.with_nodes(reversed(g.nodes)), TWICE)


X, W = f32(Rows(2), 2, 4, 4), f32(3, 2, 3, 3)
CONV = Conv2d(stride=(2, 2), padding=(1, 1))


def view_of(change: str) -> tuple[Gemm, tuple[TensorType, ...]]:
    """CONV's kernel with one thing wrong."""
    y = CONV.infer(X, W)
    kernel = CONV.lower((X, W), y)
    assert isinstance(kernel, Gemm)
    (view,) = kernel.phases
    a, b, (store,) = view.a, view.b, view.stores
    assert isinstance(a, Load)
    assert isinstance(b, Load)
    n, c, h, w = b.coords
    wrong: dict[str, GemmView] = {
        "nothing": view,
        "a tap off by one": replace(view, b=replace(b, coords=(n, c, h + 1, w))),
        "a transposed filter": replace(view, a=replace(a, coords=(*a.coords[:2], *reversed(a.coords[2:])))),
        "padding of ones": replace(view, b=replace(b, fill=1.0)),
        "a pixel left out": shortened(view, "q"),
        "a pixel stored twice": replace(view, stores=(replace(store, coords=(*store.coords[:3], store.coords[2])),)),
        "a store outside": replace(view, stores=(replace(store, coords=(*store.coords[:3], store.coords[3] + 1)),)),
        "a tap left out": shortened(view, "r"),
        "the next row": replace(view, b=replace(b, coords=(n + 1, c, h, w))),
    }
    return replace(kernel, phases=(wrong[change],)), y


def shortened(view: GemmView, name: str) -> GemmView:
    """The view with one axis that ends a point early."""
    old = next(x for x in view.axes if x.name == name)
    new = replace(old, extent=int(old.extent) - 1)

    def axes(given: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(new if x == old else x for x in given)

    stores = (Store(s.output, tuple(c.substitute({old: new}) for c in s.coords), s.value) for s in view.stores)
    a, b = (substitute_axes(e, {old: new}) for e in (view.a, view.b))
    return GemmView(axes(view.batch), axes(view.m), axes(view.n), axes(view.k), a, b, tuple(stores))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("a tap off by one", r"^the product of elements \[0, 0, \d, \d\] and .* for output .* is missing; \d+ such$"),
        ("a transposed filter", "is missing"),
        ("padding of ones", "a GEMM's factor must be 0 outside, not 1.0"),
        ("a pixel left out", r"element \[0, 0, 0, 1\] of output 0 is stored 0 times, not once"),
        ("a pixel stored twice", "of output 0 is stored [02] times, not once"),
        ("a store outside", r"store at q \+ 1, beyond 2, at g=0, k=0, n=0, p=0, q=1"),
        ("a tap left out", "is missing"),
        ("the next row", "load from operand 0: row 1, and there are 1"),
    ],
)
def test_check_view_finds(change: str, line: str) -> None:
    kernel, y = view_of(change)
    with pytest.raises(AssertionError, match=line):
        check_view(kernel, X, W, rows=1, products=definition(CONV, (X, W), y, 1))


def test_check_view_passes_what_is_right() -> None:
    kernel, y = view_of("nothing")
    for rows in (1, 2):
        check_view(kernel, X, W, rows=rows, products=definition(CONV, (X, W), y, rows))
    check_view(CONV, X.with_layout(Layout((0, 1, 2, 3), 0, 4)), W.with_layout(Layout((1, 2, 3, 0))))


def test_offsets_of_a_blocked_layout() -> None:
    """(n, c) in blocks of 4 rows: ((n/4 * C + c) * 4 + n%4."""
    t = f32(Rows(6), 3).with_layout(Layout((0, 1), 0, 4))
    assert [memory_offset(t, (n, 1)) for n in range(6)] == [4, 5, 6, 7, 16, 17]
    assert memory_offset(f32(5, 3).with_layout(Layout((1, 0))), (2, 1)) == 7


def test_tolerance_is_that_of_higham() -> None:
    assert tolerance("f32", 1) == pytest.approx(2.0**-24, rel=1e-6)
    assert tolerance("f32", 1000) == pytest.approx(1000 * 2.0**-24, rel=1e-4)
    assert tolerance("f64", 1000) < 1e-12
    with pytest.raises(IRError, match="a sum must have fewer than 16777216 terms for a bound in f32, not 16777216"):
        tolerance("f32", 1 << 24)


def test_the_bound_of_a_product_is_its_tolerance() -> None:
    graph = lower(parse_graph("graph @g(%x: f32[2,7], %w: f32[3,7]) { %0: f32[2,3] = linear(%x, %w) return %0 }"))
    inputs = random_inputs(graph)
    magnitudes = np.abs(inputs["x"]) @ np.abs(inputs["w"]).T
    np.testing.assert_allclose(error_bound(graph, inputs)["0"], tolerance("f32", 7) * magnitudes, rtol=1e-12)


def test_the_bound_holds_and_is_not_idle() -> None:
    """NumPy in f32, in its own order of additions, stays within; short sums come near it."""
    text = """graph @g(%x: f32[40,4], %w: f32[30,4], %b: f32[30]) {
      %0: f32[40,30] = linear(%x, %w)
      %1: f32[40,30] = bias_add(%0, %b)
      %2: f32[40,30] = softmax(%1)
      return %1, %2 }"""
    graph = run(parse_graph(text), GENERATE[:-1]).stages[-1][1]
    inputs = random_inputs(graph)
    bound = error_bound(graph, inputs)

    def forward(x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        z = x @ w.T + b
        e = np.exp(z - z.max(1, keepdims=True))
        return z, e / e.sum(1, keepdims=True)

    exact = forward(*inputs.values())
    found = forward(*(a.astype(np.float32) for a in inputs.values()))
    used = [np.abs(f - e) / bound[v.name] for f, e, v in zip(found, exact, graph.outputs, strict=True)]
    assert 0.2 < used[0].max() <= 1
    assert 0.01 < used[1].max() <= 1


def test_a_choice_that_rounding_may_turn_has_a_bound_that_says_so() -> None:
    """Where a sum is near 0, relu's gradient may or may not pass; an index among near-equal sums may be any."""
    text = """graph @g(%x: f32[1,3], %w: f32[2,3], %dy: f32[1,2]) {
      %0: f32[1,2] = linear(%x, %w)
      %1: f32[1,2] = relu_grad(%dy, %0)
      %2: f32[1,1,1,2] = reshape(%0)
      %3: f32[1,1,1,1], %4: i32[1,1,1,1] = max_pool(%2) {kernel=[1, 2], indices=True}
      return %1, %4 }"""
    graph = lower(parse_graph(text))
    x, dy = np.array([[1.0, 1e-9, -1.0]]), np.array([[3.0, 5.0]])
    bound = error_bound(graph, {"x": x, "w": np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]]), "dy": dy})
    np.testing.assert_array_equal(bound["1"], dy)
    assert np.isinf(bound["4"]).all()
    bound = error_bound(graph, {"x": x, "w": np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), "dy": dy})
    np.testing.assert_array_equal(bound["1"], 0 * dy)
    np.testing.assert_array_equal(bound["4"], 0)


def test_bounds_need_kernels() -> None:
    graph = parse_graph(TWICE)
    with pytest.raises(IRError, match=r"^bounds follow kernels, but relu is none; run the pass lower first$"):
        error_bound(graph, random_inputs(graph))


def test_random_inputs_depend_on_seed_and_name_alone() -> None:
    graph = parse_graph("""graph @g(%z: f32[n<=6,3], %l: i32[n<=6], %s: f32[4] state, %k: f32[] scalar) {
      %0: f32[n<=6] = cross_entropy(%z, %l) return %0 }""")
    a, b, c = random_inputs(graph, 5), random_inputs(graph, 5), random_inputs(graph, 5, seed=1)
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not any(np.array_equal(a[k], c[k]) for k in a)
    assert a["z"].shape == (5, 3)
    assert set(random_inputs(graph, seed=3)["l"]) <= {0.0, 1.0, 2.0}
    assert (a["s"] >= 0).all()
    assert all(np.array_equal(x, x.astype(np.float32)) for x in a.values())
