"""The text form: parse(print(g)) is g and print(parse(t)) is t, over all operators; names, layouts, kernels."""

from __future__ import annotations

import math
from textwrap import dedent
from typing import Any

import pytest

import convc.ir.ops  # noqa: F401  (registers the operators)
from convc.errors import IRError
from convc.ir.core import OPS, Graph, Node, Op, Placement, Value, checked_infer
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis
from convc.ir.kernels import Gemm, GemmSchedule, KernelOp, Loops, LoopSchedule
from convc.ir.loop_nest import LoopNest, Map, Reduce
from convc.ir.ops.adaptive_pool import AdaptiveAvgPool, AdaptiveAvgPoolGrad, AdaptiveMaxPool, AdaptiveMaxPoolGrad
from convc.ir.ops.clip import Norm
from convc.ir.ops.contract import Contract, Linear
from convc.ir.ops.conv import Conv2d, Conv2dDgrad, Conv2dWgrad
from convc.ir.ops.dropout import WORD, Dropout
from convc.ir.ops.fused import Fused, Step
from convc.ir.ops.loss import Softmax, SoftmaxGrad
from convc.ir.ops.norm import Lrn, LrnGrad, LrnTerms
from convc.ir.ops.optim import SgdMomentum
from convc.ir.ops.pointwise import Add, BiasAdd, LeakyRelu, LeakyReluGrad, Relu, ReluGrad
from convc.ir.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from convc.ir.ops.reduce import Broadcast, Full, Sum
from convc.ir.ops.shape import Relayout, Reshape
from convc.ir.scalar import Const, Local, Unary, load, store
from convc.ir.text import parse_graph, print_graph, print_node
from convc.ir.types import Layout, Rows, TensorType, f32
from tests.ir.graphs import graph_of, round_trip

N = Rows(8)
FEATURES = f32(N, 4, 7, 6)
HALF = f32(N, 4, 3, 3)
LOGITS = f32(N, 10)
ROW = f32(N)
LABELS = TensorType("i32", (N,))
WEIGHT = f32(6, 4, 3, 2)
SCALAR = f32()
STRIDED: dict[str, Any] = {"stride": (2, 3), "padding": (1, 0, 2, 1), "dilation": (2, 1)}
CONV_Y = Conv2d(**STRIDED).infer(FEATURES, WEIGHT)[0]

