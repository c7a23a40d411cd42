"""From a program's CUDA to PTX and cubin with the compiler that is here, and what each launch takes of a device."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from convc.build import nvcc, nvrtc
from convc.build.cache import Cache
from convc.build.cubin import Cubin
from convc.build.nvrtc_library import find_library_file
from convc.build.occupancy import occupancy
from convc.codegen.cuda.emit import CudaSource
from convc.errors import RunError


def find_cuda_compiler() -> str | None:
    """`nvrtc` where it is installed, else `nvcc`, else None."""
    if find_library_file() is not None:
        return "nvrtc"
    return "nvcc" if nvcc.find_nvcc() else None


def build_cubin(text: str, name: str, arch: str, cache: Cache | None = None) -> Cubin:
    """The binary. Raises ToolchainError, of one line, where there is no compiler and where it refuses the text."""
    if find_cuda_compiler() == "nvcc":
        return nvcc.compile_cubin(text, name, arch, cache=cache)
    return nvrtc.compile_cubin(text, name, arch, cache=cache)


def build_ptx(text: str, name: str, arch: str, cache: Cache | None = None) -> str:
    """The PTX. Raises ToolchainError, of one line, where there is no compiler and where it refuses the text."""
    if find_cuda_compiler() == "nvcc":
        return nvcc.compile_ptx(text, name, arch, cache=cache)
    return nvrtc.compile_ptx(text, name, arch, cache=cache)


def units_of(source: CudaSource, text: str | None = None) -> list[str]:
    """What to compile of a program: four texts a core at most, as nobody knows how long they take.

    `text`, where the program's was edited: that, as it is.
    """
    return source.compile_units(4 * (os.cpu_count() or 1)) if text is None else [text]


def check_kernels(source: CudaSource, found: Collection[str]) -> None:
    """Raises RunError for a launch whose kernel is not among those that were compiled, from an edited text."""
    for launch in source.launches:
        if launch.name not in found:
            raise RunError(f"{source.file} has no kernel {launch.name}: keep the names that were emitted")


def resources(source: CudaSource, cubins: Sequence[Cubin], arch: str) -> dict[str, Any]:
    """For each launch: registers, spills, shared memory, occupancy and what limits it; ready for JSON."""
    kernels = {name: found for cubin in cubins for name, found in cubin.kernels.items()}
    return {
        launch.name: {
            **asdict(kernels[launch.name]),
            "dynamic_shared_bytes": launch.dynamic_bytes,
            "occupancy": asdict(occupancy(kernels[launch.name], launch.threads, launch.dynamic_bytes, arch)),
        }
        for launch in source.launches
    }
