"""What generated kernels are built of, one function at a time: on the device, bit for bit what the emulator says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from convc.build.cache import Cache
from convc.build.cuda import build_ptx
from convc.codegen.env import render
from convc.emulator import Buffer, Module
from convc.runtime.cuda_device import driver, open_device
from convc.runtime.cuda_image import Build, choose_compiler

FUNCTIONS = """copy4_async( copy_async( warp_sum( warp_max( warp_argmax( block_sum( block_max( block_argmax( column_sum(
column_max( column_argmax( nan_max( nan_min( philox_uniform( floor_div( floor_mod("""
VECTORS = {(what, size, dtype) for what in ("load", "store") for size in (2, 4) for dtype in ("f32", "i32")}
THREADS, NUMBERS = 128, 1024


@dataclass(frozen=True)
class Probe:
    """The body of a kernel of THREADS threads, which reads `from` and writes `to`, NUMBERS floats each."""

    body: str
    shared: int = NUMBERS


PROBES = {
    "copy_async": Probe("""
        for (int i = t; i < 1024; i += 128) copy_async(&shared[i], from + (i * 37) % 1024, i % 5 != 0);
        commit_copies();
        wait_for_copies<0>();
        __syncthreads();
        for (int i = t; i < 1024; i += 128) to[i] = shared[1023 - i];"""),
    "copy4_async": Probe("""
        for (int i = t; i < 256; i += 128) copy4_async(&shared[4 * i], from + 4 * ((i * 37) % 256), i % 5 != 0);
        commit_copies();
        wait_for_copies<0>();
        __syncthreads();
        for (int i = t; i < 1024; i += 128) to[i] = shared[1023 - i];"""),
    "groups of copies": Probe("""
        for (int stage = 0; stage < 3; ++stage) {
            copy_async(&shared[stage * 128 + t], from + stage * 128 + t, true);
            commit_copies();
        }
        wait_for_copies<2>();
        __syncthreads();
        to[t] = shared[127 - t];
        wait_for_copies<1>();
        __syncthreads();
        to[128 + t] = shared[255 - t];
        wait_for_copies<0>();
        __syncthreads();
        to[256 + t] = shared[383 - t];"""),
    **{f"warp_{monoid} of {team}": Probe(f"to[t] = warp_{monoid}(from[t], {team});")
       for monoid in ("sum", "max") for team in (2, 4, 8, 16, 32)},
    **{f"block_{monoid}": Probe(f"to[t] = block_{monoid}(from[t], shared);") for monoid in ("sum", "max")},
    **{f"column_{monoid} of {team}": Probe(f"to[t] = column_{monoid}(from[t], shared, {team}, {128 // team});")
       for monoid in ("sum", "max") for team in (4, 16)},
    **{f"{kind}_argmax": Probe(f"""
        for (int part = 0; part < 2; ++part) {{
            float value = from[part * 860 + t / 2], index = t % 7;
            int at = t % 11 ? t : NOWHERE;
            {kind}_argmax(value, index, at{arguments});
            to[part * 512 + t] = value; to[part * 512 + 128 + t] = index; to[part * 512 + 256 + t] = at;
        }}""")
       for kind, arguments in (("warp", ", 16"), ("block", ", shared"), ("column", ", shared, 16, 8"))},
    **{f"load{size} and store{size}": Probe(f"""
        float held[{size}];
        load{size}(held, from + {size} * t);
        store{size}(to + {size} * (127 - t), held);
        store{size}((int *)shared + {size} * t, held);
        load{size}(held, (const int *)shared + {size} * t);
        store{size}(to + 512 + {size} * t, held);""") for size in (2, 4)},
    "nan_max, nan_min": Probe("""
        to[t] = nan_max(from[8 * t], from[8 * t + 4]);
        to[128 + t] = nan_min(from[8 * t + 4], from[8 * t]);"""),
    "philox_uniform": Probe("to[t] = philox_uniform(t * 4096ull + t, t % 3, 12345u, 7u);"),
    "floor_div, floor_mod": Probe("to[t] = floor_div(t - 64, 7); to[128 + t] = floor_mod(t - 64, 7);"),
}  # fmt: skip


def source() -> str:
    """One file with a kernel for each probe, `probe0` and so on, behind the functions that a program begins with."""
    head = render("cuda/program.cu.j2", name="wrappers", kernels=(), launches=(), arena_bytes=0, body=FUNCTIONS,
                  vectors=VECTORS)  # fmt: skip
    kernels = [
        f'extern "C" __global__ void __launch_bounds__({THREADS}) probe{number}(const float *from, float *to)\n'
        f"{{\n__shared__ __align__(16) float shared[{probe.shared}];\nconst int t = threadIdx.x;\n"
        f"shared[t] = 0.0f; __syncthreads();\n{probe.body}\n}}\n"
        for number, probe in enumerate(PROBES.values())
    ]
    return "\n".join([head, *kernels])


def numbers() -> np.ndarray:
    """Whole numbers and halves, so that sums of them are exact in any order; some equal, the one at 900 NaN."""
    given = np.random.default_rng(0).integers(-50, 50, NUMBERS).astype(np.float32) / 2
    given[900] = np.nan
    return given


@pytest.fixture(scope="module")
def emulated() -> Module:
    return Module(build_ptx(source(), "wrappers", "sm_80"))


@pytest.mark.parametrize("name", PROBES)
def test_wrapper(name: str, emulated: Module) -> None:
    probe = f"probe{list(PROBES).index(name)}"
    given, expected = numbers(), np.full(NUMBERS, -1, np.float32)
    arguments = [Buffer("from", given.view(np.uint8), False), Buffer("to", expected.view(np.uint8), True)]
    result = emulated[probe].launch((1, 1, 1), (THREADS, 1, 1), arguments, 0, check=True)
    assert not result.reports

    device = open_device(0)
    (image,) = Build(device.arch, choose_compiler("auto"), Cache()).images([source()], "wrappers")
    module = device.load(image.data, "the wrappers")
    found = np.full(NUMBERS, -1, np.float32)
    with device.active():
        drv = driver()
        places = [drv.mem_alloc(a.nbytes) for a in (given, found)]
        for place, a in zip(places, (given, found)):
            drv.memcpy_htod(place, a)
        module.get_function(probe)(*places, block=(THREADS, 1, 1), grid=(1, 1))
        drv.memcpy_dtoh(found, places[1])
        for place in places:
            place.free()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))  # which NaN it is, is the machine's own business
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(found[known].view(np.uint32), expected[known].view(np.uint32))