CASES: list[tuple[Op, tuple[TensorType, ...]]] = [
    (Conv2d(**STRIDED), (FEATURES, WEIGHT)),
    (Conv2d(groups=2), (FEATURES, f32(6, 2, 3, 2))),
    (Conv2dDgrad(**STRIDED, result=FEATURES), (CONV_Y, WEIGHT)),
    (Conv2dWgrad(**STRIDED, result=WEIGHT), (CONV_Y, FEATURES)),
    (Linear(), (LOGITS, f32(5, 10))),
    (Contract("nk,kc->nc"), (LOGITS, f32(10, 3))),
    (Fused(Linear(), (Step(BiasAdd(), (3, 2)), Step(Relu(), (4,)))), (LOGITS, f32(5, 10), f32(5))),
    (Fused(Conv2dDgrad(**STRIDED, result=FEATURES), (Step(ReluGrad(), (3, 2)),)), (CONV_Y, WEIGHT, FEATURES)),
    (Fused(Linear(), (Step(BiasAdd(axis=0), (3, 2)),)), (f32(2, 3), f32(4, 3), f32(2))),
    (OPS["relu"](), (FEATURES,)),
    (OPS["sigmoid"](), (FEATURES,)),
    (OPS["tanh"](), (FEATURES,)),
    (OPS["relu_grad"](), (FEATURES, FEATURES)),
    (OPS["sigmoid_grad"](), (LOGITS, LOGITS)),
    (OPS["tanh_grad"](), (LOGITS, LOGITS)),
    (OPS["add"](), (FEATURES, SCALAR)),
    (OPS["mul"](), (LOGITS, LOGITS)),
    (BiasAdd(), (FEATURES, f32(4))),
    (MaxPool((3, 2), (2, 2), (1, 1)), (FEATURES,)),
    (MaxPool(indices=True), (FEATURES,)),
    (MaxPoolGrad(result=FEATURES), (HALF, TensorType("i32", HALF.shape))),
    (AvgPool((3, 2), (2, 2), (1, 0, 0, 1), count_include_pad=False), (FEATURES,)),
    (AvgPoolGrad(result=FEATURES), (HALF,)),
    (AdaptiveAvgPool((3, 4)), (FEATURES,)),
    (AdaptiveAvgPoolGrad((3, 3), result=FEATURES), (HALF,)),
    (AdaptiveMaxPool((2, 5), indices=True), (FEATURES,)),
    (AdaptiveMaxPoolGrad((3, 3), result=FEATURES), (HALF, TensorType("i32", HALF.shape))),
    (Lrn(3, 0.5, 0.25, 2.0), (FEATURES,)),
    (LrnTerms(4), (FEATURES, FEATURES)),
    (LrnGrad(), (FEATURES, FEATURES, FEATURES)),
    (Dropout(0.25, 7), (FEATURES, WORD, WORD)),
    (Fused(Linear(), (Step(Dropout(stream=2**32 - 1), (4, 2, 3)),)), (LOGITS, f32(5, 10), WORD, WORD)),
    (LeakyRelu(0.2), (FEATURES,)),
    (LeakyReluGrad(), (FEATURES, FEATURES)),
    (Sum((0, 2, 3), mean=True), (FEATURES,)),
    (Broadcast((0, 2), mean=True, result=FEATURES), (f32(4, 6),)),
    (Full(value=-math.inf, result=FEATURES), ()),
    (Full(value=1e-30, result=SCALAR), ()),
    (Reshape(result=f32(N, 2, 84)), (FEATURES,)),
    (OPS["flatten"](), (FEATURES,)),
    (Relayout(result=FEATURES.with_layout(Layout((0, 1, 2, 3), 0, 16))), (FEATURES,)),
    (Softmax(), (LOGITS,)),
    (SoftmaxGrad(axis=2), (FEATURES, FEATURES)),
    (OPS["cross_entropy"](), (LOGITS, LABELS)),
    (OPS["cross_entropy_grad"](), (ROW, LOGITS, LABELS)),
    (OPS["correct"](), (LOGITS, LABELS)),
    (OPS["mse"](), (LOGITS, LOGITS)),
    (OPS["mse_grad"](), (SCALAR, LOGITS, LOGITS)),
    (OPS["count"](), (TensorType("i32", ()),)),
    (OPS["sgd"](), (WEIGHT, WEIGHT, SCALAR, SCALAR)),
    (SgdMomentum(nesterov=True), (WEIGHT, WEIGHT, WEIGHT, SCALAR, SCALAR, SCALAR)),
    (OPS["adam"](), (WEIGHT, WEIGHT, WEIGHT, WEIGHT, *[SCALAR] * 6)),
    (OPS["adamw"](), (WEIGHT, WEIGHT, WEIGHT, WEIGHT, *[SCALAR] * 6)),
    (OPS["rmsprop"](), (WEIGHT, WEIGHT, WEIGHT, *[SCALAR] * 4)),
    (OPS["rmsprop_momentum"](), (WEIGHT, WEIGHT, WEIGHT, WEIGHT, *[SCALAR] * 5)),
    (Norm((1, 2, 3)), (FEATURES,)),
    (OPS["hypot"](), (FEATURES, SCALAR)),
    (OPS["clip_scale"](), (SCALAR, SCALAR)),
]  # fmt: skip


def test_the_cases_cover_every_operator() -> None:
    assert {op.name for op, _ in CASES} == {name for name, cls in OPS.items() if not issubclass(cls, KernelOp)}


@pytest.mark.parametrize(("op", "inputs"), CASES, ids=lambda c: c.name if isinstance(c, Op) else "")
def test_every_operator_round_trips_at_both_levels(op: Op, inputs: tuple[TensorType, ...]) -> None:
    outputs = checked_infer(op, inputs)
    graph = graph_of(op, inputs, outputs)
    round_trip(graph)
    assert "\n" not in print_node(graph.nodes[0])
    lowered = op.lower(inputs, outputs)
    kernel = round_trip(graph_of(lowered, inputs, outputs, path="a.b/c", passes=("lower",)))
    assert kernel.endswith("} loc(a.b/c: lower)\n  return " + ", ".join(f"%{i}" for i in range(len(outputs))) + "\n}")


