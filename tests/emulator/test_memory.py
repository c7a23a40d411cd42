"""Memory of every space and width, arguments, aliases, module variables, counters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convc.emulator import Buffer, Module, Result, Struct
from convc.errors import EmulatorError

Ptx = Callable[..., str]
HEADER = ".version 9.0\n.target sm_90a\n.address_size 64\n"


def bytes_of(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def kernel(parameters: str, body: str, before: str = "") -> Module:
    registers = ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<9>;"
    return Module(f"{HEADER}{before}.visible .entry k({parameters})\n{{\n{registers}\n{body}\nret;\n}}\n")


POINTERS = ".param .u64 x, .param .u64 y"
ADDRESSES = """
ld.param.u64 %d1, [x]; ld.param.u64 %d2, [y]; mov.u32 %r0, %tid.x;
mad.wide.u32 %d1, %r0, 16, %d1; mad.wide.u32 %d2, %r0, 16, %d2;
"""


def copied(body: str, threads: int = 40) -> tuple[np.ndarray, np.ndarray, Result]:
    x = np.random.default_rng(0).integers(0, 256, 16 * threads, np.uint8)
    y = np.zeros_like(x)
    result = kernel(POINTERS, ADDRESSES + body)["k"].launch(
        (1, 1, 1), (threads, 1, 1), [Buffer("x", x), Buffer("y", y)]
    )
    assert not result.reports, result.reports[0]
    return x, y, result


@pytest.mark.parametrize(
    ("kind", "registers"),
    [
        ("u8", "%h"),
        ("b16", "%h"),
        ("u32", "%r"),
        ("f32", "%f"),
        ("u64", "%d"),
        ("b8", "%r"),
        ("u16", "%r"),
        ("u32", "%d"),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 4])
def test_loads_and_stores_of_every_width(kind: str, registers: str, n: int) -> None:
    """A register may be wider than what it holds."""
    size = int(kind[1:]) // 8
    if size * n > 16:
        return
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


ALIAS = """extern "C" __global__ void shift(const float* __restrict__ x, float* __restrict__ y, int by) {
  y[threadIdx.x] = x[(int)threadIdx.x + by] + 1;
}"""


def test_races_through_aliases_are_found(ptx: Ptx) -> None:
    """Two buffers in one arena: in place is right, shifted by one it is a race, whatever the arguments are called."""
    arena = np.zeros(1024, np.uint8)
    shift = Module(ptx(ALIAS))["shift"]
    x, y = Buffer("x", arena[64:768], writable=False), Buffer("y", arena[64:320])
    assert not shift.launch((1, 1, 1), (64, 1, 1), [x, y, 0]).reports
    (report,) = shift.launch((1, 1, 1), (64, 1, 1), [x, y, 1]).reports
    assert report.kind in ("race-read-write", "race-write-read")
    assert not shift.launch((1, 1, 1), (64, 1, 1), [x, y, 64]).reports
    beside = Buffer("y", arena[65 * 4 + 64 : 130 * 4 + 64])
    assert not shift.launch((1, 1, 1), (64, 1, 1), [x, beside, 0]).reports
    (report,) = shift.launch((1, 1, 1), (64, 1, 1), [x, beside, 2]).reports
    assert report.buffer in ("x", "y")


def test_a_buffer_hides_nothing_of_its_arena(ptx: Ptx) -> None:
    arena = np.zeros(1024, np.uint8)
    shift = Module(ptx(ALIAS))["shift"]
    inner = Buffer("x", arena[256:512], writable=False)
    for by, offset in ((1, 256), (-1, -4)):
        (report,) = shift.launch((1, 1, 1), (64, 1, 1), [inner, Buffer("y", arena[512:768]), by]).reports
        assert (report.kind, report.buffer, report.offset, report.count) == ("out-of-bounds", "x", offset, 1)
    nan = arena[512:516].view(np.uint32)[0]
    assert nan == 0x7FFFFFFF or nan == 0xFFFFFFFF  # what was read out of bounds shows in the result


def test_written_bytes_become_initialised(ptx: Ptx) -> None:
    arena, written = np.zeros(512, np.uint8), np.zeros(512, np.uint8)
    written[:256] = 1
    shift = Module(ptx(ALIAS))["shift"]

    def part(name: str, start: int) -> Buffer:
        return Buffer(name, arena[start : start + 256], True, written[start : start + 256])

    (report,) = shift.launch((1, 1, 1), (64, 1, 1), [part("x", 256), part("y", 0), 0]).reports
    assert (report.kind, report.buffer, report.count) == ("uninitialised-global", "x", 64)
    assert not shift.launch((1, 1, 1), (64, 1, 1), [part("x", 0), part("y", 256), 0]).reports
    assert written.all()
    assert not shift.launch((1, 1, 1), (64, 1, 1), [part("x", 256), part("y", 0), 0]).reports


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


@pytest.mark.parametrize(
    ("stride", "size", "sectors"),
    [(4, 4, 4), (8, 4, 8), (32, 4, 32), (0, 4, 1), (16, 16, 16), (64, 4, 32), (8, 8, 8)],
)
def test_sectors_of_global_loads(stride: int, size: int, sectors: int) -> None:
    vector = {4: "u32 %r1", 8: "u64 %d3", 16: "v2.u64 {%d3, %d4}"}[size]
    body = (
        f"ld.param.u64 %d1, [x]; mov.u32 %r0, %tid.x; mad.wide.u32 %d1, %r0, {stride}, %d1; ld.global.{vector}, [%d1];"
    )
    module = kernel(".param .u64 x", body)
    (counter,) = module["k"].launch((2, 1, 1), (64, 1, 1), [Buffer("x", np.zeros(4096, np.uint8))]).counters
    assert (counter.space, counter.requests, counter.lanes, counter.moved) == ("global", 4, 128, 4 * sectors)
    assert counter.ideal == 4 * min(sectors, size)


@pytest.mark.parametrize(
    ("stride", "size", "passes", "ideal"),
    [(4, 4, 1, 1), (8, 4, 2, 1), (128, 4, 32, 1), (0, 4, 1, 1), (132, 4, 1, 1), (8, 8, 2, 2),
     (16, 16, 4, 4), (32, 16, 8, 4),
     (16, 8, 4, 2), (2, 2, 1, 1)],
)  # fmt: skip
def test_bank_conflicts_of_shared_loads(stride: int, size: int, passes: int, ideal: int) -> None:
    vector = {2: "u16 %h1", 4: "u32 %r1", 8: "u64 %d3", 16: "v4.u32 {%r1, %r2, %r3, %r4}"}[size]
    body = f"""
    .shared .align 16 .b8 s[5120]; mov.u32 %r0, %tid.x; mov.u32 %r1, s; mad.lo.u32 %r1, %r0, {stride}, %r1;
    ld.shared.{vector}, [%r1];
    """
    (counter,) = kernel("", body)["k"].launch((1, 1, 1), (32, 1, 1), []).counters
    assert (counter.space, counter.requests, counter.moved, counter.ideal) == ("shared", 1, passes, ideal)
