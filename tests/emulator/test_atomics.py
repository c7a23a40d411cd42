"""Atomic operations, and copies that land at the wait."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from convc.emulator import Buffer
from tests.emulator.ptx_kernel import POINTERS, bytes_of, kernel


@pytest.mark.parametrize(
    ("operation", "kind", "reference"),
    [
        ("add", "u32", lambda old, x: old + x.sum()), ("min", "s32", lambda old, x: min(old, x.min())),
        ("max", "u32", lambda old, x: max(old, x.max())), ("xor", "b32", lambda old, x: old ^ np.bitwise_xor.reduce(x)),
        ("or", "b32", lambda old, x: old | np.bitwise_or.reduce(x)), ("add", "f32", lambda old, x: old + x.sum()),
        ("add", "u64", lambda old, x: old + x.sum()), ("and", "b64", lambda old, x: old & np.bitwise_and.reduce(x)),
        ("exch", "b32", lambda old, x: x[-1]), ("inc", "u32", lambda old, x: None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("space", ["global", "shared"])
def test_atomics(operation: str, kind: str, reference: Callable[..., object], space: str) -> None:
    dtype = np.dtype({"b": "uint", "u": "uint", "s": "int", "f": "float"}[kind[0]] + kind[1:])
    x = np.random.default_rng(0).integers(0, 99, 64).astype(dtype)
    y = np.full(2, 40, dtype)
    register = "%d7" if dtype.itemsize == 8 else "%r7"
    back = "%d8" if dtype.itemsize == 8 else "%r8"
    plain = f"b{8 * dtype.itemsize}"
    body = f"""
    .shared .align 8 .b8 s[8]; ld.param.u64 %d1, [x]; ld.param.u64 %d2, [y]; mov.u32 %r0, %tid.x;
    mad.wide.u32 %d1, %r0, {dtype.itemsize}, %d1; ld.global.{plain} {register}, [%d1]; setp.eq.u32 %p1, %r0, 0;
    """
    if space == "shared":
        body += f"@%p1 ld.global.{plain} {back}, [%d2]; @%p1 st.shared.{plain} [s], {back}; bar.sync 0;"
    target = "%d2" if space == "global" else "s"
    body += f"atom.{space}.{operation}.{kind} {back}, [{target}], {register}; red.{space}.add.u32 [{target}], 0;"
    if space == "shared":
        body += f"bar.sync 0; @%p1 ld.shared.{plain} {back}, [s]; @%p1 st.global.{plain} [%d2], {back};"
    result = kernel(POINTERS, body)["k"].launch(
        (1, 1, 1), (64, 1, 1), [Buffer("x", bytes_of(x)), Buffer("y", bytes_of(y))]
    )
    assert not result.reports, result.reports[0]
    want = reference(dtype.type(40), x)
    if want is not None:
        assert y[0] == want
    else:
        old = 40
        for value in x:
            old = 0 if old >= value else old + 1
        assert y[0] == old


def test_compare_and_swap_counts_every_thread() -> None:
    body = """
    ld.param.u64 %d1, [x]; ld.volatile.global.u32 %r1, [%d1+4]; mov.u32 %r1, 0;
    AGAIN: add.u32 %r2, %r1, 1; atom.global.cas.b32 %r3, [%d1], %r1, %r2; setp.ne.u32 %p1, %r3, %r1; mov.u32 %r1, %r3;
    @%p1 bra AGAIN;
    """
    out = np.zeros(2, np.uint32)
    result = kernel(".param .u64 x", body)["k"].launch((3, 1, 1), (70, 1, 1), [Buffer("x", bytes_of(out))])
    assert not result.reports, result.reports[0]
    assert out[0] == 210


@pytest.mark.parametrize("end", ["commit_group; cp.async.wait_group 0", "commit_group; cp.async.wait_all", "wait_all"])
def test_copies_fill_with_zeros_and_land_at_the_wait(end: str) -> None:
    """`ignore-src` and a source size of less than the copy; the source is read at the wait, not before."""
    first, _, last = end.rpartition("; ")
    first = f"{first};" if first else ""
    body = f"""
    .shared .align 16 .b8 s[640]; ld.param.u64 %d1, [x]; ld.param.u64 %d2, [y]; mov.u32 %r0, %tid.x;
    mad.wide.u32 %d1, %r0, 16, %d1; mad.wide.u32 %d2, %r0, 16, %d2; mov.u32 %r1, s; mad.lo.u32 %r1, %r0, 16, %r1;
    and.b32 %r2, %r0, 15; setp.eq.u32 %p1, %r0, 3;
    @!%p1 cp.async.ca.shared.global [%r1], [%d1], 16, %r2;
    @%p1 cp.async.cg.shared.global.L2::128B [%r1], [%d1], 16, %p1;
    {first and "cp.async." + first}
    mov.u32 %r3, 9; st.global.u8 [%d1], %r3;
    {last if last.startswith("cp") else "cp.async." + last};
    ld.shared.v4.u32 {{%r4, %r5, %r6, %r7}}, [%r1]; st.global.v4.u32 [%d2], {{%r4, %r5, %r6, %r7}};
    """
    x = np.random.default_rng(0).integers(0, 256, 640, np.uint8)
    want = x.reshape(40, 16).copy()
    want[:, 0] = 9
    for t in range(40):
        want[t, 0 if t == 3 else t % 16 :] = 0
    y = np.zeros_like(x)
    result = kernel(POINTERS, body)["k"].launch((1, 1, 1), (40, 1, 1), [Buffer("x", x), Buffer("y", y)])
    assert not result.reports, result.reports[0]
    assert (y.reshape(40, 16) == want).all()