LENET = """\
graph @lenet5(
  %x: f32[n<=64,1,28,28],
  %conv1.weight: f32[6,1,5,5] parameter,
  %lr: f32[] scalar,
  %b: f32[6] constant
) {
  %0: f32[n<=64,6,28,28] = conv2d(%x, %conv1.weight) {padding=[2, 2]} loc(conv1)
  %1: f32[n<=64,6,14,14], %2: i32[n<=64,6,14,14] = max_pool(%0) {indices=True} loc(: autodiff)
  %3: f32[n<=64,6,28,28] = fused(%x, %conv1.weight, %b) {anchor=conv2d {padding=[2, 2]}, steps=[bias_add($3, $2), relu($4)]} loc(conv1: autodiff, fuse_epilogue)
  %7: f32[n<=64,6,28,28|0123.0x16] = gemm(%x, %conv1.weight, %b) {
    title="conv1 with its bias"
    phase {
      batch(g:1) m(k:6) n(n:n<=64, p:28, q:28) k(c:1, r:5, s:5)
      a = $1[k, 0, r, s]
      b = $0[n, 0, p + r - 2, q + s - 2]
      store 0[n, k, p, q] = max(acc + $2[k], 0.0)
      schedule {lanes=n, width=16, m_tile=k:6, n_tile=q:4}
    }
  } loc(conv1: lower)
  %8: f32[n<=64,6,14,14], %9: i32[n<=64,6,14,14] = loops(%7) {
    for(n:n<=64, c:6, p:14, q:14)
    reduce(r:2, s:2) best, at = argmax($0[n, c, p*2 + r, q*2 + s ; -inf], #(r*2 + s))
    map() { store 0[n, c, p, q] = best; store 1[n, c, p, q] = at }
    schedule {lanes=none, width=1}
  } loc(pool1: lower)
  %20: f32[6,1,5,5] = mul(%conv1.weight, %lr)
  return %3, %8
  update %conv1.weight = %20
  place %7 at arena + 4096
  place %20 inside %conv1.weight
  arena 123456 bytes
}"""  # noqa: E501


def test_a_graph_with_everything_prints_as_it_was_written() -> None:
    g = parse_graph(LENET)
    assert print_graph(g) == LENET
    assert str(g) == LENET
    assert [g.role(v) for v in g.inputs] == ["data", "parameter", "scalar", "constant"]
    assert g.updates["conv1.weight"] is g.nodes[-1].out
    assert g.placements == {"7": Placement(4096), "20": Placement(inside="conv1.weight")}
    assert g.arena_bytes == 123456
    gemm, loops = g.nodes[3].op, g.nodes[4].op
    assert isinstance(gemm, Gemm)
    assert isinstance(loops, Loops)
    assert gemm.schedules == (GemmSchedule("n", 16, ("k", 6), ("q", 4)),)
    assert gemm.results == (f32(Rows(64), 6, 28, 28).with_layout(Layout((0, 1, 2, 3), 0, 16)),)
    assert loops.schedule == LoopSchedule(None, 1)


def test_blanks_comments_defaults_and_numbers_are_free() -> None:
    loose = """
        // a comment
        graph @g(%x: f32[2,3,4,4] data,
                 %w: f32[ 5 , 3,1,1 ]) { // another
          %0: f32[2,5,4,4] = conv2d(%x,
             %w) { stride = [1, 1], padding=[0, 0, 0, 0],
                   groups=1 } // %nothing = here(
          %1: f32[2] = full() {value=3}
          return %0,%1 }"""
    assert print_graph(parse_graph(loose)) == dedent("""\
        graph @g(%x: f32[2,3,4,4], %w: f32[5,3,1,1]) {
          %0: f32[2,5,4,4] = conv2d(%x, %w)
          %1: f32[2] = full() {value=3.0}
          return %0, %1
        }""")


