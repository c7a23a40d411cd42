"""NCHW or NHWC: chosen by the model, for tensors together, and never for what is given or returned."""

from __future__ import annotations

from dataclasses import replace

import pytest

import convc
from convc.codegen.cuda.emit import emit_cuda
from convc.compiler import model_graph, trace_of
from convc.ir.core import Graph
from convc.ir.text import parse_graph
from convc.optim import SGD
from convc.passes.assign_layout import assign_layout
from convc.passes.channel_order import CHANNELS_LAST
from convc.passes.lower import lower
from convc.passes.target import CUDA, Target
from convc.testing import check_rewrite

STRIDED = """
    graph @g(%x: f32[n<=64,32,28,28], %w0: f32[128,32,1,1], %w1: f32[64,128,3,3]) {
      %0: f32[n<=64,128,28,28] = conv2d(%x, %w0) {padding=[0, 0]}
      %1: f32[n<=64,128,28,28] = relu(%0)
      %2: f32[n<=64,128,14,14] = max_pool(%1) {kernel=[2, 2]}
      %3: f32[n<=64,64,12,12] = conv2d(%2, %w1)
      return %3
    }
"""


def model(name: str, shape: tuple[int, ...], target: Target = CUDA) -> tuple[Graph, Graph]:
    """A train step before and after the pass."""
    _, graph = model_graph(getattr(convc.models, name)(), shape, "train", "cross_entropy")
    trace = trace_of(graph, "train", SGD(momentum=0.9), target)
    return trace.after("before assign_layout"), trace.after("assign_layout")


def chosen(graph: Graph) -> list[str]:
    return [v.name for v in graph.values() if v.type.layout is not None]


def test_what_a_nest_passes_on_shares_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers stay, and of the texts only types change; what is returned stays row-major."""
    monkeypatch.setattr("convc.passes.channel_order.GAIN", -9.0)
    monkeypatch.setattr("convc.passes.channel_order.ROUNDS", 1)
    small = STRIDED.replace("n<=64", "n<=3").replace("128", "8").replace(",64,", ",4,").replace("[64", "[4")
    after = small
    for name, extents in (("%0", "8,28,28"), ("%1", "8,28,28"), ("%2", "8,14,14")):
        after = after.replace(f"{name}: f32[n<=3,{extents}]", f"{name}: f32[n<=3,{extents}|0231]")
    after = "\n".join(f"{x} loc(: assign_layout)" if "|0231" in x else x for x in after.split("\n"))
    check_rewrite(small, assign_layout, after, target=CUDA)


def test_a_strided_product_likes_pixels_apart() -> None:
    """In ResNet's shapes the weight gradient gains more than the other two directions lose."""
    text = """
        graph @g(%x: f32[n<=32,64,56,56], %w0: f32[128,64,1,1], %w1: f32[128,128,3,3], %dz: f32[n<=32,128,28,28]) {
          %y: f32[n<=32,128,56,56] = conv2d(%x, %w0)
          %z: f32[n<=32,128,28,28] = conv2d(%y, %w1) {stride=[2, 2], padding=[1, 1]}
          %dw: f32[128,128,3,3] = conv2d_wgrad(%dz, %y) {stride=[2, 2], padding=[1, 1]}
          return %z, %dw
        }
    """
    assert chosen(assign_layout(parse_graph(text), target=CUDA)) == ["y"]


@pytest.mark.parametrize("level", [0, 4])
def test_lower_rungs_stay_row_major(level: int) -> None:
    assert not chosen(assign_layout(model("vgg_small", (32, 3, 32, 32))[0], target=replace(CUDA, level=level)))


def test_a_layout_that_is_declared_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.passes.channel_order.GAIN", -9.0)
    declared = STRIDED.replace("%1: f32[n<=64,128,28,28]", "%1: f32[n<=64,128,28,28|1023]")
    assert chosen(assign_layout(parse_graph(declared), target=CUDA)) == ["1"]


def test_what_is_lowered_has_its_layouts() -> None:
    graph = lower(model("vgg_small", (32, 3, 32, 32))[0])
    assert assign_layout(graph, target=CUDA) is graph


@pytest.mark.parametrize("name", ["vgg_small", "vgg16"])
def test_models_mix_the_orders_and_parameters_stay(name: str) -> None:
    shape = (32, 3, 32, 32) if name == "vgg_small" else (32, 3, 224, 224)
    before, after = model(name, shape)
    images = [v for v in after.values() if v.type.rank == 4 and v.type.rows is not None]
    assert 0 < len(chosen(after)) < len(images)
    assert {v.type.layout for v in after.values()} == {None, CHANNELS_LAST}
    assert all(v.type.layout is None for v in (*after.inputs, *after.results))
    assert [n.op for n in after.nodes] == [n.op for n in before.nodes], "nothing is copied"
    users = after.users()
    for node in after.nodes:
        if node.op.name == "max_pool":
            assert len({v.type.layout for v in (*node.inputs, *node.outputs)}) == 1
            readers = [n for n in users[node.outputs[1]] if n.op.name == "max_pool_grad"]
            assert all(n.out.type.layout == node.out.type.layout for n in readers)


def test_lenet_has_too_few_channels() -> None:
    assert not chosen(model("lenet5", (64, 1, 28, 28))[1])


def test_the_same_choice_every_time() -> None:
    first, second = (str(model("vgg_small", (32, 3, 32, 32))[1]) for _ in range(2))
    assert first == second


def test_what_is_chosen_is_emitted() -> None:
    _, graph = model_graph(convc.models.vgg_small(), (32, 3, 32, 32), "train", "cross_entropy")
    source = emit_cuda(trace_of(graph, "train", SGD(momentum=0.9), CUDA).stages[-1][1])
    cards = "\n".join(line for k in source.kernels for line in k.card.lines)
    assert "|0231]" in cards
    assert "order_axes" in cards
