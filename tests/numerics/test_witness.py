"""Every operator against PyTorch, in float64: a second witness that shares no code with the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.core import OPS
from convc.ir.kernels import KernelOp
from convc.ir.types import Rows
from convc.testing import random_inputs
from convc.testing.rewrite import assert_close
from convc.testing.witness import WITNESSES, run_operator, to_tensor
from tests.numerics.cases import Case, all_cases, names
from tests.numerics.helpers import combined

ROWS = 5
CASES = all_cases(Rows(ROWS))


def test_there_is_a_witness_for_every_operator() -> None:
    assert set(WITNESSES) == {name for name, cls in OPS.items() if not issubclass(cls, KernelOp)}


@pytest.mark.witness
@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_operator(case: Case) -> None:
    graph = combined([case])
    inputs = random_inputs(graph, ROWS)
    arrays = [inputs[v.name] for v in graph.inputs]
    seen = run_operator(case.op, [to_tensor(a) for a in arrays], ROWS)
    found = case.op.execute(arrays, ROWS)
    for a, b in zip(seen, found, strict=True):
        assert_close(a.detach().double().numpy(), np.asarray(b, np.float64), case.name)
