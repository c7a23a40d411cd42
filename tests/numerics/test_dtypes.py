"""Every operator on every dtype: computed right on each target, or refused by one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.ir.core import Op, checked_infer
from convc.ir.interp import interpret
from convc.ir.ops.optim import Update
from convc.ir.text import parse_graph
from convc.ir.types import DTYPES, TensorType
from tests.numerics.cases import CASES, Case, names
from tests.numerics.helpers import combined

Array = npt.NDArray[Any]
TARGETS = [
    "cpu",
    pytest.param("emulator", marks=pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed")),
]
PATTERNS = np.array([16777217, -16777217, 2**31 - 1, -(2**31), 1, -1, 0, 0x7F800001, 0x7FC00001, -0x7FFFFF, 0x7F800000,
                     123456789], np.int32)  # fmt: skip
"""Numbers that f32 loses, and bits that are NaN, infinite or subnormal as f32."""
FIRST: dict[str, Case] = {}
for _case in CASES:
    FIRST.setdefault(_case.op.name, _case)


def retyped(op: Op, dtype: str) -> Op:
    """The operator with its declared results of that dtype."""
    results = {f.name: getattr(op, f.name) for f in fields(op) if f.metadata.get("result")}
    return replace(op, **{k: replace(t, dtype=dtype) for k, t in results.items() if isinstance(t, TensorType)})


def refusal(op: Op, types: tuple[TensorType, ...]) -> str | None:
    """Why the operator does not take operands of these types, in one line; None where it does."""
    try:
        checked_infer(op, types)
    except convc.IRError as error:
        assert str(error).count("\n") == 0  # noqa: PT017
        return str(error)
    return None


def accepted(case: Case, dtype: str) -> Iterator[Case]:
    """The case with any of its operands, or all, of that dtype, where it is accepted; the others raise IRError."""
    choices = [*[(i,) for i in range(len(case.inputs))], tuple(range(len(case.inputs)))]
    for chosen in dict.fromkeys(choices):
        types = tuple(replace(t, dtype=dtype) if i in chosen else t for i, t in enumerate(case.inputs))
        for op in {case.op: None, retyped(case.op, dtype): None}:
            if refusal(op, types) is None:
                yield Case(f"{case.name}-{dtype}-{'.'.join(map(str, chosen))}", op, types)


MOVED = [c for case in CASES for c in accepted(case, "i32") if c.inputs != case.inputs]
"""Cases with an i32 operand that is f32 in the table: what the verifier takes."""


def test_i32_is_for_what_moves_it_and_for_counts() -> None:
    """max_pool, softmax, sums and the rest of arithmetic refuse it."""
    by_name = {c.op.name for c in MOVED}
    assert by_name == {"reshape", "flatten", "relayout", "broadcast", "adam", "adamw"}
    for name in ("max_pool", "softmax", "sum", "add", "conv2d", "linear", "relu", "sgd", "mse", "lrn"):
        case = FIRST[name]
        with pytest.raises(convc.IRError, match=r"must be f32, but it is i32|must have one (dtype|type)|operand \d"):
            checked_infer(case.op, [replace(t, dtype="i32") for t in case.inputs])


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_no_operand_that_is_whole_may_be_f32(case: Case) -> None:
    if "i32" not in [t.dtype for t in case.inputs]:
        return
    with pytest.raises(convc.IRError):
        checked_infer(case.op, [replace(t, dtype="f32") for t in case.inputs])


@pytest.mark.parametrize("dtype", ["f64", "u8", "f16", "i64"])
def test_other_dtypes_are_unknown(dtype: str) -> None:
    assert dtype not in DTYPES
    with pytest.raises(convc.IRError, match=f"unknown dtype '{dtype}'"):
        TensorType(dtype, (3,))
    with pytest.raises(convc.IRError, match=f"unknown dtype '{dtype}'"):
        parse_graph(f"graph @g(%x: {dtype}[3]) {{ return %x }}")


@pytest.mark.parametrize("target", TARGETS)
def test_what_moves_i32_keeps_every_bit(target: str) -> None:
    """At every shape of the operators' table, for several numbers of rows, and in the interpreter."""
    cases = [c for c in MOVED if not isinstance(c.op, Update)]
    graph = combined(cases)
    program = convc.compile(graph, target=target)
    for rows in (6, 1, 4):
        inputs = {
            v.name: np.resize(
                np.roll(PATTERNS, k), [rows if i == 0 and v.type.rows else int(e) for i, e in enumerate(v.type.shape)]
            )
            for k, v in enumerate(graph.inputs)
        }
        exact = interpret(graph, inputs)
        found = program(*[inputs[v.name] for v in graph.inputs])
        for v, a in zip(graph.outputs, found, strict=True):
            assert np.asarray(a).dtype == np.int32 or np.ndim(a) == 0
            np.testing.assert_array_equal(a, exact[v.name], err_msg=v.name)


@pytest.mark.parametrize("target", TARGETS)
def test_i32_that_enters_and_leaves_by_every_way(target: str) -> None:
    """Returned as it came, spread from a run-time number, turned in a layout, and beside what computes with it."""
    graph = parse_graph("""graph @g(%x: i32[n<=20,3,5], %l: i32[n<=20], %z: f32[n<=20,4], %s: i32[] scalar) {
      %0: i32[n<=20,15] = reshape(%x)
      %1: i32[n<=20,3,5|210] = relayout(%x)
      %2: i32[n<=20,3,5] = relayout(%1)
      %3: i32[n<=20,7] = broadcast(%l) {axes=[1]}
      %4: i32[2,3] = broadcast(%s) {axes=[0, 1]}
      %5: i32[n<=20,1] = reshape(%l)
      %6: i32[n<=20] = reshape(%5)
      %7: f32[n<=20] = correct(%z, %6)
      %8: i32[3] = full() {value=-16777216}
      return %x, %0, %2, %3, %4, %5, %7, %l, %8, %s }""")
    program = convc.compile(graph, target=target)
    for rows in (20, 1, 7):
        x = np.resize(PATTERNS, (rows, 3, 5)).astype(np.int32)
        labels = np.resize(np.arange(4), rows)
        z = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
        exact = interpret(graph, {"x": x, "l": labels, "z": z, "s": np.asarray(PATTERNS[0])})
        found = program(x, labels, z, s=int(PATTERNS[0]))
        for v, a in zip(graph.outputs, found, strict=True):
            np.testing.assert_array_equal(a, exact[v.name], err_msg=v.name)


@pytest.mark.parametrize("target", TARGETS)
def test_a_turn_of_i32_through_shared_memory(target: str) -> None:
    """A nest that reads along one axis and writes along another."""
    graph = parse_graph("""graph @g(%x: i32[96,64]) {
      %0: i32[64,96] = loops(%x) { for(i:64, j:96) map() { store 0[i, j] = $0[j, i] } }
      return %0 }""")
    x = np.resize(PATTERNS, (96, 64)).astype(np.int32)
    np.testing.assert_array_equal(convc.compile(graph, target=target)(x), x.T)


def test_the_table_has_whole_operands() -> None:
    """That the tests above look at something: labels, indices, seeds."""
    assert {c.op.name for c in CASES if "i32" in [t.dtype for t in c.inputs]} >= {
        "cross_entropy", "cross_entropy_grad", "correct", "max_pool_grad", "adaptive_max_pool_grad", "dropout", "fused",
    }  # fmt: skip
