"""The C target against the float64 interpreter: every operator, odd shapes, partial batches, poisoned memory."""

from __future__ import annotations

import pytest

from convc.ir.types import Rows
from tests.numerics.cases import FAMILIES, Case, all_cases
from tests.numerics.helpers import check, combined

FEW = (
    "conv2d-strided_dilated", "dgrad-strided", "wgrad-lopsided", "wgrad-depthwise", "max_pool_grad-overlapping",
    "max_pool_indices-exact", "avg_pool_inside-lopsided", "linear", "linear-grad-w", "fused-conv", "sum-bias",
    "sum-rows-mean", "softmax", "cross_entropy_grad", "broadcast-rows", "reshape", "mse",
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_typed_rows(family: str) -> None:
    check(combined(FAMILIES[family](Rows(6))), (6, 1, 5))


@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_batch(family: str) -> None:
    check(combined(FAMILIES[family](3)), (3,))


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 16, 20, 33, 64])
def test_every_number_of_rows(capacity: int) -> None:
    """Capacity 4 and more is stored in blocks of lanes; every n up to the capacity runs on one program."""
    few: list[Case] = [c for c in all_cases(Rows(capacity)) if c.name in FEW]
    assert len(few) == len(FEW)
    rows = range(1, capacity + 1) if capacity <= 20 else (1, 2, 15, 16, 17, 31, 32, capacity - 1, capacity)
    check(combined(few), rows)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [2, 4, 17, 32, 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_at_more_capacities(family: str, capacity: int) -> None:
    check(combined(FAMILIES[family](Rows(capacity))), range(1, capacity + 1, 3))
