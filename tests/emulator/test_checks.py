"""Every check: a kernel with the mistake is reported at its line, the corrected kernel is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from convc.emulator import Buffer, Module, Result

Ptx = Callable[..., str]

PRELUDE = """
__device__ __forceinline__ void copy4(void* to, const void* from) {
  unsigned s = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(s), "l"(from) : "memory");
}
#define commit() asm volatile("cp.async.commit_group;" ::: "memory")
#define wait(n) asm volatile("cp.async.wait_group %0;" :: "n"(n) : "memory")
"""


@dataclass(frozen=True)
class Case:
    """`body` of a kernel (float* x, float* y, int n); `good` in it is replaced by `bad`. The reported access stands
    in the line marked HERE, the other one, if any, in the line marked THERE."""

    kind: str
    body: str
    good: str
    bad: str
    grid: int = 1
    block: int = 64
    name: str = ""
    buffer: str | None = None
    uninitialised: bool = field(default=False)


CASES = [
    Case("race-read-write", """
        __shared__ float s[64];
        s[threadIdx.x] = x[threadIdx.x]; // THERE
        __syncthreads();
        y[threadIdx.x] = s[threadIdx.x % 32]; // HERE""", "__syncthreads();", ";", buffer="shared"),
    Case("race-write-read", """
        __shared__ float s[64];
        s[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        float v = s[threadIdx.x | 32]; // THERE
        __syncthreads(); // second
        s[threadIdx.x] = 2 * v; // HERE
        __syncthreads();
        y[threadIdx.x] = s[0];""", "__syncthreads(); // second", ";", buffer="shared"),
    Case("race-write-write", """
        __shared__ float s[64];
        s[threadIdx.x] = x[threadIdx.x]; // THERE
        __syncthreads();
        if (threadIdx.x == 40) s[3] = 1; // HERE
        __syncthreads();
        y[threadIdx.x] = s[threadIdx.x];""", "__syncthreads();\n        if", ";\n        if", buffer="shared"),
    Case("race-write-write", """
        __shared__ float s[64];
        s[threadIdx.x] = x[threadIdx.x]; // HERE THERE
        __syncthreads();
        y[threadIdx.x] = s[threadIdx.x / 2];""", "s[threadIdx.x] = x", "s[threadIdx.x / 2] = x", name="lanes"),
    Case("race-read-write", """
        __shared__ float s[32];
        s[threadIdx.x] = x[threadIdx.x]; // THERE
        __syncwarp();
        y[threadIdx.x] = s[threadIdx.x ^ 1]; // HERE""", "__syncwarp();", ";", block=32, name="warp"),
    Case("race-read-write", """
        y[threadIdx.x] = x[threadIdx.x]; // THERE
        __syncthreads();
        float v = y[threadIdx.x % 32]; // HERE
        x[threadIdx.x] = v;""", "__syncthreads();", ";", buffer="y", name="global"),
    Case("uninitialised-shared", """
        __shared__ float s[64];
        if (threadIdx.x < 64) s[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        y[threadIdx.x] = s[threadIdx.x]; // HERE""", "threadIdx.x < 64", "threadIdx.x < 63", buffer="shared"),
    Case("out-of-bounds", "y[threadIdx.x] = x[threadIdx.x + 960]; // HERE", "+ 960", "+ 961", buffer="x"),
    Case("out-of-bounds", "if (threadIdx.x < n) y[threadIdx.x + 1000] = x[0]; // HERE", "threadIdx.x < n",
         "threadIdx.x <= n", buffer="y", name="store"),
    Case("out-of-bounds", """
        __shared__ float s[64];
        s[threadIdx.x] = x[threadIdx.x]; // HERE
        __syncthreads();
        y[threadIdx.x] = s[5];""", "s[threadIdx.x] =", "s[threadIdx.x + 1] =", buffer="shared", name="shared"),
    Case("read-only", "y[threadIdx.x] = x[threadIdx.x]; // HERE", "y[threadIdx.x] = x[", "x[threadIdx.x] = y[",
         buffer="x"),
    Case("misaligned", "*(float2*)(y + 2 * threadIdx.x) = *(const float2*)(x + 2 * threadIdx.x); // HERE",
         "(x + 2 * threadIdx.x)", "(x + 1 + 2 * threadIdx.x)", buffer="x"),
    Case("misaligned", """
        __shared__ __align__(16) float s[132];
        s[threadIdx.x] = x[threadIdx.x];
        s[threadIdx.x + 64] = 0;
        __syncthreads();
        float4 v = *(float4*)(s + 4 * (threadIdx.x % 16)); // HERE
        y[threadIdx.x] = v.x + v.w;""", "(s + 4 *", "(s + 1 + 4 *", buffer="shared", name="shared"),
    Case("barrier-missing", """
        if (threadIdx.x >= 64) return;
        __syncthreads(); // HERE
        y[threadIdx.x] = x[threadIdx.x];""", ">= 64", ">= 50"),
    Case("barrier-divergent", """
        if (n > 0) {
          y[threadIdx.x] = 1;
          __syncthreads(); // THERE
          y[threadIdx.x] = 3;
        } else {
          x[threadIdx.x] = 2;
          __syncthreads(); // HERE
        }""", "n > 0", "threadIdx.x < 32"),
    Case("deadlock", """
        if (threadIdx.x < 32) asm volatile("bar.sync 1, 32;" ::: "memory"); // HERE
        y[threadIdx.x] = x[threadIdx.x];""", "1, 32;", "1, 64;", block=96),
    Case("copy-read", """
        __shared__ float s[64];
        copy4(s + threadIdx.x, x + threadIdx.x); // THERE
        commit();
        wait(0);
        __syncthreads();
        y[threadIdx.x] = s[threadIdx.x]; // HERE
        wait(0);""", "wait(0)", "wait(1)", buffer="shared"),
    Case("copy-overwritten", """
        __shared__ float s[64];
        copy4(s + threadIdx.x, x + threadIdx.x); // THERE
        commit();
        wait(0);
        s[threadIdx.x] = 1; // HERE
        wait(0);
        __syncthreads();
        y[threadIdx.x] = s[threadIdx.x ^ 1];""", "wait(0);\n        s[", ";\n        s[", buffer="shared"),
    Case("copy-never-waited", """
        __shared__ float s[64];
        copy4(s + threadIdx.x, x + threadIdx.x); // HERE
        commit();
        wait(0);
        y[threadIdx.x] = 1;""", "wait(0);", ";", buffer="shared"),
    Case("blocks-write-write", "y[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x]; // HERE THERE", "blockIdx.x * 64",
         "blockIdx.x * 63", grid=4, buffer="y"),
    Case("blocks-read-write", """
        y[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x]; // THERE
        float v = y[blockIdx.x * 64 + threadIdx.x]; // HERE
        x[512 + blockIdx.x * 64 + threadIdx.x] = v + 1;""", "float v = y[blockIdx.x * 64 +",
         "float v = ((volatile float*)y)[blockIdx.x / 2 * 64 +", grid=4, buffer="y"),
    Case("blocks-write-read", """
        float v = x[blockIdx.x * 64 + threadIdx.x]; // THERE
        x[blockIdx.x * 64 + threadIdx.x] = v; // HERE""", "float v = x[blockIdx.x * 64 + threadIdx.x]",
         "float v = x[(blockIdx.x < 3 ? blockIdx.x + 1 : 3) * 64 + threadIdx.x]", grid=4, buffer="x"),
    Case("uninitialised-global", "y[threadIdx.x] = x[threadIdx.x + 900]; // HERE", "+ 900", "+ 901", buffer="x",
         uninitialised=True),
    Case("race-write-write", """
        atomicAdd(y, 1.0f); // THERE
        if (threadIdx.x == 7) y[1] = 3; // HERE""", "y[1] = 3", "y[0] = 3", buffer="y", name="atomic"),
    Case("race-read-write", """
        atomicAdd(y, 1.0f); // THERE
        if (threadIdx.x == 31) x[5] = ((volatile float*)y)[1]; // HERE""", "*)y)[1]", "*)y)[0]", buffer="y", block=32,
         name="atomic, then atomic"),
    Case("race-write-read", """
        if (threadIdx.x == 3) x[3] = ((volatile float*)y)[1]; // THERE
        atomicAdd(y, 1.0f); // HERE""", "*)y)[1]", "*)y)[0]", buffer="y", name="atomic"),
    Case("race-read-write", """
        __shared__ float s[64];
        y[threadIdx.x] = x[threadIdx.x]; // THERE
        __syncthreads();
        copy4(s + threadIdx.x, y + threadIdx.x % 32); // HERE
        commit();
        wait(0);
        x[threadIdx.x] = s[threadIdx.x];""", "__syncthreads();", ";", buffer="y", name="copied"),
    Case("warp-sync", """
        float v = x[threadIdx.x];
        if (n > 0 && threadIdx.x < 64) v += __shfl_xor_sync(0xffffffffu, v, 1); // HERE
        __syncthreads();
        y[threadIdx.x] = v;""", " && threadIdx.x < 64", " && threadIdx.x % 32 < 16"),
    Case("trap", "if (threadIdx.x >= n) asm volatile(\"trap;\"); // HERE\n y[threadIdx.x] = 1;", ">= n", "== 5",
         block=24),
    Case("budget", "volatile float* v = y; for (int i = 0; i < n || v[0] == i; i++) v[1] = i; // HERE", "i++", "i += 0",
         block=1),
]  # fmt: skip


