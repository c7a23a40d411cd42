"""Structs, arrays and numbers as arguments; what is refused: arguments, calls, PTX that is not known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convc.emulator import Buffer, Module, Struct
from convc.errors import EmulatorError
from tests.emulator.ptx_kernel import HEADER, bytes_of

Ptx = Callable[..., str]
STRUCT = """struct Operands { const float* x; float* y; int n; float scale; };
extern "C" __global__ void scale(Operands o, double shift, short factor, signed char less) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < o.n) o.y[i] = o.scale * o.x[i] + (float)shift * factor - less;
}"""


def test_structs_and_numbers_by_value(ptx: Ptx) -> None:
    x, y = np.arange(40, dtype=np.float32), np.zeros(40, np.float32)
    fields = [(0, Buffer("x", bytes_of(x), False)), (8, Buffer("y", bytes_of(y))), (16, 37), (20, 0.5)]
    scale = Module(ptx(STRUCT))["scale"]
    assert [(p.type, p.size, p.offset, p.is_struct) for p in scale.parameters] == [
        ("b8", 24, 0, True), ("f64", 8, 24, False), ("u16", 2, 32, False), ("u8", 1, 34, False)
    ]  # fmt: skip
    result = scale.launch((2, 1, 1), (32, 1, 1), [Struct(fields), 1.5, 3, -2])
    assert not result.reports
    assert (y == np.where(np.arange(40) < 37, 0.5 * x + 6.5, 0)).all()
    fields[2] = (16, 41)
    (load, store) = scale.launch((2, 1, 1), (32, 1, 1), [Struct(fields), 1.5, 3, -2]).reports
    assert (load.buffer, load.offset, load.size, load.access.block, load.access.thread) == (
        "x",
        160,
        4,
        (1, 0, 0),
        (8, 0, 0),
    )
    assert (store.buffer, store.offset) == ("y", 160)


@pytest.mark.parametrize("arch", ["sm_80", "sm_100a"])
def test_arrays_that_are_indexed_at_run_time(ptx: Ptx, arch: str) -> None:
    """In the parameters, and in local memory."""
    module = Module(ptx((Path(__file__).parent / "kernels" / "memory.cu").read_text(), arch))
    inputs = [np.arange(9, dtype=np.float32) + k for k in range(4)]
    lengths, out = [3, 9, 0, 5], np.zeros(64, np.float32)
    fields = [(8 * k, Buffer(f"in{k}", bytes_of(x), False)) for k, x in enumerate(inputs)]
    numbers = [(40 + 4 * k, n) for k, n in enumerate([*lengths, 4])]
    pack = Struct([*fields, (32, Buffer("out", bytes_of(out))), *numbers])
    assert not module["gather"].launch((2, 1, 1), (32, 1, 1), [pack, 2.0]).reports
    assert (out == [2 * inputs[t % 4][: lengths[t % 4]].sum() for t in range(64)]).all()

    x, out = np.arange(16, dtype=np.float32) + 1, np.zeros((40, 16), np.float32)
    arguments = [Buffer("out", bytes_of(out)), Buffer("in", bytes_of(x), False), 37]
    assert not module["local"].launch((1, 1, 1), (40, 1, 1), arguments).reports
    for i in range(37):
        j, k = i * 5 & 15, i * 5 + 3 & 15
        x[j], x[k] = x[k], x[j]
    assert (out == np.arange(40, dtype=np.float32)[:, None] * x).all()


def test_calls_are_errors_that_name_the_function(ptx: Ptx) -> None:
    source = """__device__ __noinline__ float slow(float x) { return x * x; }
    extern "C" __global__ void calls(float* x) { x[0] = slow(x[1]); }"""
    with pytest.raises(EmulatorError, match=r"functions are all inlined, and _Z4slowf is not: mark it __forceinline__"):
        Module(ptx(source))["calls"]
    with pytest.raises(
        EmulatorError, match=r"kernel prints calls vprintf: .*leave the call \(printf, assert\) out.*PTX line"
    ):
        Module(ptx('extern "C" __global__ void prints() { printf("%d", threadIdx.x); }'))["prints"]


def test_wrong_arguments_are_errors_with_the_numbers(ptx: Ptx) -> None:
    scale = Module(ptx(STRUCT))["scale"]
    x = Buffer("x", np.zeros(8, np.uint8))
    good = [Struct([(0, x), (8, x)]), 1.0, 1, 1]

    def fails(match: str, arguments: list[object], **geometry: object) -> None:
        shape = {"grid": (1, 1, 1), "block": (1, 1, 1), **geometry}
        with pytest.raises(EmulatorError, match=match):
            scale.launch(arguments=arguments, **shape)

    fails(r"kernel scale takes 4 arguments, got 3", good[:3])
    fails(r"argument 0 of kernel scale is a struct of 24 bytes: give a Struct, got Buffer", [x, *good[1:]])
    fails(r"argument 1 of kernel scale is \.f64, got Buffer", [good[0], x, *good[2:]])
    fails(r"argument 2 of kernel scale is \.u16, got float", [*good[:2], 1.5, 1])
    fails(r"argument 3 of kernel scale is a number of 8 bits, got 300", [*good[:3], 300])
    fails(
        r"lie within its 24 bytes: argument 0 of kernel scale has one at byte 20 of 8", [Struct([(20, x)]), *good[1:]]
    )
    fails(r"at most 1024 threads a block, got 2048", good, block=(2048, 1, 1))
    fails(r"a grid is three numbers from 1 up, got \(0, 1, 1\)", good, grid=(0, 1, 1))
    fails(r"at most 232448 bytes of shared memory, kernel scale asks for 1000000", good, shared_bytes=1_000_000)
    with pytest.raises(EmulatorError, match=r"the module has no kernel 'scala': it has scale"):
        Module(ptx(STRUCT))["scala"]
    with pytest.raises(EmulatorError, match=r"contiguous vector of uint8: array of x is float32 \[3\]"):
        Buffer("x", np.zeros(3, np.float32))
    constant = np.zeros(3, np.uint8)
    constant.flags.writeable = False
    with pytest.raises(EmulatorError, match="cannot be written: give writable=False"):
        Buffer("x", constant)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (".func f() { ret; }", r"functions are all inlined, and f is not: mark it __forceinline__ \(PTX line 4\)"),
        (".visible .entry k(.param .surfref s) { ret; }", r"does not know the parameter `.param .surfref s`"),
        (".visible .entry k() { mov.u32 %r1, 5; }", r"no register, variable or number is called %r1"),
        (".visible .entry k() { bra NOWHERE; }", r"no label is called NOWHERE in `bra NOWHERE`"),
        (".visible .entry k() { .reg .b64 %d; .reg .b32 %r; mov.u32 %r, %d; }", r"reads 32 bits from %d, which has 64"),
        (".visible .entry k() { ret", "PTX text ends within a statement: `ret`"),
    ],
)
def test_ptx_that_is_not_known_is_an_error_that_names_it(text: str, match: str) -> None:
    with pytest.raises(EmulatorError, match=match):
        list(Module(HEADER + text))
