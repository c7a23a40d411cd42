"""Memory of every space and width, module variables, bytes side by side."""

from __future__ import annotations

import numpy as np
import pytest

from convc.emulator import Buffer, Result
from tests.emulator.ptx_kernel import ADDRESSES, POINTERS, bytes_of, kernel


def copied(body: str, threads: int = 40) -> tuple[np.ndarray, np.ndarray, Result]:
    x = np.random.default_rng(0).integers(0, 256, 16 * threads, np.uint8)
    y = np.zeros_like(x)
    result = kernel(POINTERS, ADDRESSES + body)["k"].launch(
        (1, 1, 1), (threads, 1, 1), [Buffer("x", x), Buffer("y", y)]
    )
    assert not result.reports, result.reports[0]
    return x, y, result


REGISTERS = [
    ("u8", "%h"), ("b16", "%h"), ("u32", "%r"), ("f32", "%f"), ("u64", "%d"), ("b8", "%r"), ("u16", "%r"), ("u32", "%d")
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "registers", "n"),
    [(kind, registers, n) for kind, registers in REGISTERS for n in (1, 2, 4) if (kind, n) != ("u64", 4)],
)
def test_loads_and_stores_of_every_width(kind: str, registers: str, n: int) -> None:
    """A register may be wider than what it holds; 16 bytes are the most at once."""
    size = int(kind[1:]) // 8
    names = ", ".join(f"{registers}{k + 4}" for k in range(n))
    vector, names = (f".v{n}", f"{{{names}}}") if n > 1 else ("", names)
    x, y, _ = copied(f"ld.global.nc{vector}.{kind} {names}, [%d1]; st.global{vector}.{kind} [%d2], {names};")
    want = x.reshape(-1, 16).copy()
    want[:, size * n :] = 0
    assert (y.reshape(-1, 16) == want).all()


def test_loads_extend_to_the_register() -> None:
    x, y, _ = copied(
        "ld.global.s8 %r1, [%d1]; ld.global.s16 %d3, [%d1+2]; ld.volatile.global.u8 %r2, [%d1+1];"
        "st.global.u32 [%d2], %r1; st.global.u64 [%d2+8], %d3; st.global.u32 [%d2+4], %r2;"
    )
    x, y = x.reshape(-1, 16), y.reshape(-1, 16)
    assert (y[:, :4].copy().view(np.int32)[:, 0] == x[:, 0].view(np.int8)).all()
    assert (y[:, 8:].copy().view(np.int64)[:, 0] == x[:, 2:4].copy().view(np.int16)[:, 0]).all()
    assert (y[:, 4:8].copy().view(np.uint32)[:, 0] == x[:, 1]).all()


def test_generic_addresses_lead_to_global_shared_and_local_memory() -> None:
    body = (
        ADDRESSES
        + """
    .shared .align 16 .b8 s[640]; .local .align 8 .b8 depot[16];
    mov.u64 %d3, s; cvta.shared.u64 %d3, %d3; mad.wide.u32 %d3, %r0, 16, %d3;
    mov.u64 %d4, depot; cvta.local.u64 %d4, %d4;
    ld.v2.u64 {%d5, %d6}, [%d1]; st.u64 [%d3], %d5; st.u64 [%d4+8], %d6;
    ld.u64 %d5, [%d3]; ld.u64 %d6, [%d4+8]; st.v2.u64 [%d2], {%d5, %d6};
    isspacep.shared %p1, %d3; isspacep.local %p2, %d4; isspacep.global %p3, %d1; isspacep.shared %p4, %d1;
    and.pred %p1, %p1, %p2; and.pred %p1, %p1, %p3; @!%p1 trap; @%p4 trap;
    cvta.to.shared.u64 %d3, %d3; cvt.u32.u64 %r1, %d3; ld.shared.u32 %r2, [%r1]; @%p4 st.global.u32 [%d2], %r2;
    """
    )
    x, y = np.random.default_rng(0).integers(0, 256, 640, np.uint8), np.zeros(640, np.uint8)
    result = kernel(POINTERS, body)["k"].launch((1, 1, 1), (40, 1, 1), [Buffer("x", x), Buffer("y", y)])
    assert not result.reports, result.reports[0]
    assert (x == y).all()