def source_of(body: str) -> str:
    return (
        f'{PRELUDE}\nextern "C" __global__ void kernel(float* __restrict__ x, float* __restrict__ y, int n)\n'
        f"{{\n{body}\n}}\n"
    )


def launch(ptx: str, case: Case, read_only: bool = False) -> Result:
    x, y = np.arange(1024, dtype=np.float32), np.zeros(1024, np.float32)
    written = np.ones(4096, np.uint8)
    written[4 * 964 :] = 0
    buffers = [
        Buffer("x", x.view(np.uint8), not read_only, written if case.uninitialised else None),
        Buffer("y", y.view(np.uint8)),
    ]
    return Module(ptx)["kernel"].launch((case.grid, 1, 1), (case.block, 1, 1), [*buffers, 24], max_instructions=100_000)


@pytest.mark.parametrize("case", CASES, ids=[f"{c.kind} {c.name}".strip() for c in CASES])
def test_the_mistake_is_reported_at_its_line(case: Case, ptx: Ptx) -> None:
    assert case.body.count(case.good) >= 1
    read_only = case.kind == "read-only"
    good = launch(ptx(source_of(case.body)), case, read_only)
    assert not good.reports, good.reports[0]

    source = source_of(case.body.replace(case.good, case.bad, 1))
    reports = launch(ptx(source), case, read_only).reports
    assert [r.kind for r in reports] == [case.kind] * len(reports)
    assert reports
    lines = {
        mark: n for n, text in enumerate(source.split("\n"), 1) for mark in ("HERE", "THERE") if mark in text.split()
    }
    report = reports[0]
    here = report.access.place
    while here and here.inlined_at:
        here = here.inlined_at
    assert here
    assert (here.file, here.line) == ("kernel.cu", lines["HERE"])
    if "THERE" in lines:
        assert report.other
        there = report.other.place
        while there and there.inlined_at:
            there = there.inlined_at
        assert there
        assert there.line == lines["THERE"]
        assert (report.other.thread, report.other.block) != (report.access.thread, report.access.block) or (
            case.kind.startswith("copy")
        )
    if case.buffer:
        assert report.buffer == case.buffer
    assert f"kernel.cu:{here.line}" in str(report)
    assert case.kind in str(report)


def test_every_kind_is_tested() -> None:
    from convc.emulator import KINDS

    assert {case.kind for case in CASES} == set(KINDS) - {"bad-branch"}
