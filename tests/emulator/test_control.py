"""Divergence, loops, exits, barriers within them, tables of labels, and what a hang gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from convc.emulator import Buffer, Module, Result

Ptx = Callable[..., str]

LOOPS = """extern "C" __global__ void loops(int* out, const int* trips) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x, n = trips[t];
  int sum = 0;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < (t + i) % 5; j++) {
      if ((i + j) % 3 == 0) continue;
      if (j == n - 1) break;
      sum += i * j + 1;
    }
    if (sum > 500) break;
  }
  if (n == 7) return;
  out[t] = sum;
}"""


def launch(text: str, name: str, block: int, *arrays: np.ndarray, grid: int = 1) -> Result:
    buffers = [Buffer(f"a{k}", a.view(np.uint8)) for k, a in enumerate(arrays)]
    return Module(text)[name].launch((grid, 1, 1), (block, 1, 1), buffers, max_instructions=100_000)


@pytest.mark.parametrize("arch", ["sm_80", "sm_100a"])
def test_every_lane_takes_its_own_way(ptx: Ptx, arch: str) -> None:
    trips = np.random.default_rng(0).integers(0, 30, 150).astype(np.int32)
    out = np.full(150, -1, np.int32)
    assert not launch(ptx(LOOPS, arch), "loops", 75, out, trips, grid=2).reports
    for t, n in enumerate(trips.tolist()):
        total = 0
        for i in range(n):
            for j in range((t + i) % 5):
                if (i + j) % 3 == 0:
                    continue
                if j == n - 1:
                    break
                total += i * j + 1
            if total > 500:
                break
        assert out[t] == (-1 if n == 7 else total)


def test_lanes_meet_again_after_a_branch(ptx: Ptx) -> None:
    """After if and else, of different lengths, all lanes run together: one vote sees them all."""
    source = """extern "C" __global__ void meet(int* out) {
      const int t = threadIdx.x;
      int v = t;
      if (t % 3 == 0) { for (int i = 0; i < t; i++) v = v * 3 + out[(v & 31) + 32]; } else v = 5;
      out[t] = __popc(__activemask()) + 0 * v;
      if (v == 12345) out[t] = 1;
    }"""
    out = np.zeros(64, np.int32)
    launch(ptx(source), "meet", 32, out)
    assert (out[:32] == 32).all()


def test_barriers_in_loops_that_some_leave_early(ptx: Ptx) -> None:
    """A scan by doubling: all threads meet at every barrier, only some work in between."""
    source = """extern "C" __global__ void scan(int* out) {
      __shared__ int s[2][96];
      const int t = threadIdx.x;
      s[0][t] = out[t];
      int from = 0;
      for (int d = 1; d < 96; d *= 2, from ^= 1) {
        __syncthreads();
        s[from ^ 1][t] = s[from][t] + (t >= d ? s[from][t - d] : 0);
      }
      out[t] = s[from][t];
    }"""
    out = np.random.default_rng(0).integers(0, 99, 96).astype(np.int32)
    want = np.cumsum(out)
    assert not launch(ptx(source), "scan", 96, out).reports
    assert (out == want).all()


def test_named_barriers_order_those_who_share_them(ptx: Ptx) -> None:
    """Warps 0 and 1 meet at barrier 1; warp 2, which does not, races with what they wrote."""
    source = """extern "C" __global__ void pairs(int* out) {
      __shared__ int s[96];
      const int t = threadIdx.x;
      s[t] = t;
      if (t < 64) {
        asm volatile("bar.sync 1, 64;" ::: "memory");
        out[t] = s[63 - t];
      } else {
        out[t] = s[OTHER];
      }
    }"""
    out = np.zeros(96, np.int32)
    assert not launch(ptx(source.replace("OTHER", "t")), "pairs", 96, out).reports
    assert (out[:64] == 63 - np.arange(64)).all()
    (report,) = launch(ptx(source.replace("OTHER", "t - 64")), "pairs", 96, out).reports
    assert report.kind == "race-read-write"
    assert report.access.thread[0] >= 64


def test_named_barriers_pass_on_what_they_order(ptx: Ptx) -> None:
    """Warp 0 meets warp 1, which then meets warp 2: so what warp 0 wrote is there for warp 2."""
    source = """extern "C" __global__ void chain(int* out) {
      __shared__ int s[96];
      const int t = threadIdx.x;
      s[t] = t;
      if (t < 64) asm volatile("bar.sync 1, 64;" ::: "memory");
      if (t >= FIRST) asm volatile("bar.sync 2, MANY;" ::: "memory");
      if (t >= 64) out[t] = s[t - 64];
    }"""
    out = np.zeros(96, np.int32)
    assert not launch(ptx(source.replace("FIRST", "32").replace("MANY", "64")), "chain", 96, out).reports
    assert (out[64:] == np.arange(32)).all()
    (report,) = launch(ptx(source.replace("FIRST", "64").replace("MANY", "32")), "chain", 96, out).reports
    assert report.kind == "race-read-write"


def test_the_reader_of_another_warp_is_not_forgotten(ptx: Ptx) -> None:
    """All read one number; its writer has met all readers but those of warp 1."""
    source = """extern "C" __global__ void broadcast(int* out) {
      __shared__ int s;
      const int t = threadIdx.x;
      if (t == 0) s = 7;
      __syncthreads();
      out[t] = s;
      if (WHO) asm volatile("bar.sync 1, MANY;" ::: "memory");
      if (t == 0) s = 8;
    }"""
    out = np.zeros(96, np.int32)
    assert not launch(ptx(source.replace("WHO", "true").replace("MANY", "96")), "broadcast", 96, out).reports
    assert (out == 7).all()
    (report,) = launch(ptx(source.replace("WHO", "t / 32 != 1").replace("MANY", "64")), "broadcast", 96, out).reports
    assert report.kind == "race-write-read"
    assert report.other
    assert report.other.thread[0] // 32 == 1


def test_a_producer_that_arrives_and_does_not_wait(ptx: Ptx) -> None:
    """bar.arrive orders what came before it, and nothing after it."""
    source = """extern "C" __global__ void produce(int* out) {
      __shared__ int s[64];
      const int t = threadIdx.x;
      if (t < 32) {
        s[t] = t * t;
        asm volatile("bar.arrive 1, 64;" ::: "memory");
        LATER
      } else {
        asm volatile("bar.sync 1, 64;" ::: "memory");
        out[t] = s[t - 32];
      }
    }"""
    out = np.zeros(64, np.int32)
    assert not launch(ptx(source.replace("LATER", "")), "produce", 64, out).reports
    assert (out[32:] == np.arange(32) ** 2).all()
    reports = launch(ptx(source.replace("LATER", "s[t] = 1;")), "produce", 64, out).reports
    assert [r.kind for r in reports] == ["race-read-write"]


def test_barriers_that_vote(ptx: Ptx) -> None:
    source = """extern "C" __global__ void votes(int* out, const int* x) {
      const int t = threadIdx.x, n = __syncthreads_count(x[t] > 0);
      const int any = __syncthreads_or(x[t] > 98), all = __syncthreads_and(x[t] < 99);
      out[t] = 4 * n + 2 * any + all;
    }"""
    out, x = np.zeros(70, np.int32), np.arange(70, dtype=np.int32) - 9
    assert not launch(ptx(source), "votes", 70, out, x).reports
    assert (out == 4 * 60 + 1).all()
    x[3] = 99
    launch(ptx(source), "votes", 70, out, x)
    assert (out == 4 * 61 + 2).all()


def test_lanes_wait_for_those_that_a_warp_wide_instruction_names(ptx: Ptx) -> None:
    """Half a warp takes a longer way to the same __syncwarp, and hands over what it wrote."""
    source = """extern "C" __global__ void halves(int* out) {
      __shared__ int s[32];
      const int t = threadIdx.x;
      if (t < 16) {
        for (int i = 0; i < 5 + t; i++) s[t] = i;
        __syncwarp();
      } else {
        s[t] = -t;
        __syncwarp();
      }
      out[t] = s[31 - t];
      unsigned odd = 0xaaaaaaaau;
      if (t % 2) out[t] += 100 * __shfl_sync(odd, t, 31);
    }"""
    out = np.zeros(32, np.int32)
    result = launch(ptx(source), "halves", 32, out)
    assert not result.reports, result.reports[0]
    t = np.arange(32)
    other = 31 - t
    assert (out == np.where(other < 16, 4 + other, -other) + 3100 * (t % 2)).all()


def test_a_part_of_a_warp_orders_itself_alone(ptx: Ptx) -> None:
    source = """extern "C" __global__ void part(int* out) {
      __shared__ int s[32];
      const int t = threadIdx.x;
      s[t] = t;
      if (t < 16) {
        __syncwarp(0xffffu);
        out[t] = s[OTHER];
      }
    }"""
    out = np.zeros(32, np.int32)
    assert not launch(ptx(source.replace("OTHER", "15 - t")), "part", 32, out).reports
    assert (out[:16] == 15 - np.arange(16)).all()
    (report,) = launch(ptx(source.replace("OTHER", "t + 16")), "part", 32, out).reports
    assert (report.kind, report.count) == ("race-read-write", 16)


TABLE = """.version 9.0
.target sm_90a
.address_size 64
.visible .entry jump(.param .u64 out)
{
  .reg .b32 %r<4>; .reg .b64 %d;
  ld.param.u64 %d, [out]; mov.u32 %r1, %tid.x; rem.u32 %r2, %r1, LIMIT; mad.wide.u32 %d, %r1, 4, %d;
  ways: .branchtargets L0, L1, L2;
  brx.idx %r2, ways;
L0: mov.u32 %r3, 10; bra DONE;
L1: mov.u32 %r3, 20; bra DONE;
L2: mov.u32 %r3, 30;
DONE: st.global.u32 [%d], %r3;
  ret;
}
"""


def test_tables_of_labels() -> None:
    out = np.zeros(48, np.int32)
    assert not launch(TABLE.replace("LIMIT", "3"), "jump", 48, out).reports
    assert (out == np.arange(48) % 3 * 10 + 10).all()
    (report,) = launch(TABLE.replace("LIMIT", "4"), "jump", 48, out).reports
    assert (report.kind, report.count) == ("bad-branch", 12)


SWITCH = """extern "C" __global__ void choose(int* out, const float* x) {
  const int t = threadIdx.x;
  float v = x[t];
  switch (t % 11) {
    case 0: v = sinf(1e6f * v); break;
    case 1: v = expf(v); break;
    case 2: v = logf(v + 1); break;
    case 3: v = tanhf(v); break;
    case 4: v = powf(v, 1.7f); break;
    case 5: v = fmodf(10 * v, 0.3f); break;
    case 6: v = sqrtf(v) / 3; break;
    case 7: v = erff(v);
    case 8: v = expm1f(v); break;
    case 9: v = log1pf(v); break;
  }
  out[t] = __float_as_int(v);
}"""


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a", "sm_100a"])
def test_functions_of_the_library(ptx: Ptx, arch: str) -> None:
    """Whole functions with their tables, local memory and slow paths, to the ulps that CUDA's documents give."""
    from math import erf

    x = np.linspace(0.01, 2, 110, dtype=np.float32)
    out = np.zeros(110, np.float32)
    result = launch(ptx(SWITCH, arch), "choose", 110, out.view(np.int32), x)
    assert not result.reports, result.reports[0]
    w = x.astype(np.float64)
    angle, scaled = (np.float32(1e6) * x).astype(np.float64), (np.float32(10) * x).astype(np.float64)
    functions = [
        (np.sin(angle), 2), (np.exp(w), 2), (np.log((x + np.float32(1)).astype(np.float64)), 1), (np.tanh(w), 2),
        (w ** np.float64(np.float32(1.7)), 4), (np.fmod(scaled, np.float64(np.float32(0.3))), 0), (np.sqrt(w) / 3, 2),
        (np.expm1([erf(v) for v in w]), 4), (np.expm1(w), 2), (np.log1p(w), 2), (w, 0),
    ]  # fmt: skip
    for t in range(110):
        values, ulps = functions[t % 11]
        assert abs(out[t] - values[t]) <= ulps * np.spacing(np.float32(abs(values[t]))) + 0.0, (
            t % 11,
            out[t],
            values[t],
        )


