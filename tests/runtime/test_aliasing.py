"""Arrays that a caller gives and that share memory: the results are those of arrays apart, or a line says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc.errors import RunError
from convc.runtime.program import Program

Array = npt.NDArray[Any]
TARGETS = ("cpu", "emulator")
CONV = """
graph @g(%x: f32[n<=4,3,9,9], %w: f32[3,3,3,3], %b: f32[3]) {
  %0: f32[n<=4,3,9,9] = conv2d(%x, %w) {padding=[1, 1]}
  %1: f32[n<=4,3,9,9] = bias_add(%0, %b)
  return %1 }
"""
rng = np.random.default_rng(0)
X = rng.standard_normal((4, 3, 9, 9)).astype(np.float32)
W = rng.standard_normal((3, 3, 3, 3)).astype(np.float32)
B = np.asarray([1, 2, 3], np.float32)


def wrong(line: str, call: Callable[[], Any]) -> None:
    with pytest.raises(RunError) as caught:
        call()
    assert str(caught.value) == line


@pytest.mark.parametrize("target", TARGETS)
def test_a_convolution_into_its_own_input(target: str) -> None:
    program = convc.compile(convc.parse_graph(CONV), target=target)
    wanted = program(X, W, B)
    x = X.copy()
    assert program(x, W, B, out=x) is x
    np.testing.assert_array_equal(x, wanted)
    room = np.zeros(X.size + 7, np.float32)  # the output begins in the middle of the input
    x, out = room[: X.size].reshape(X.shape), room[7:].reshape(X.shape)
    x[...] = X
    np.testing.assert_array_equal(program(x, W, B, out=out), wanted)


def test_views_of_one_array() -> None:
    """Fewer rows written over more, a transposed view, and arrays that touch without sharing a byte."""
    program = convc.compile(convc.parse_graph(CONV))
    wanted = program(X, W, B)
    x = X.copy()
    np.testing.assert_array_equal(program(x[1:3], W, B, out=x[:2]), wanted[1:3])
    np.testing.assert_array_equal(x[2:], X[2:])
    turned = np.ascontiguousarray(X.transpose(0, 1, 3, 2))
    out = turned.view()
    np.testing.assert_array_equal(program(turned.transpose(0, 1, 3, 2), W, B, out=out), wanted)
    room = np.zeros((8, 3, 9, 9), np.float32)
    room[:4] = X
    given: list[int] = []
    run = program.executable.run

    def spied(inputs: Any, outputs: Any, scalars: Any, rows: int) -> None:
        given.append(inputs[0].ctypes.data)
        run(inputs, outputs, scalars, rows)

    program.executable.run = spied  # type: ignore[method-assign]
    np.testing.assert_array_equal(program(room[:4], W, B, out=room[4:]), wanted)
    assert given == [room.ctypes.data], "what does not overlap is not copied"


def test_one_array_may_be_several_inputs() -> None:
    graph = convc.parse_graph("graph @g(%x: f32[n<=4,5], %y: f32[n<=4,5]) { %0: f32[n<=4,5] = mul(%x, %y) return %0 }")
    program = convc.compile(graph)
    a = np.arange(20, dtype=np.float32).reshape(4, 5)
    wanted = a * a
    np.testing.assert_array_equal(program(a, a), wanted)
    np.testing.assert_array_equal(program(a, a, out=a), wanted)


TWO = """
graph @g(%x: f32[n<=4,5], %k: f32[] scalar) {
  %0: f32[n<=4,5] = mul(%x, %k)
  %1: f32[n<=4,5] = add(%x, %x)
  %2: f32[] = sum(%x) {axes=[0, 1]}
  %3: f32[] = sum(%1) {axes=[0, 1]}
  return %0, %1, %2, %3 }
