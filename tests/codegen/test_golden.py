"""Golden texts: the IR at both levels, C and CUDA of one convolution of each kind; no shape divides a tile."""

from __future__ import annotations

import pytest
from codegen_cases import CASES, CUDA_CASES

from convc.codegen.cuda.emit import emit_cuda
from convc.codegen.emit import emit_c
from convc.ir.text import parse_graph
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden) -> None:
    trace = run(parse_graph(CASES[name]), pipeline(train=name.startswith("train")))
    graph = trace.stages[-1][1]
    golden.check(f"{name}.tensor.conv", f"{trace.after('eliminate_dead')}\n")
    golden.check(f"{name}.kernel.conv", f"{graph}\n")
    source = emit_c(graph)
    golden.check(f"{name}.c", "\n".join(k.source for k in source.kernels) + "\n" + source.step)


@pytest.mark.parametrize("name", CASES | CUDA_CASES)
def test_golden_cuda(name: str, golden) -> None:
    graph = run(parse_graph((CASES | CUDA_CASES)[name]), pipeline(train=name.startswith("train")), CUDA).stages[-1][1]
    golden.check(f"{name}.cuda.conv", f"{graph}\n")
    golden.check(f"{name}.cu", emit_cuda(graph).text)


def test_the_header_of_vector_functions(golden) -> None:
    graph = run(parse_graph(CASES["fprop_bias_relu"]), pipeline(train=False)).stages[-1][1]
    golden.check("convc.h", emit_c(graph).header)