def test_dynamic_shared_memory_lies_behind_the_static() -> None:
    before = ".extern .shared .align 16 .b8 dynamic[];\n.shared .align 4 .b8 fixed[12];\n"
    body = """
    ld.param.u64 %d1, [x]; mov.u32 %r1, 7; st.shared.u32 [fixed+8], %r1; mov.u32 %r1, dynamic;
    st.shared.u32 [%r1+60], %r1;
    mov.u32 %r2, %dynamic_smem_size; st.global.v2.u32 [%d1], {%r1, %r2};
    """
    module, out = kernel(".param .u64 x", body, before), np.zeros(2, np.uint32)
    result = module["k"].launch((1, 1, 1), (1, 1, 1), [Buffer("x", bytes_of(out))], shared_bytes=64)
    assert not result.reports
    assert out.tolist() == [16, 64]
    assert module["k"].shared_bytes == 16
    (report,) = module["k"].launch((1, 1, 1), (1, 1, 1), [Buffer("x", bytes_of(out))], shared_bytes=63).reports
    assert (report.kind, report.offset, report.buffer) == ("out-of-bounds", 76, "shared")


def test_shared_memory_starts_as_nan() -> None:
    body = ".shared .align 4 .b8 s[4]; ld.param.u64 %d1, [x]; ld.shared.u32 %r1, [s]; st.global.u32 [%d1], %r1;"
    module, out = kernel(".param .u64 x", body), np.zeros(1, np.float32)
    result = module["k"].launch((1, 1, 1), (1, 1, 1), [Buffer("x", bytes_of(out))], check=False)
    assert not result.reports
    assert np.isnan(out[0])


def test_module_variables_keep_what_kernels_write() -> None:
    before = ".global .align 4 .u32 count = 5;\n.const .align 4 .b8 table[8] = {1, 2, 3, 0, 4};\n"
    body = """
    ld.param.u64 %d1, [x]; ld.global.u32 %r1, [count]; add.u32 %r1, %r1, 1; st.global.u32 [count], %r1;
    ld.const.u32 %r2, [table]; ld.const.u8 %h1, [table+4]; cvt.u32.u16 %r3, %h1;
    st.global.u32 [%d1], %r1; st.global.u32 [%d1+4], %r2; st.global.u32 [%d1+8], %r3;
    """
    module, out = kernel(".param .u64 x", body, before), np.zeros(3, np.uint32)
    for want in (6, 7):
        result = module["k"].launch((1, 1, 1), (1, 1, 1), [Buffer("x", bytes_of(out))])
        assert not result.reports
        assert out.tolist() == [want, 0x030201, 4]


def test_bytes_side_by_side_do_not_race() -> None:
    """Threads that store neighbouring bytes of one word, then read it whole after a barrier."""
    body = """
    .shared .align 4 .b8 s[64];
    ld.param.u64 %d1, [x]; mov.u32 %r0, %tid.x; mov.u32 %r1, s; add.u32 %r2, %r1, %r0; st.shared.u8 [%r2], %r0;
    bar.sync 0;
    shl.b32 %r3, %r0, 2; setp.lt.u32 %p1, %r0, 16; add.u32 %r2, %r1, %r3;
    @%p1 ld.shared.u32 %r4, [%r2]; mad.wide.u32 %d1, %r0, 4, %d1; @%p1 st.global.u32 [%d1], %r4;
    """
    out = np.zeros(64, np.uint8)
    result = kernel(".param .u64 x", body)["k"].launch((1, 1, 1), (64, 1, 1), [Buffer("x", out)])
    assert not result.reports, result.reports[0]
    assert (out == np.arange(64)).all()
    result = kernel(".param .u64 x", body.replace("bar.sync 0;", ""))["k"].launch(
        (1, 1, 1), (64, 1, 1), [Buffer("x", out)]
    )
    assert {r.kind for r in result.reports} <= {"race-read-write", "uninitialised-shared", "race-write-read"}
    assert result.reports