"""


def test_outputs_that_share_memory_are_refused_in_one_line() -> None:
    program = convc.compile(convc.parse_graph(TWO))
    x = np.ones((4, 5), np.float32)
    o, p, q, r = (np.zeros(s, np.float32) for s in ((4, 5), (4, 5), (), ()))
    wrong(
        "out for 0 and 1 share memory; give each output an array of its own",
        lambda: program(x, k=1, out=[o, o, q, r]),
    )
    room = np.zeros(21, np.float32)
    shifted = [room[:20].reshape(4, 5), room[1:].reshape(4, 5), q, r]
    wrong("out for 0 and 1 share memory; give each output an array of its own", lambda: program(x, k=1, out=shifted))
    wrong(
        "out for 2 and 3 share memory; give each output an array of its own",
        lambda: program(x, k=1, out=[o, p, q, q]),
    )
    wrong(
        "out for 1 and 2 share memory; give each output an array of its own",
        lambda: program(x, k=1, out=[o, p, p[3, 4:].reshape(()), r]),
    )
    pair = np.zeros(2, np.float32)
    found = program(x, k=3, out=[o, p, pair[:1].reshape(()), pair[1:].reshape(())])
    assert pair.tolist() == [20, 40]
    assert (found[0] == 3).all()


STEP = """
graph @g(%x: f32[5], %w: f32[5] parameter) {
  %0: f32[5] = add(%w, %x)
  %1: f32[5] = mul(%x, %x)
  return %1
  update %w = %0 }
"""


@pytest.mark.parametrize("target", TARGETS)
def test_an_input_that_the_program_updates(target: str) -> None:
    """%w is doubled, and the square is that of its old numbers."""
    program = convc.compile(convc.parse_graph(STEP), target=target)
    w = program.parameters["w"]
    w[...] = [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(program(w), [1, 4, 9, 16, 25])
    np.testing.assert_array_equal(program.parameters["w"], [2, 4, 6, 8, 10])
    wrong(
        "out for 1 lies in w, which the program updates; give an array outside the store",
        lambda: program(np.ones(5, np.float32), out=program.parameters["w"]),
    )
    np.testing.assert_array_equal(program.parameters["w"], [2, 4, 6, 8, 10])


MATRIX = "graph @g(%x: f32[5,5], %w: f32[5,5] parameter) { %0: f32[5,5] = linear(%x, %w) return %0 }"


def into_the_store(program: Program) -> None:
    """w = x w^T, written over w, which each of its elements is read for."""
    x = rng.integers(0, 5, (5, 5)).astype(np.float32)
    w = rng.integers(0, 5, (5, 5)).astype(np.float32)
    program.parameters["w"][...] = w
    version = program.parameters.version
    program(x, out=program.parameters["w"])
    np.testing.assert_array_equal(program.parameters["w"], x @ w.T)
    np.testing.assert_array_equal(program(x), x @ (x @ w.T).T)
    assert program.parameters.version > version


@pytest.mark.parametrize("target", TARGETS)
def test_a_result_written_over_a_parameter(target: str) -> None:
    into_the_store(convc.compile(convc.parse_graph(MATRIX), target=target))


def test_other_kinds_of_arrays() -> None:
    """Read-only, unaligned, of the other byte order, and shared through DLPack."""
    program = convc.compile(convc.parse_graph(CONV))
    wanted = program(X, W, B)
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(program(frozen, W, B), wanted)
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(X.shape)
    unaligned[...] = X
    np.testing.assert_array_equal(program(unaligned, W, B), wanted)
    np.testing.assert_array_equal(program(X.astype(">f4"), W, B), wanted)
    for out in (unaligned, X.astype(">f4"), frozen):
        wrong(
            "out for 1 must be a writable C-contiguous f32 array of shape [4, 3, 9, 9]",
            lambda out=out: program(X, W, B, out=out),
        )

    class Shared:
        """Only DLPack, as another library's array."""

        def __init__(self, array: Array) -> None:
            self.array = array

        def __dlpack__(self, **how: Any) -> Any:
            return self.array.__dlpack__(**how)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    x = X.copy()
    np.testing.assert_array_equal(program(Shared(x), W, B, out=x), wanted)
