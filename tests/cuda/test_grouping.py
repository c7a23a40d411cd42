"""Which kernels share a launch, and that none passes one that it has to wait for."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.codegen.cuda.emit import CudaSource, emit_cuda
from convc.codegen.storage import meet, storage
from convc.compiler import Mode, model_graph, trace_of
from convc.ir.core import Graph
from convc.ir.kernels import Gemm
from convc.ir.text import parse_graph
from convc.optim import SGD
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA, Target
from tests.cuda.programs import emulated
from tests.numerics.helpers import check

needs_nvrtc = pytest.mark.skipif(
    find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'"
)
SMALL = """graph @g(%x: f32[n<=8,3,9,9], %w: f32[6,3,3,3], %v: f32[7,3,3,3]) {
  %a: f32[n<=8,6,9,9] = conv2d(%x, %w) {padding=[1, 1]}
  %b: f32[n<=8,7,9,9] = conv2d(%x, %v) {padding=[1, 1]}
  return %a, %b }"""
LARGE = re.sub(r"8,(\d),9,9", r"64,\g<1>4,56,56", SMALL).replace("6,3,3,3", "64,34,3,3").replace("7,3,3,3", "74,34,3,3")
GRADIENTS = """graph @g(%dy: f32[n<=8,6,9,9], %x: f32[n<=8,3,9,9], %w: f32[6,3,3,3]) {
  %dw: f32[6,3,3,3] = conv2d_wgrad(%dy, %x) {padding=[1, 1]}
  %dx: f32[n<=8,3,9,9] = conv2d_dgrad(%dy, %w) {padding=[1, 1]}
  return %dw, %dx }"""


def source(text: str, target: Target = CUDA) -> CudaSource:
    return emit_cuda(run(parse_graph(text), pipeline(train=False), target).stages[-1][1], target)


def products(s: CudaSource) -> list[int]:
    """The products of each launch that has one."""
    counts = [sum(isinstance(k.node.op, Gemm) for k in x.kernels) for x in s.launches]
    return [c for c in counts if c]


def test_small_products_share_a_launch() -> None:
    assert products(source(SMALL)) == [2]


def test_large_products_do_not() -> None:
    """Each fills the device by itself."""
    assert products(source(LARGE)) == [1, 1]


def test_what_fits_depends_on_the_device() -> None:
    assert products(source(SMALL, replace(CUDA, multiprocessors=1))) == [1, 1]


def test_a_launch_is_spared_whose_kernels_fit_into_others() -> None:
    """The sum of %a waits for it, and the map of %x for nothing: it goes along with %a."""
    s = source("""graph @g(%x: f32[n<=64,5], %y: i32[n<=64]) {
      %a: f32[n<=64] = cross_entropy(%x, %y)
      %b: f32[n<=64,5] = tanh(%x)
      %c: f32[] = sum(%a) {axes=[0]}
      return %b, %c }""")
    assert [len(x.kernels) for x in s.launches] == [2, 1]


def planned(name: str, shape: tuple[int, ...], mode: Mode) -> Graph:
    _, graph = model_graph(getattr(convc.models, name)(), shape, mode, "cross_entropy")
    return trace_of(graph, mode, SGD(momentum=0.9), CUDA).stages[-1][1]


@pytest.mark.parametrize(("name", "shape"), [("lenet5", (64, 1, 28, 28)), ("vgg_small", (8, 3, 32, 32))])
def test_no_kernel_passes_one_that_it_waits_for(name: str, shape: tuple[int, ...]) -> None:
    graph = planned(name, shape, "train")
    places = storage(graph)
    found = emit_cuda(graph)
    order = {node: i for i, node in enumerate(graph.nodes)}
    launch = {k.node: i for i, x in enumerate(found.launches) for k in x.kernels}
    assert len(launch) == len(graph.nodes)
    for one, other in combinations(graph.nodes, 2):
        assert order[one] < order[other]
        if meet(one, other, places):
            assert launch[one] < launch[other], f"{one.out.name}, {other.out.name}"


def test_a_train_step_has_few_launches() -> None:
    found = emit_cuda(planned("lenet5", (64, 1, 28, 28), "train"))
    assert (len(found.kernels), len(found.launches)) == (33, 16)


def test_a_product_and_a_nest_share_a_launch() -> None:
    """The data gradient waits for nothing, and goes along with the sum of the weight gradient's parts."""
    found = source(GRADIENTS).launches
    assert [[k.node.op.label for k in x.kernels] for x in found] == [["wgrad_parts"], ["sum_parts", "dgrad"]]


@needs_nvrtc
@pytest.mark.parametrize("text", [SMALL, GRADIENTS])
def test_kernels_that_share_a_launch_are_right(text: str) -> None:
    graph = parse_graph(text)
    program = emulated(graph)
    assert max(len(x.kernels) for x in program.executable.source.launches) == 2
    check(graph, (8, 5), program)
