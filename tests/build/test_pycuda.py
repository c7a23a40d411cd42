"""PyCUDA's wheel: what is built is kept and installed once, and what is missing is one line. pip itself is not run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from convc.build import nvidia, pycuda, toolchain
from convc.build.cache import Cache
from convc.build.toolchain import find_cxx
from tests.build.helpers import refusal

HEADER = """
CUresult CUDAAPI cuInit(unsigned int Flags);
#define cuMemAlloc cuMemAlloc_v2
CUresult CUDAAPI cuMemAlloc(CUdeviceptr *dptr, size_t bytesize);
typedef enum CUdevice_attribute_enum { CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13 } CUdevice_attribute; /* cuInit first */
"""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with neither PyCUDA nor a toolkit nor a compiler; the folder returned is PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(pycuda, "installed", lambda: "")
    monkeypatch.setattr(pycuda, "toolkit_roots", list)
    monkeypatch.setattr(pycuda, "find_nvcc", lambda: None)
    toolchain._probe.cache_clear()
    return folder


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have run."""
    commands: list[list[str]] = []

    def run(command: Sequence[str], **_: str) -> subprocess.CompletedProcess[str]:
        commands.append(list(command))
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(pycuda, "_run", run)
    return commands


def toolkit(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(HEADER)
    return root


@pytest.mark.parametrize(("found", "usable"), [("2026.1", "2026.1"), ("2026.1.1", "2026.1.1"), ("2025.1.2", "")])
def test_what_is_installed_is_taken_where_it_is_new_enough(
    monkeypatch: pytest.MonkeyPatch, found: str, usable: str
) -> None:
    monkeypatch.setattr(pycuda, "version", lambda package: found)
    assert pycuda.installed() == usable


def test_nothing_is_done_where_it_is_installed(
    cache: Cache, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pycuda, "installed", lambda: "2026.1")
    assert pycuda.install(cache) == "2026.1"
    assert not pip


def test_what_was_built_is_installed_and_not_built_again(cache: Cache, bare: Path, pip: list[list[str]]) -> None:
    name = "pycuda-2026.1-cp311-cp311-linux_x86_64.whl"
    entry = cache.put(pycuda._key(None), {"name": name.encode(), name: b"a wheel"})
    pycuda.install(cache)
    assert [command[-2:] for command in pip] == [["install", str(entry / name)]]


def test_no_compiler_is_one_line_and_nothing_is_fetched(cache: Cache, bare: Path, pip: list[list[str]]) -> None:
    text = refusal(lambda: pycuda.install(cache))
    assert text == (
        "PyCUDA is built from C++: no C++ compiler: none of c++, g++, clang++ on PATH runs here; "
        "install g++ as a system package, or set CXX"
    )
    assert not pip


def test_the_command_says_so_and_ends_with_1(bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONVC_CACHE_DIR", str(tmp_path / "cache"))  # `make test` has a wheel in its own
    result = CliRunner().invoke(pycuda.main, [])
    assert result.exit_code == 1
    assert result.output.startswith("convc: error: PyCUDA is built from C++: no C++ compiler: ")


def test_no_pip_is_one_line(cache: Cache, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    assert refusal(lambda: pycuda.install(cache)).endswith("has not: run `python -m ensurepip`")


def test_a_compiler_asked_for_is_the_one_that_is_looked_for(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "nowhere++ -m64")
    assert refusal(find_cxx).startswith("CXX names 'nowhere++ -m64', which does not run as a C++ compiler here")
    program = bare / "nowhere++"
    program.write_text("#!/bin/sh\necho clang version 4.5.6\n")
    program.chmod(0o755)
    assert find_cxx().argv == (str(program), "-m64")
    monkeypatch.setenv("CXX", "'c++")
    assert refusal(find_cxx) == 'CXX is not a command line (No closing quotation): "\'c++"'


def test_what_fails_is_one_line_with_its_log(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "  error: subprocess-exited-with-error\n  a.hpp:7:10: fatal error: curand.h: No such file\n  error: failed"
    monkeypatch.setattr(pycuda, "_run", lambda command, **_: subprocess.CompletedProcess(command, 1, said))
    text = refusal(lambda: pycuda._pip(cache, "wheel", "pycuda"))
    start = "pip wheel failed for PyCUDA: a.hpp:7:10: fatal error: curand.h: No such file; the whole log is "
    assert text.startswith(start)
    assert Path(text.removeprefix(start)).read_text() == said


def test_what_takes_the_drivers_place_has_its_name_and_its_functions(tmp_path: Path) -> None:
    include = toolkit(tmp_path, *pycuda.NEEDED)
    library = pycuda.build_driver(find_cxx(), include, tmp_path)
    assert b"libcuda.so.1\0" in library.read_bytes()
    # In a process of its own: in this one it would be the driver, for other tests, too.
    code = """
import ctypes, sys
loaded = ctypes.CDLL(sys.argv[1])
print([getattr(loaded, name)() for name in ("cuInit", "cuMemAlloc", "cuMemAlloc_v2")])
print(hasattr(loaded, "CUdevice_attribute"))
"""
    result = subprocess.run([sys.executable, "-c", code, str(library)], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("[100, 100, 100]\nFalse\n", "")


def test_headers_are_those_of_a_toolkit_that_has_them_all(
    tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = toolkit(tmp_path / "whole", *(f"include/{name}" for name in pycuda.NEEDED))
    part = toolkit(tmp_path / "part", "include/cuda.h")
    monkeypatch.setattr(pycuda, "toolkit_roots", lambda: [part])
    assert pycuda.find_toolkit() is None
    monkeypatch.setattr(pycuda, "toolkit_roots", lambda: [part, whole])
    found = pycuda.find_toolkit()
    assert found == pycuda.Toolkit(whole)
    assert found.curand is None
    assert "CUDA_ENABLE_CURAND = False\n" in pycuda._configuration(found.include, tmp_path, found)
    toolkit(whole, "include/curand.h", "lib64/libcurand.so")
    assert found.curand == whole / "lib64"
    assert "CUDA_ENABLE_CURAND = True\n" in pycuda._configuration(found.include, tmp_path, found)
    monkeypatch.setattr(pycuda, "toolkit_roots", list)
    monkeypatch.setattr(pycuda, "find_nvcc", lambda: whole / "bin/nvcc")
    assert pycuda.find_toolkit() == found


def test_the_wheels_of_the_extras_are_no_toolkit() -> None:
    """They lack a header, so what is built does not depend on which of them are installed."""
    assert not any((root / "include/cudaProfiler.h").is_file() for root in nvidia.wheel_roots())
