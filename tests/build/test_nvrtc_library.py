"""NVRTC's library: where it is looked for, when it is loaded, and what is said where it is missing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_sources import SAXPY

from convc.build import nvidia, nvrtc_library
from convc.build.archs import ARCHS
from convc.build.cache import Cache
from convc.build.nvrtc import check_arch, compile_cubin, compile_ptx, find_nvrtc
from convc.build.nvrtc_library import find_library_file
from tests.build.helpers import MISSING, needs_nvrtc, refusal


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither wheels nor a toolkit nor a library on the loader's path."""
    monkeypatch.setattr(nvidia, "wheel_roots", list)
    monkeypatch.setattr(nvidia, "toolkit_roots", list)
    monkeypatch.setattr(nvrtc_library, "find_library", lambda name: None)


def test_missing_is_one_line(bare: None, cache: Cache) -> None:
    assert refusal(find_nvrtc) == MISSING
    assert refusal(lambda: compile_ptx(SAXPY, "saxpy", "sm_80", cache=cache)) == MISSING
    assert refusal(lambda: compile_cubin(SAXPY, "saxpy", "sm_80", cache=cache)) == MISSING


def test_an_architecture_is_checked_without_nvrtc(bare: None) -> None:
    assert [check_arch(name) for name in ARCHS] == list(ARCHS)
    text = refusal(lambda: check_arch("sm_90b"))
    assert text == (f"unknown GPU architecture 'sm_90b'; did you mean 'sm_90'?; convc emits for {', '.join(ARCHS)}")


def test_a_library_that_does_not_load(bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cu13" / "lib"
    folder.mkdir(parents=True)
    (folder / "libnvrtc.so.13").write_bytes(b"no library")
    monkeypatch.setattr(nvidia, "wheel_roots", lambda: [tmp_path / "cu13"])
    text = refusal(find_nvrtc)
    assert text.startswith("NVRTC does not load (")
    assert text.endswith("): run `pip install 'convc[emit]'`, or mend that file")


def test_wheels_before_toolkits_and_newest_first(bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def library(path: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        return file

    monkeypatch.setattr(nvrtc_library, "find_library", lambda name: "libnvrtc.so.11")
    assert find_library_file() == Path("libnvrtc.so.11")
    toolkit = library("toolkit/lib64/libnvrtc.so.99")
    monkeypatch.setattr(nvidia, "toolkit_roots", lambda: [tmp_path / "toolkit"])
    assert find_library_file() == toolkit
    monkeypatch.setattr(nvidia, "wheel_roots", lambda: sorted(p for p in (tmp_path / "nvidia").glob("*") if p.is_dir()))
    older = library("nvidia/cuda_nvrtc/lib/libnvrtc.so.12")  # each component in its folder, before CUDA 13
    library("nvidia/cuda_nvrtc/lib/libnvrtc.alt.so.14")
    library("nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.14.0")
    assert find_library_file() == older
    newer = library("nvidia/cu13/lib/libnvrtc.so.13")
    assert find_library_file() == newer


def test_toolkits_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "b"))
    assert nvidia.toolkit_roots()[:2] == [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "gone"))
    assert nvidia.toolkit_roots()[0] == tmp_path / "b"


def test_wheels_are_found_without_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia" / "cu13").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    assert nvidia.wheel_roots() == [tmp_path / "nvidia" / "cu13"]
    monkeypatch.setattr(sys, "path", [])
    assert nvidia.wheel_roots() == []


def test_an_import_loads_nothing() -> None:
    script = (
        "import ctypes; ctypes.CDLL = None\n"
        "import convc, convc.build.nvrtc, convc.build.sass, convc.build.occupancy\n"
        "print('libnvrtc' in open('/proc/self/maps').read())"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc/self/maps to read what is loaded from")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert (result.stdout, result.stderr) == ("False\n", "")


@needs_nvrtc
def test_a_call_that_fails_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    program = ctypes.c_void_p()
    text = refusal(lambda: nvrtc_library._call(find_nvrtc().library, "nvrtcGetPTX", program, None))
    assert text.startswith("NVRTC's nvrtcGetPTX failed with status ")
