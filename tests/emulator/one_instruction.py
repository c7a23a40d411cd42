"""Runs one PTX instruction, or a few, on arrays: an element a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convc.emulator import Buffer, Module
from tests.emulator.ptx_kernel import bytes_of

N = 96
TYPES = {
    **{f"{k}{b}": np.dtype(f"{n}{b}") for k, n in (("u", "uint"), ("s", "int")) for b in (8, 16, 32, 64)},
    **{"f32": np.dtype("float32"), "f64": np.dtype("float64"), "f16": np.dtype("float16"), "pred": np.dtype("uint32")},
}
EDGES = [0, 1, -1, 2, 31, 32, 33, 63, 64, 255, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0x7FFFFFFFFFFFFFFF]
FLOAT_EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-42, 3e38, 65504.0, 1e-7]

Run = Callable[..., Any]


def register(kind: str) -> str:
    return {"pred": "b32", "u8": "b16", "s8": "b16"}.get(kind, f"b{8 * TYPES[kind].itemsize}")


def run(code: str, inputs: list[tuple[str, np.ndarray]], result: str, declared: str = "") -> np.ndarray:
    """Runs code on %a, %b, ..., one element a thread; it leaves its result in %out (a predicate in %pout)."""
    names = [f"%{chr(ord('a') + k)}" for k in range(len(inputs))]
    params = ", ".join(f".param .u64 p{k}" for k in range(len(inputs) + 1))
    lines = ["mov.u32 %i, %tid.x;"]
    for k, ((kind, _), name) in enumerate(zip(inputs, names)):
        lines += [
            f".reg .{register(kind)} {name};",
            f"ld.param.u64 %at, [p{k}];",
            f"mad.wide.u32 %at, %i, {TYPES[kind].itemsize}, %at;",
            f"ld.global.{'u32' if kind == 'pred' else kind.replace('f16', 'b16')} {name}, [%at];",
        ]
    stored = {"pred": "u32"}.get(result, result.replace("f16", "b16"))
    text = f"""
.version 9.0
.target sm_90a
.address_size 64
.visible .entry k({params})
{{
  .reg .u64 %at; .reg .u32 %i; .reg .pred %p<9>; .reg .pred %pout; {declared}
  .reg .{register(result)} %out;
  {chr(10).join(lines)}
  {code}
  {"selp.u32 %out, 1, 0, %pout;" if result == "pred" else ""}
  ld.param.u64 %at, [p{len(inputs)}];
  mad.wide.u32 %at, %i, {TYPES[result].itemsize}, %at;
  st.global.{stored} [%at], %out;
  ret;
}}"""
    out = np.zeros(N, TYPES[result])
    buffers = [Buffer(n, bytes_of(np.ascontiguousarray(a))) for n, (_, a) in zip(names, inputs)]
    found = Module(text)["k"].launch((1, 1, 1), (N, 1, 1), [*buffers, Buffer("out", bytes_of(out))])
    assert not found.reports, found.reports[0]
    return out


def values(kind: str, seed: int) -> np.ndarray:
    """Random numbers and the edges, in an order of its own for each seed."""
    rng = np.random.default_rng(seed)
    dtype = TYPES[kind]
    if dtype.kind == "f":
        with np.errstate(over="ignore", under="ignore"):
            x = (rng.standard_normal(N) * 10.0 ** rng.integers(-3, 4, N)).astype(dtype)
            x[: len(FLOAT_EDGES)] = np.array(FLOAT_EDGES).astype(dtype)
    else:
        x = rng.integers(0, 1 << 63, N, dtype=np.uint64).astype(dtype)
        x[: len(EDGES)] = [edge & ((1 << 8 * dtype.itemsize) - 1) for edge in EDGES] if dtype.kind == "u" else [
            ((edge + (h := 1 << 8 * dtype.itemsize - 1)) & (2 * h - 1)) - h for edge in EDGES
        ]  # fmt: skip
    return rng.permutation(x)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """Equal bit for bit, but for the payload of NaNs."""
    want = np.asarray(want).astype(got.dtype)
    if got.dtype.kind == "f":
        nan = np.isnan(want)
        assert (np.isnan(got) == nan).all(), (got[np.isnan(got) != nan], want[np.isnan(got) != nan])
        got, want = got[~nan], want[~nan]
    wrong = bytes_of(got).reshape(-1, got.itemsize) != bytes_of(np.ascontiguousarray(want)).reshape(-1, got.itemsize)
    assert not wrong.any(), (got[wrong.any(1)][:4], want[wrong.any(1)][:4])


def trunc_div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        q = np.floor_divide(a, b)
        return q + ((q * b != a) & ((a < 0) != (b < 0)))


def per_lane(function: Callable[..., int]) -> Callable[..., np.ndarray]:
    return lambda *xs: np.array([function(*map(int, x)) for x in zip(*xs)], dtype=object)


def wrap(x: np.ndarray, bits: int) -> np.ndarray:
    return np.array([int(v) & ((1 << bits) - 1) for v in x], np.uint64)
