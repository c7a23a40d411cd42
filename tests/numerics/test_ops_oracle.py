"""Every operator's reference against its equation in plain loops, and its lowering against the reference.

The oracle of all other tests stands on these: the loops share no code with it.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convc.ir.core import OPS, Graph, Op, checked_infer
from convc.ir.interp import interpret
from convc.ir.kernels import KernelOp
from convc.ir.ops.adaptive_pool import AdaptiveAvgPool, AdaptiveMaxPool
from convc.ir.ops.pool import AvgPool, MaxPool
from convc.ir.types import Rows
from convc.passes.lower import lower
from convc.testing import check_view, random_inputs
from convc.testing.rewrite import assert_close
from convc.testing.views import definition
from tests.numerics.cases import (
    CASES,
    POOLS,
    Case,
    adaptive_pools,
    all_cases,
    convolutions,
    names,
    others,
    pools,
    regularisers,
)
from tests.numerics.helpers import combined

Array = npt.NDArray[Any]
SUMS = [c for c in CASES if definition(c.op, c.inputs, c.outputs, 1) is not None and c.op.name != "fused"]
SMALL = [*pools(Rows(2)), *adaptive_pools(Rows(2)), *regularisers(Rows(2)), *others(Rows(2))]


def test_there_is_a_case_for_every_operator() -> None:
    tensor_level = {name for name, cls in OPS.items() if not issubclass(cls, KernelOp)}
    assert {c.op.name for c in CASES} == tensor_level


def run(graph: Graph, rows: int) -> list[Array]:
    found = interpret(graph, random_inputs(graph, rows))
    return [found[v.name] for v in graph.outputs]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("case", SUMS, ids=names(SUMS))
def test_sums_of_products_are_those_of_the_equation(case: Case, rows: int) -> None:
    graph = combined([case])
    x, y = random_inputs(graph, rows).values()
    (found,) = run(graph, rows)
    total = np.zeros_like(found)
    for (at, a, b), times in definition(case.op, case.inputs, case.outputs, rows).items():  # type: ignore[union-attr]
        total[at] += times * x[a] * y[b]
    assert_close(total, found, case.name)


def windows(op: AvgPool | MaxPool, x: Array, n: int, c: int, p: int, q: int) -> list[tuple[int, float]]:
    """The taps of one window that lie inside, with their values."""
    taps = []
    for r, s in product(range(op.kernel[0]), range(op.kernel[1])):
        h, w = p * op.step[0] + r - op.pads[0], q * op.step[1] + s - op.pads[1]
        if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]:
            taps.append((r * op.kernel[1] + s, float(x[n, c, h, w])))
    return taps


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_those_of_the_equation(name: str) -> None:
    attributes, image = POOLS[name]
    x = np.random.default_rng(0).integers(-3, 3, (2, *image)).astype(np.float64)  # ties: the first wins
    ops = MaxPool(**attributes, indices=True), AvgPool(**attributes), AvgPool(**attributes, count_include_pad=False)
    best, at = ops[0].reference(x)
    means = [op.reference(x)[0] for op in ops[1:]]
    size = ops[0].kernel[0] * ops[0].kernel[1]
    for point in np.ndindex(*best.shape):
        taps = windows(ops[0], x, *point)
        tap, value = max(taps, key=lambda t: (t[1], -t[0]))
        assert float(best[point]) == value
        assert int(at[point]) == tap
        total = sum(v for _, v in taps)
        assert means[0][point] == pytest.approx(total / size, rel=1e-12, abs=1e-12)
        assert means[1][point] == pytest.approx(total / len(taps), rel=1e-12, abs=1e-12)


def pool_of(op: Any) -> Op:
    """The pooling whose gradient `op` is."""
    if op.name == "max_pool_grad":
        return MaxPool(**op.shared, indices=True)
    if op.name == "avg_pool_grad":
        return AvgPool(**op.shared, count_include_pad=op.count_include_pad)
    return AdaptiveMaxPool(op.output, indices=True) if "max" in op.name else AdaptiveAvgPool(op.output)


@pytest.mark.parametrize("case", [c for c in CASES if "pool_grad" in c.name], ids=lambda c: c.name)
def test_pool_gradients_are_adjoint_to_pools(case: Case) -> None:
    """sum of dx * x = sum of dy * pool(x) for the linear map that a pool is once its winners are known."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal([int(e) for e in case.op.result.shape])  # type: ignore[attr-defined]
    dy = rng.standard_normal([int(e) for e in case.inputs[0].shape])
    y, *indices = pool_of(case.op).reference(x)
    (dx,) = case.op.reference(dy, *indices)
    assert (dx * x).sum() == pytest.approx((dy * y).sum(), rel=1e-10)


@pytest.mark.parametrize("rows", [6, 1, 4])
@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_lowering_computes_the_reference(case: Case, rows: int) -> None:
    graph = combined([case])
    inputs = random_inputs(graph, rows)
    arrays = [inputs[v.name] for v in graph.inputs]
    outputs = checked_infer(case.op, case.inputs)
    kernel = case.op.lower(case.inputs, outputs)
    for want, found in zip(case.op.execute(arrays, rows), kernel.execute(arrays, rows), strict=True):
        assert_close(np.asarray(want, np.float64), found, case.name)


def test_lowering_a_fixed_batch_computes_the_reference() -> None:
    graph = combined(all_cases(3))
    inputs = random_inputs(graph)
    want, found = interpret(graph, inputs), interpret(lower(graph), inputs)
    for v in graph.outputs:
        assert_close(want[v.name], found[v.name], v.name)


@pytest.mark.parametrize("case", SMALL, ids=names(SMALL))
def test_every_gather_is_in_bounds_and_every_store_happens_once(case: Case) -> None:
    check_view(case.op, *case.inputs)
    check_view(case.op, *case.inputs, rows=1)


@pytest.mark.parametrize("case", convolutions(Rows(2)), ids=names(convolutions(Rows(2))))
def test_every_tap_of_a_convolution_is_met_once(case: Case) -> None:
    check_view(case.op, *case.inputs, rows=1)


def test_integers_stay_whole_and_references_keep_their_dtype() -> None:
    for case in CASES:
        if case.op.name in ("full", "broadcast", "fused"):
            continue  # these know n and run in the interpreter alone
        graph = combined([case])
        inputs = [random_inputs(graph)[v.name].astype(np.float32) for v in graph.inputs]
        for array, t in zip(case.op.reference(*inputs), case.outputs, strict=True):
            assert array.dtype == (np.int32 if t.dtype == "i32" else np.float32), case.name
