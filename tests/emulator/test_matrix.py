"""ldmatrix and mma against the fragments that PTX's documents draw."""

from __future__ import annotations

import numpy as np
import pytest

from convc.emulator import Buffer, Module

LANE = np.arange(32)
GROUP, THREAD = LANE // 4, LANE % 4


def launch(declared: str, body: str, *arrays: np.ndarray, threads: int = 32) -> tuple[str, ...]:
    """Runs body with %at + 8 k the address of array k; the kinds that were reported."""
    params = ", ".join(f".param .u64 p{k}" for k in range(len(arrays)))
    loads = "".join(f"ld.param.u64 %at{k}, [p{k}];\n" for k in range(len(arrays)))
    text = f"""
.version 9.0
.target sm_90a
.address_size 64
.visible .entry k({params})
{{
  .reg .b64 %at<9>; .reg .b32 %t; .reg .b32 %x<40>; .reg .pred %p;
  {declared}
  {loads}
  mov.u32 %t, %tid.x;
  {body}
  ret;
}}"""
    buffers = [Buffer(f"a{k}", a.reshape(-1).view(np.uint8)) for k, a in enumerate(arrays)]
    return tuple(r.kind for r in Module(text)["k"].launch((1, 1, 1), (threads, 1, 1), buffers).reports)


def vector(names: list[str]) -> str:
    return "{" + ", ".join(names) + "}"


def bfloat(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


SHAPES = [
    ("m16n8k16", "f16", "f32"), ("m16n8k16", "bf16", "f32"), ("m16n8k16", "f16", "f16"), ("m16n8k8", "f16", "f32"),
    ("m16n8k8", "bf16", "f32"), ("m16n8k8", "f16", "f16"), ("m16n8k8", "tf32", "f32"), ("m16n8k4", "tf32", "f32"),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "kind", "result"), SHAPES, ids=[".".join(s) for s in SHAPES])
