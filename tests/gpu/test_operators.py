"""Every operator on the device against the float64 interpreter, within the bounds derived for its kernels."""

from __future__ import annotations

import pytest

import convc
from convc.ir.types import Rows
from tests.cuda.programs import every_tile
from tests.numerics.cases import FAMILIES, Case, all_cases
from tests.numerics.helpers import check, combined
from tests.numerics.test_cpu_kernels import FEW


@pytest.mark.parametrize("family", FAMILIES)
def test_typed_rows(family: str) -> None:
    graph = combined(FAMILIES[family](Rows(6)))
    check(graph, (6, 1, 5), convc.compile(graph, target="cuda"))


@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_batch(family: str) -> None:
    graph = combined(FAMILIES[family](3))
    check(graph, (3,), convc.compile(graph, target="cuda"))


@pytest.mark.parametrize("capacity", [1, 8, 33, 128])
def test_every_number_of_rows(capacity: int, small: bool) -> None:
    capacity = min(capacity, 9) if small else capacity
    few: list[Case] = [c for c in all_cases(Rows(capacity)) if c.name in FEW]
    graph = combined(few)
    rows = range(1, capacity + 1) if capacity <= 8 else (1, 2, (capacity + 1) // 2, capacity - 1, capacity)
    check(graph, rows, convc.compile(graph, target="cuda"))


@pytest.mark.parametrize("rows", [5, 40])
def test_convolutions_of_odd_sizes(rows: int) -> None:
    graph = every_tile(rows)
    check(graph, (rows, rows - 1), convc.compile(graph, target="cuda"))
