"""The machine's f32 FMA peak, measured: independent multiply-adds in registers on every thread."""

from __future__ import annotations

import ctypes
import time

from convc.build.toolchain import Unit, build_shared
from convc.runtime import pool

LANES, CHAINS, ROUNDS = 16, 24, 2_000_000

SOURCE = """
typedef float vec __attribute__((vector_size(64)));
float sink[64 * 64];
void peak_body(void *ctx, int thread, int threads, void (*barrier)(void))
{
    vec a[%(chains)d], b = (vec){} + 0.999f, c = (vec){} + 0.001f;
    for (int i = 0; i < %(chains)d; ++i) a[i] = b * (float)i;
    __asm__ volatile("" : "+m"(b), "+m"(c));
    for (long n = 0; n < %(rounds)d; ++n) {
        _Pragma("GCC unroll 64") for (int i = 0; i < %(chains)d; ++i) a[i] = a[i] * b + c;
    }
    vec s = a[0];
    for (int i = 1; i < %(chains)d; ++i) s += a[i];
    for (int i = 0; i < 16; ++i) sink[(thread %% 64) * 64 + i] = s[i];
}
"""


def fma_peak(threads: int, repeats: int = 5) -> float:
    """GFLOP/s of the best of `repeats` runs on that many threads."""
    text = SOURCE % {"chains": CHAINS, "rounds": ROUNDS}
    library = ctypes.CDLL(str(build_shared([Unit("peak", text)])))
    body = ctypes.cast(library.peak_body, ctypes.c_void_p).value or 0
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        pool.run(body, 0, threads)
        best = min(best, time.perf_counter() - start)
    return 2 * LANES * CHAINS * ROUNDS * threads / best * 1e-9


if __name__ == "__main__":
    for count in (1, pool.get_num_threads()):
        print(f"{count} thread(s): {fma_peak(count):.1f} GFLOP/s")