def test_blocks_and_grids_of_three_dimensions(ptx: Ptx) -> None:
    source = """extern "C" __global__ void place(int* out) {
      const int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
      const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
      out[b * blockDim.x * blockDim.y * blockDim.z + t] = blockIdx.z * 100 + threadIdx.z * 10 + threadIdx.y;
    }"""
    out = np.zeros(2 * 3 * 4 * 60, np.int32)
    result = Module(ptx(source))["place"].launch((2, 3, 4), (3, 4, 5), [Buffer("out", out.view(np.uint8))])
    assert not result.reports
    b, t = np.divmod(np.arange(out.size), 60)
    assert (out == b // 6 * 100 + t // 12 * 10 + t // 3 % 4).all()
    (report,) = (
        Module(ptx(source))["place"].launch((2, 3, 4), (3, 4, 5), [Buffer("out", out.view(np.uint8)[:-4])]).reports
    )
    assert (report.access.block, report.access.thread) == ((1, 2, 3), (2, 3, 4))
    assert "block (1, 2, 3), thread (2, 3, 4)" in str(report)


def test_a_launch_gives_the_same_twice(ptx: Ptx) -> None:
    trips = np.arange(64, dtype=np.int32)
    results = [launch(ptx(LOOPS), "loops", 64, np.zeros(64, np.int32), trips) for _ in range(2)]
    assert results[0] == results[1]