def test_products(shape: str, kind: str, result: str) -> None:
    """Of small whole numbers: exact, whatever the order of the sum."""
    depth = int(shape.rpartition("k")[2])
    rng = np.random.default_rng(depth)
    a, b, c = (rng.integers(-8, 9, size).astype(np.float64) for size in ((16, depth), (depth, 8), (16, 8)))
    narrow = {"f16": lambda x: x.astype(np.float16).view(np.uint16), "bf16": bfloat}.get(kind)

    def pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        assert narrow
        return narrow(first).astype(np.uint32) | narrow(second).astype(np.uint32) << 16

    rows = GROUP[:, None] + 8 * np.arange(2)
    if kind == "tf32":
        steps = range(0, depth, 4)
        left = [a[rows[:, r], THREAD + k].astype(np.float32).view(np.uint32) for k in steps for r in range(2)]
        right = [b[THREAD + k, GROUP].astype(np.float32).view(np.uint32) for k in steps]
    else:
        steps = range(0, depth, 8)
        at = 2 * THREAD
        left = [pairs(a[rows[:, r], at + k], a[rows[:, r], at + k + 1]) for k in steps for r in range(2)]
        right = [pairs(b[at + k, GROUP], b[at + k + 1, GROUP]) for k in steps]
    columns = 2 * THREAD
    parts = [c[rows[:, r], columns + j] for r in range(2) for j in range(2)]
    if result == "f16":
        added = [
            parts[r].astype(np.float16).view(np.uint16).astype(np.uint32)
            | parts[r + 1].astype(np.float16).view(np.uint16).astype(np.uint32) << 16
            for r in (0, 2)
        ]
    else:
        added = [part.astype(np.float32).view(np.uint32) for part in parts]
    given = np.ascontiguousarray(np.stack([*left, *right, *added], axis=1).astype(np.uint32))
    n = given.shape[1]
    names = [f"%x{k}" for k in range(n)]
    split = len(left), len(left) + len(right)
    code = f"mad.wide.u32 %at0, %t, {4 * n}, %at0; mad.wide.u32 %at1, %t, 16, %at1;\n"
    code += "".join(f"ld.global.u32 {name}, [%at0+{4 * k}];\n" for k, name in enumerate(names))
    results = [f"%x{30 + k}" for k in range(len(added))]
    code += (
        f"mma.sync.aligned.{shape}.row.col.{result}.{kind}.{kind}.{result} {vector(results)}, "
        f"{vector(names[: split[0]])}, {vector(names[split[0] : split[1]])}, {vector(names[split[1] :])};\n"
    )
    code += "".join(f"st.global.u32 [%at1+{4 * k}], {name};\n" for k, name in enumerate(results))
    out = np.zeros((32, 4), np.uint32)
    assert not launch("", code, given, out)
    want = a @ b + c
    for k in range(4):
        expected = want[rows[:, k // 2], columns + k % 2]
        if result == "f16":
            got = (out[:, k // 2] >> 16 * (k % 2)).astype(np.uint16).view(np.float16)
        else:
            got = np.ascontiguousarray(out[:, k]).view(np.float32)
        assert (got == expected).all()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_matrices_from_shared_memory(n: int, transposed: bool) -> None:
    """Rows lie wherever the lanes say: lane 8 j + r gives row r of matrix j."""
    matrices = np.random.default_rng(n).integers(0, 1 << 16, (4, 8, 8), np.uint16)
    out = np.zeros((32, 4), np.uint32)
    names = [f"%x{k}" for k in range(n)]
    code = f"""
    mad.wide.u32 %at0, %t, 16, %at0; mad.wide.u32 %at1, %t, 16, %at1;
    ld.global.v4.u32 {{%x20, %x21, %x22, %x23}}, [%at0];
    mov.u32 %x24, s; xor.b32 %x25, %t, 13; mad.lo.u32 %x24, %x25, 16, %x24;
    st.shared.v4.u32 [%x24], {{%x20, %x21, %x22, %x23}};
    bar.warp.sync -1;
    ldmatrix.sync.aligned.m8n8.x{n}{".trans" if transposed else ""}.shared.b16 {vector(names)}, [%x24];
    """
    code += "".join(f"st.global.u32 [%at1+{4 * k}], {name};\n" for k, name in enumerate(names))
    assert not launch(".shared .align 16 .b8 s[512];", code, matrices, out)
    for k in range(n):
        matrix = matrices[k].T if transposed else matrices[k]
        want = matrix[GROUP, 2 * THREAD].astype(np.uint32) | matrix[GROUP, 2 * THREAD + 1].astype(np.uint32) << 16
        assert (out[:, k] == want).all()


def test_products_need_the_whole_warp() -> None:
    """mma by half of a warp is reported: the others are done, or were never there."""
    code = "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%x0, %x1, %x2, %x3}, {%x4, %x5}, {%x6}, "
    code += "{%x7, %x8, %x9, %x9};"
    assert not launch("", code)
    assert launch("", f"setp.lt.u32 %p, %t, 16; @!%p bra END; {code} END:") == ("warp-sync",)
    assert launch("", code, threads=48) == ("warp-sync",)


def test_unread_rows_and_missing_barriers_show() -> None:
    """ldmatrix before anybody wrote, and with no barrier after the writes of other lanes."""
    code = """
    mov.u32 %x24, s; mad.lo.u32 %x25, %t, 16, %x24; {} xor.b32 %x26, %t, 1; mad.lo.u32 %x26, %x26, 16, %x24;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%x0, %x1, %x2, %x3}}, [%x26];
    """
    shared = ".shared .align 16 .b8 s[512];"
    assert launch(shared, code.format("")) == ("uninitialised-shared",)
    stored = "st.shared.v4.u32 [%x25], {%t, %t, %t, %t};"
    assert launch(shared, code.format(stored)) == ("race-read-write",)
    assert not launch(shared, code.format(stored + "bar.warp.sync 0xffffffff;"))
    assert launch(".shared .align 16 .b8 s[512];", code.format("add.u32 %x24, %x24, 8;")) == ("misaligned",)
