"""Calling a program: where results go, in which order, and one clear line for every wrong call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convc
from convc import RunError
from convc.runtime.program import Program


@pytest.fixture(scope="module")
def program() -> Program:
    return convc.compile(
        convc.parse_graph("""
        graph @g(%x: f32[n<=5,3], %y: f32[n<=5,3], %b: f32[3]) {
          %0: f32[n<=5,3] = add(%x, %y)
          %1: f32[n<=5,3] = bias_add(%0, %b)
          %2: f32[] = sum(%1) {axes=[0, 1]}
          %3: f32[n<=5,3] = mul(%x, %y)
          return %3, %1, %2
        }""")
    )


@pytest.fixture(scope="module")
def classifier() -> Program:
    net = convc.nn.Sequential(convc.nn.Flatten(), ("fc", convc.nn.Linear(4, 3)), name="tiny")
    return convc.compile(net, (4, 1, 2, 2), mode="eval")


X = np.arange(9, dtype=np.float32).reshape(3, 3)
Y = np.ones((3, 3), np.float32)
B = np.array([1, 2, 3], np.float32)


def test_results_come_in_order_and_a_scalar_as_a_float(program: Program) -> None:
    product, total, summed = program(X, Y, B)
    np.testing.assert_array_equal(product, X)
    np.testing.assert_array_equal(total, X + 1 + B)
    assert summed == (X + 1 + B).sum()
    assert type(summed) is float


def test_inputs_by_name_and_by_position(program: Program) -> None:
    for call in (program(X, b=B, y=Y), program(b=B, y=Y, x=X), program(X, Y, b=B)):
        np.testing.assert_array_equal(call[1], X + 1 + B)


def test_out_is_written_in_place_and_returned(program: Program) -> None:
    out = [np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32), np.zeros((), np.float32)]
    addresses = [a.ctypes.data for a in out]
    found = program(X, Y, B, out=out)
    assert all(a is b for a, b in zip(found, out, strict=True))
    assert [a.ctypes.data for a in out] == addresses
    np.testing.assert_array_equal(out[0], X)
    assert out[2] == (X + 1 + B).sum()


def test_out_of_a_single_result_is_an_array() -> None:
    relu = convc.compile(convc.parse_graph("graph @g(%x: f32[n<=5,3]) { %0: f32[n<=5,3] = relu(%x) return %0 }"))
    out = np.empty((3, 3), np.float32)
    assert relu(X - 4, out=out) is out
    np.testing.assert_array_equal(out, np.maximum(X - 4, 0))
    np.testing.assert_array_equal(relu(X - 4, out=(out,)), out)


def test_any_numbers_and_any_strides_are_taken(program: Program) -> None:
    wide = np.arange(18, dtype=np.float64).reshape(3, 6)
    for x in (X.tolist(), X.astype(np.float64), X.astype(np.int64), np.asfortranarray(X)):
        np.testing.assert_array_equal(program(x, Y, B)[0], X)
    np.testing.assert_array_equal(program(wide[:, ::2], Y, B)[0], wide[:, ::2])
    before = X.copy()
    program(X, Y, B)
    np.testing.assert_array_equal(X, before)


def wrong(line: str, call: Any) -> None:
    with pytest.raises(RunError) as caught:
        call()
    assert str(caught.value) == line


def test_wrong_inputs_are_refused_in_one_line(program: Program) -> None:
    wrong("rows must be between 1 and the capacity 5, but %x has 6", lambda: program(np.ones((6, 3)), Y, B))
    wrong("rows must be between 1 and the capacity 5, but %x has 0", lambda: program(np.ones((0, 3)), Y, B))
    wrong(
        "all inputs must have one number of rows, but there are 3 and, in %y, 2",
        lambda: program(X, np.ones((2, 3)), B),
    )
    wrong("%x must have shape [n<=5, 3], not [3, 4]", lambda: program(np.ones((3, 4)), Y, B))
    wrong("%x must have shape [n<=5, 3], not [3]", lambda: program(np.ones(3), Y, B))
    wrong("%b must have shape [3], not [2]", lambda: program(X, Y, B[:2]))
    wrong("x must hold numbers, but its dtype is complex64; give f32[n<=5,3]", lambda: program(X + 1j, Y, B))
    wrong("x must hold numbers, but its dtype is <U1; give f32[n<=5,3]", lambda: program(np.full((3, 3), "a"), Y, B))
    wrong(
        "the program takes x: f32[n<=5,3], y: f32[n<=5,3], b: f32[3], but b was not given",
        lambda: program(X, Y),
    )
    wrong("the program has no input z; it has x, y, b", lambda: program(X, Y, B, z=1))
    wrong(
        "an input is given once, but x was given by position and by name; leave out one",
        lambda: program(X, Y, B, x=X),
    )
    wrong(
        "the program takes 3 arrays (x: f32[n<=5,3], y: f32[n<=5,3], b: f32[3]), but 4 were given",
        lambda: program(X, Y, B, B),
    )


def test_wrong_outputs_are_refused_in_one_line(program: Program) -> None:
    good = [np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32), np.zeros((), np.float32)]
    line = "out for 3 must be a writable C-contiguous f32 array of shape [3, 3]"
    for bad in (
        np.zeros((3, 3)),
        np.zeros((4, 3), np.float32),
        np.zeros((3, 6), np.float32)[:, ::2],
        np.broadcast_to(np.float32(0), (3, 3)),
        [[0.0] * 3] * 3,
    ):
        wrong(line, lambda bad=bad: program(X, Y, B, out=[bad, *good[1:]]))
    wrong("out must hold 3 array(s), one for each output, not 2", lambda: program(X, Y, B, out=good[:2]))


def test_labels_out_of_range_are_refused_in_one_line(classifier: Program) -> None:
    x = np.zeros((2, 1, 2, 2), np.float32)
    wrong("labels must be between 0 and 2, but labels[1] is 3", lambda: classifier(x, [0, 3]))
    wrong("labels must be between 0 and 2, but labels[0] is -1", lambda: classifier(x, [-1, 3]))
    wrong(
        "labels must hold integers, but its dtype is float64; give whole numbers, such as int64",
        lambda: classifier(x, [0.0, 1.0]),
    )
    wrong("%labels must have shape [n<=4], not [2, 1]", lambda: classifier(x, [[0], [1]]))
    wrong("labels must be between 0 and 2, but labels[0] is 4294967296", lambda: classifier(x, np.array([2**32, 0])))
    loss, correct = classifier(x, np.array([0, 1], np.uint8))
    assert np.isfinite(loss)
    assert 0 <= correct <= 2


def test_a_run_time_number_must_be_given_and_known() -> None:
    step = convc.compile(
        convc.nn.Sequential(("fc", convc.nn.Linear(3, 2)), name="tiny"), (4, 3), mode="train", loss="mse"
    )
    x, target = np.ones((2, 3)), np.zeros((2, 2))
    before = step.parameters.snapshot()
    step(x, target, lr=0.0)
    for name, array in step.parameters.snapshot(step.parameters.names("parameter")).items():
        np.testing.assert_array_equal(array, before[name])
    wrong("the program has no input rate; it has x, target, lr, momentum, weight_decay",
          lambda: step(x, target, rate=0.1))  # fmt: skip
    graph = convc.parse_graph("graph @g(%w: f32[3], %k: f32[] scalar) { %0: f32[3] = mul(%w, %k) return %0 }")
    program = convc.compile(graph)
    np.testing.assert_array_equal(program(B, k=2), 2 * B)
    wrong("the run-time number k was not given; call with k=...", lambda: program(B))


def test_a_tensor_that_is_returned_as_it_came_is_refused_or_copied() -> None:
    """An output that is an input, one that is returned twice, and one that is an update."""
    program = convc.compile(
        convc.parse_graph("""
        graph @g(%x: f32[n<=5,3], %w: f32[3] parameter) {
          %0: f32[n<=5,3] = relu(%x)
          %1: f32[3] = add(%w, %w)
          return %0, %x, %0, %1
          update %w = %1
        }""")
    )
    program.parameters["w"][...] = B
    a, x, b, w = program(X)
    for array in (a, x, b):
        np.testing.assert_array_equal(array, X)
    np.testing.assert_array_equal(w, 2 * B)
    np.testing.assert_array_equal(program.parameters["w"], 2 * B)
