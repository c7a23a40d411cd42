"""Compiles CUDA to PTX for the emulator's tests, where NVRTC is installed."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from convc.build import nvrtc
from convc.build.nvrtc_library import find_library_file


@functools.cache
def compile_ptx(source: str, arch: str = "sm_90a") -> str:
    """The PTX that NVRTC makes of CUDA source."""
    return nvrtc.compile_ptx(source, "kernel", arch)


@pytest.fixture(scope="session")
def ptx() -> Callable[..., str]:
    """ptx(source, arch="sm_90a") -> str"""
    if find_library_file() is None:
        pytest.skip("NVRTC is not installed: pip install 'convc[emit]'")
    return compile_ptx
