"""Compiles CUDA to PTX for the emulator's tests, where NVRTC is installed."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest


@functools.cache
def _nvrtc() -> tuple[ctypes.CDLL, Path] | None:
    spec = importlib.util.find_spec("nvidia")
    for root in map(Path, (spec.submodule_search_locations if spec else None) or ()):
        for folder in root.glob("cu1*"):
            builtins = sorted(folder.glob("lib/libnvrtc-builtins.so.*"))
            library = [p for p in sorted(folder.glob("lib/libnvrtc.so.*")) if "alt" not in p.name]
            if builtins and library:
                ctypes.CDLL(str(builtins[0]), ctypes.RTLD_GLOBAL)  # NVRTC looks for it by name
                return ctypes.CDLL(str(library[0])), folder / "include"
    return None


@functools.cache
def compile_ptx(source: str, arch: str = "sm_90a", *options: str) -> str:
    """The PTX that NVRTC makes of CUDA source."""
    found = _nvrtc()
    assert found
    nvrtc, include = found
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    arguments = [f"-arch={arch.replace('sm_', 'compute_')}", "-std=c++17", "-lineinfo", f"-I{include}", *options]
    failed = nvrtc.nvrtcCompileProgram(
        program, len(arguments), (ctypes.c_char_p * len(arguments))(*(a.encode() for a in arguments))
    )
    get_size, get = (nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
    if not failed:
        get_size, get = (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    get_size(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    get(program, text)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert not failed, text.value.decode()
    return text.value.decode()


@pytest.fixture(scope="session")
def ptx() -> Callable[..., str]:
    """ptx(source, arch="sm_90a", *options) -> str"""
    if _nvrtc() is None:
        pytest.skip("NVRTC is not installed: pip install 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cuda-runtime==13.0.*'")
    return compile_ptx
