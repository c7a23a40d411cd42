"""Occupancy: the guides' own examples, each limit by itself, and NVIDIA's calculator on random launches."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from cuda_sources import SAXPY
from hypothesis import example, given
from hypothesis import strategies as st

from convc.build.archs import ARCHS, check_arch, limits_of
from convc.build.cache import Cache
from convc.build.cubin import Resources
from convc.build.nvidia import find_files
from convc.build.nvrtc import compile_cubin
from convc.build.nvrtc_library import find_library_file
from convc.build.occupancy import Limiter, Occupancy, occupancy
from convc.build.toolchain import find_compiler
from convc.errors import ToolchainError


@pytest.mark.parametrize(
    ("resources", "threads", "dynamic", "arch", "blocks", "fraction", "limiter"),
    [
        # Best Practices Guide, "Calculating Occupancy": 37 registers, blocks of 128 and of 320 threads
        (Resources(37), 128, 0, "sm_80", 12, 0.75, "registers"),
        (Resources(37), 320, 0, "sm_80", 4, 0.625, "registers"),
        # its "32 or fewer registers for 100 %"
        (Resources(32), 256, 0, "sm_80", 8, 1.0, "warps"),
        (Resources(33), 256, 0, "sm_80", 6, 0.75, "registers"),
        (Resources(32), 1024, 0, "sm_86", 1, 32 / 48, "warps"),
        (Resources(16), 32, 0, "sm_80", 32, 0.5, "blocks"),
        (Resources(16), 32, 0, "sm_86", 16, 16 / 48, "blocks"),
        (Resources(16), 32, 0, "sm_89", 24, 0.5, "blocks"),
        (Resources(16), 33, 0, "sm_89", 24, 1.0, "warps"),  # two warps each, the second with one thread
        # 164 KiB a SM, of which each block's 1 KiB is reserved
        (Resources(32), 128, 81 * 1024, "sm_80", 2, 8 / 64, "shared"),
        (Resources(32), 128, 81 * 1024 + 1, "sm_80", 1, 4 / 64, "shared"),
        (Resources(32, shared_bytes=1024), 128, 80 * 1024, "sm_80", 2, 8 / 64, "shared"),
        (Resources(32), 128, 227 * 1024, "sm_90a", 1, 4 / 64, "shared"),
        (Resources(32), 128, 99 * 1024, "sm_120", 1, 4 / 48, "shared"),
        (Resources(168), 384, 0, "sm_90a", 1, 12 / 64, "registers"),
        (Resources(32, barriers=16), 64, 0, "sm_90", 4, 8 / 64, "barriers"),
        (Resources(32, barriers=16), 64, 0, "sm_80", 32, 1.0, "warps"),
    ],
)
def test_known_values(
    resources: Resources, threads: int, dynamic: int, arch: str, blocks: int, fraction: float, limiter: Limiter
) -> None:
    warps = blocks * -(-threads // 32)
    assert occupancy(resources, threads, dynamic, arch) == Occupancy(blocks, warps, fraction, limiter)


@pytest.mark.parametrize(
    ("resources", "threads", "dynamic", "limiter"),
    [
        (Resources(32), 1025, 0, "warps"),
        (Resources(65), 1024, 0, "registers"),
        (Resources(256), 32, 0, "registers"),
        (Resources(32), 32, 163 * 1024 + 1, "shared"),
        (Resources(32, shared_bytes=1), 32, 163 * 1024, "shared"),
    ],
)
def test_what_cannot_be_launched_has_no_blocks_and_its_reason(
    resources: Resources, threads: int, dynamic: int, limiter: Limiter
) -> None:
    assert occupancy(resources, threads, dynamic, "sm_80") == Occupancy(0, 0, 0.0, limiter)


@pytest.mark.parametrize(("threads", "dynamic"), [(0, 0), (-32, 0), (32, -1)])
def test_a_launch_that_makes_no_sense(threads: int, dynamic: int) -> None:
    with pytest.raises(ToolchainError, match=f"got {threads} threads and {dynamic} bytes$"):
        occupancy(Resources(32), threads, dynamic, "sm_80")


def test_an_unknown_architecture_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(ToolchainError) as error:
        occupancy(Resources(32), 32, 0, "sm_90b")
    text = str(error.value)
    assert text.startswith("unknown GPU architecture 'sm_90b'; did you mean 'sm_90'?; convc emits for sm_80, sm_86, ")
    assert "\n" not in text
    with pytest.raises(ToolchainError, match="unknown GPU architecture 'hopper'; convc emits for sm_80"):
        limits_of("hopper")


def test_architectures() -> None:
    assert {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_100a", "sm_100f", "sm_103", "sm_120a"} <= set(
        ARCHS
    )
    assert not {"sm_75", "sm_80a", "sm_90f", "compute_80"} & set(ARCHS)
    assert limits_of("sm_90a") == limits_of("sm_90")
    assert [limits_of(a).block_shared_bytes // 1024 for a in ("sm_80", "sm_86", "sm_90", "sm_120")] == [
        163,
        99,
        227,
        99,
    ]
    assert all(check_arch(name) == name for name in ARCHS)


@pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: run `pip install 'convc[emit]'`")
@pytest.mark.parametrize("arch", [arch for arch in ARCHS if arch[-1].isdigit()])
def test_warps_and_blocks_are_those_that_the_assembler_allows(tmp_path: Path, arch: str) -> None:
    """It warns of launch bounds that ask for more than an SM holds."""

    def accepted(threads: int, blocks: int) -> bool:
        source = SAXPY.replace("void", f"void __launch_bounds__({threads}, {blocks})")
        return "out of range" not in compile_cubin(source, "saxpy", arch, cache=Cache(tmp_path / "cache")).log

    limits = limits_of(arch)
    assert accepted(32, limits.blocks)
    assert not accepted(32, limits.blocks + 1)
    assert accepted(limits.warps * 8, 4)
    assert not accepted(limits.warps * 8 + 32, 4)


ORACLE = """
#include <limits.h>
#include <string.h>
#include "cuda_occupancy.h"
int blocks_per_sm(int major, int minor, int warps, int shared_sm, int threads, int registers, int shared, int dynamic,
                  int barriers)
{
    cudaOccDeviceProp device = {
        .computeMajor = major, .computeMinor = minor, .maxThreadsPerBlock = 1024,
        .maxThreadsPerMultiprocessor = 32 * warps, .regsPerBlock = 65536, .regsPerMultiprocessor = 65536,
        .warpSize = 32, .sharedMemPerBlock = 48 * 1024, .sharedMemPerMultiprocessor = shared_sm, .numSms = 1,
        .sharedMemPerBlockOptin = shared_sm - 1024, .reservedSharedMemPerBlock = 1024};
    cudaOccFuncAttributes function = {
        .maxThreadsPerBlock = INT_MAX, .numRegs = registers, .sharedSizeBytes = shared,
        .shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN, .maxDynamicSharedSizeBytes = shared_sm - 1024 - shared,
        .numBlockBarriers = barriers};
    cudaOccDeviceState state = {.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED};
    cudaOccResult result;
    memset(&result, 0, sizeof result);
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, dynamic)) return -1;
    return result.activeBlocksPerMultiprocessor;
}
"""


@pytest.fixture(scope="module")
def calculator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """NVIDIA's occupancy calculator, a header of the CUDA runtime, as a library."""
    header = next(find_files(("include",), "cuda_occupancy.h"), None)
    if header is None:
        pytest.skip("cuda_occupancy.h is not installed: pip install 'convc[emit]'")
    folder = tmp_path_factory.mktemp("calculator")
    (folder / "blocks.c").write_text(ORACLE)
    library = folder / "blocks.so"
    command = [*find_compiler().argv, "-w", "-shared", "-fPIC", f"-I{header.parent}", "blocks.c", "-o", str(library)]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(library))


@given(
    arch=st.sampled_from(sorted(ARCHS)),
    threads=st.integers(1, 1100),
    registers=st.integers(1, 255),
    shared=st.integers(0, 48 * 1024),
    dynamic=st.one_of(st.just(0), st.integers(0, 230 * 1024)),
    barriers=st.integers(0, 16),
)
@example("sm_80", 128, 37, 0, 0, 0)
@example("sm_100a", 64, 16, 0, 0, 3)
def test_agrees_with_nvidias_calculator(
    calculator: ctypes.CDLL, arch: str, threads: int, registers: int, shared: int, dynamic: int, barriers: int
) -> None:
    limits = limits_of(arch)
    capability = int(arch.strip("sm_af"))
    device = (*divmod(capability, 10), limits.warps, limits.shared_bytes)
    blocks = calculator.blocks_per_sm(*device, threads, registers, shared, dynamic, barriers)
    found = occupancy(Resources(registers, shared, barriers=barriers), threads, dynamic, arch)
    assert found.blocks_per_sm == blocks
    assert found.warps_per_sm <= limits.warps