HOSTILE = [
    "a b",
    "",
    "/conv1/out",
    "x//y",
    "été",
    '"',
    "\\",
    "a\nb",
    "*/ f(1); /*",
    "a:b",
    "-",
    "%",
    "\ud800",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_model_files_are_quoted(name: str) -> None:
    x = Value(name, SCALAR)
    y = Value(f"{name}'", SCALAR)
    g = Graph(name, (x,), (Node(OPS["relu"](), (x,), (y,), name, (name,)),), (y,), {name: "state"}, {name: y})
    text = round_trip(g)
    assert text.isascii()
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize("name", ["0", "conv1.weight", "a/b-c", "_x", ".", "1e5", "return"])
def test_plain_names_are_bare(name: str) -> None:
    x = Value(name, SCALAR)
    text = round_trip(Graph(name, (x,), (), (x,)))
    assert text == f"graph @{name}(%{name}: f32[]) {{\n  return %{name}\n}}"


def test_a_graph_may_return_nothing() -> None:
    x = Value("x", SCALAR)
    tied = Graph("g", (x,), (), (), {"x": "state"}, {"x": x})
    assert round_trip(tied) == "graph @g(%x: f32[] state) {\n  return\n  update %x = %x\n}"


def test_an_inner_operator_writes_its_result_where_it_is_not_the_nodes() -> None:
    y, w = f32(2, 4, 3, 3), f32(4, 3, 1, 1)
    dx = f32(2, 3, 3, 3)
    inner = Conv2dDgrad(result=dx)
    assert "anchor=conv2d_dgrad, steps" in round_trip(graph_of(Fused(inner, (Step(Relu(), (2,)),)), (y, w), (dx,)))
    one = f32()
    step = Fused(Contract("a,a->"), (Step(Add(), (2, 3)),))
    vector = f32(3)
    graph = graph_of(step, (vector, vector, vector), (vector,))
    assert "anchor=contract" in round_trip(graph)
    strided = Conv2dDgrad(stride=(2, 2), result=f32(2, 3, 5, 5))
    other = Fused(strided, (Step(Add(), (2, 3)),))
    text = print_graph(graph_of(other, (y, w, one), (one,)))
    assert "{anchor=conv2d_dgrad {stride=[2, 2]}: f32[2,3,5,5], steps=[add($2, $3)]}" in text


def test_a_declared_layout_wins_over_an_inferred_type() -> None:
    t = FEATURES.with_layout(Layout((0, 2, 3, 1)))
    g = parse_graph(f"graph @g(%x: {FEATURES}) {{ %0: {t} = relu(%x) return %0 }}")
    assert g.nodes[0].out.type == t
    assert "%0: f32[n<=8,4,7,6|0231] = relu" in print_graph(g)


def test_long_maps_and_empty_kernels() -> None:
    i = Axis("i", 3)
    long = Unary("exp", Local("the_sum_of_all_elements")) * Local("the_sum_of_all_elements") * 2.0 / 3.25
    total = Reduce((i,), "sum", ("the_sum_of_all_elements",), (load(0, i),))
    nest = LoopNest((), (total, Map((i,), (store(0, (i,), long), store(1, (i,), 1.5)))))
    v = f32(3)
    assert print_node(graph_of(Loops(nest, results=(v, v)), (v,), (v, v)).nodes[0]) == dedent("""\
        %0: f32[3], %1: f32[3] = loops(%x0) {
          for()
          reduce(i:3) the_sum_of_all_elements = sum($0[i])
          map(i:3) {
            store 0[i] = exp(the_sum_of_all_elements) * the_sum_of_all_elements * 2.0 / 3.25
            store 1[i] = 1.5
          }
        }""")
    assert "map(i:3)" in round_trip(graph_of(Loops(nest, results=(v, v)), (v,), (v, v)))
    round_trip(graph_of(Loops(results=(v,)), (), (v,)))
    round_trip(graph_of(Gemm(results=(v,)), (), (v,)))
    zero = GemmView((), (), (), (Axis("r", 0),), load(0), load(0), ())
    schedule = GemmSchedule(None, 1, ("", 1), ("", 1))
    text = round_trip(graph_of(Gemm((zero, zero), (schedule, schedule), results=(v,)), (SCALAR,), (v,)))
    assert text.count("batch() m() n() k(r:0)\n      a = $0[]\n      b = $0[]\n") == 2
    assert "schedule {lanes=none, width=1, m_tile=none:1, n_tile=none:1}" in text


def test_what_cannot_be_written_is_refused() -> None:
    for name in ("rows", "é", "a b", "1"):
        nest = LoopNest((Axis(name, 2),), ())
        with pytest.raises(IRError, match=r"axis name .* must be letters, digits and _ and no keyword"):
            print_graph(graph_of(Loops(nest, results=(SCALAR,)), (), (SCALAR,)))
    view = GemmView((), (), (), (), Const(0.0), Const(0.0), ())
    half = Gemm((view, view), (GemmSchedule(None, 1, ("", 1), ("", 1)),), results=(SCALAR,))
    with pytest.raises(IRError, match="one schedule a phase or none, not 1 for 2 phases"):
        print_graph(graph_of(half, (), (SCALAR,)))
    eleven = f32(*[1] * 11).with_layout(Layout(tuple(range(11))))
    with pytest.raises(IRError, match="has 11; use at most 10"):
        print_graph(Graph("g", (Value("x", eleven),), (), ()))
