"""A trial draws its inputs for what they mean, and so it finds what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import convc
from convc.compiler import trace_of
from convc.ir.core import Graph
from convc.ir.whole import whole_limits
from convc.optim import SGD
from convc.passes.target import CPU
from convc.runtime.targets import executable
from convc.testing import random_inputs
from convc.testing.trial import random_run, trial
from tests.numerics.cases import CASES


def graph_of(classes: int) -> Graph:
    """A loss whose labels are reshaped first, as [N, 1] to [N]."""
    return convc.parse_graph(f"""
        graph @g(%z: f32[n<=40,{classes}], %labels: i32[n<=40,1]) {{
          %0: i32[n<=40] = reshape(%labels)
          %1: f32[n<=40] = cross_entropy(%z, %0)
          %2: f32[n<=40] = correct(%z, %0)
          return %1, %2
        }}""")


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_labels_are_drawn_from_all_classes(classes: int) -> None:
    """The kernels alone would not say what labels are: of ten classes two would be tried, of one, one that is none."""
    trace = trace_of(graph_of(classes), "infer", SGD(), CPU)
    built = executable(trace.stages[-1][1], "cpu", None)
    inputs, _ = random_run(trace, built)
    assert sorted(set(inputs["labels"].reshape(-1))) == list(range(classes))
    compared = trial(trace, built)
    assert [c.wrong for c in compared] == [0, 0]


def test_a_label_that_is_reshaped_first_is_checked_by_the_program() -> None:
    program = convc.compile(graph_of(3))
    z = np.zeros((2, 3), np.float32)
    with pytest.raises(convc.RunError, match=r"labels must be between 0 and 2, but labels\[1, 0\] is 3"):
        program(z, np.array([[0], [3]]))


def test_every_whole_operand_says_what_it_may_hold() -> None:
    """No list to forget: an operator that takes an i32 operand either says its limit or only moves it."""
    seen = set()
    for case in CASES:
        for number, t in enumerate(case.inputs):
            if t.dtype == "i32":
                seen.add(case.op.name)
                limit = case.op.whole_below(number, case.inputs)
                assert (limit is not None) != ("moves" in case.op.traits), f"{case.name}: operand {number}"
            else:
                assert case.op.whole_below(number, case.inputs) is None
    assert {"cross_entropy", "max_pool_grad", "adaptive_max_pool_grad", "dropout", "correct"} <= seen


def test_the_least_limit_counts_and_what_nobody_reads_is_any() -> None:
    graph = convc.parse_graph("""
        graph @g(%z: f32[4,7], %y: f32[4,3], %l: i32[2,2], %any: i32[900]) {
          %0: i32[4] = reshape(%l)
          %1: f32[4] = cross_entropy(%z, %0)
          %2: f32[4] = correct(%y, %0)
          return %1, %2, %any
        }""")
    limits = {v.name: limit for v, limit in whole_limits(graph).items()}
    assert limits == {"0": 3, "l": 3}
    drawn = random_inputs(graph)["any"]
    assert drawn.min() < -(2**30)
    assert drawn.max() > 2**30
