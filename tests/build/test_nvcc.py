"""nvcc, the way without NVRTC: the same kernels, the cache, the emulator's PTX, and every refusal in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cuda_sources import SAXPY, SGEMM, SHARED, SPILL

from convc.build import cuda, nvcc, nvidia, nvrtc
from convc.build.archs import ARCHS
from convc.build.cache import Cache
from convc.build.cubin import Resources
from convc.build.nvcc import compile_cubin, compile_ptx, find_nvcc
from convc.build.nvrtc_library import find_library_file
from convc.emulator import Buffer, Module
from tests.build.helpers import TARGETS, refusal

needs_nvcc = pytest.mark.skipif(find_nvcc() is None, reason="there is no nvcc: pip install 'convc[emit,nvcc]'")
needs_both = pytest.mark.skipif(
    find_nvcc() is None or find_library_file() is None, reason="nvcc and NVRTC are not both here to compare"
)


def compared(r: Resources) -> Resources:
    """Without what the assembler decides: the two compilers hand it slightly different PTX."""
    return replace(r, registers=0, stack_bytes=0, spill_stores=0, spill_loads=0)


@needs_both
@pytest.mark.parametrize("arch", TARGETS)
def test_kernels_take_what_they_take_with_nvrtc(cache: Cache, arch: str) -> None:
    saxpy, same = (c(SAXPY, "saxpy", arch, cache=cache) for c in (compile_cubin, nvrtc.compile_cubin))
    assert saxpy.kernels == same.kernels
    for name, source in (("sgemm", SGEMM), ("spill", SPILL)):
        own, other = (c(source, name, arch, cache=cache).kernels for c in (compile_cubin, nvrtc.compile_cubin))
        assert {k: compared(r) for k, r in own.items()} == {k: compared(r) for k, r in other.items()}
        assert (own[name].spill_loads > 0) == (other[name].spill_loads > 0) == (name == "spill")


@needs_nvcc
def test_a_cubin_and_its_source_lie_in_the_cache(cache: Cache) -> None:
    cubin = compile_cubin(SAXPY, "saxpy", "sm_90a", cache=cache)
    assert cubin.data[:4] == b"\x7fELF"
    assert cubin.path.read_bytes() == cubin.data
    assert cubin.path.with_suffix(".cu").read_text() == SAXPY
    assert "'saxpy' for 'sm_90a'" in cubin.log
    assert sorted(p.name for p in cubin.path.parent.iterdir()) == ["SHA256SUMS", "nvcc.log", "saxpy.cu", "saxpy.cubin"]


@needs_nvcc
def test_ptx_has_lines_and_no_folder(cache: Cache, tmp_path: Path) -> None:
    ptx = compile_ptx(SAXPY, "saxpy", "sm_90a", cache=cache)
    assert '"saxpy.cu"' in ptx
    assert "\t.loc\t1 4 " in ptx
    assert str(tmp_path) not in ptx
    assert ptx == compile_ptx(SAXPY, "saxpy", "sm_90a", cache=Cache(tmp_path / "other"))


@needs_nvcc
def test_the_emulator_runs_its_ptx(cache: Cache) -> None:
    x, y = np.arange(70, dtype=np.float32), np.ones(70, np.float32)
    module = Module(compile_ptx(SAXPY, "saxpy", "sm_90a", cache=cache))
    buffers = [Buffer("x", x.view(np.uint8), False), Buffer("y", y.view(np.uint8))]
    assert not module["saxpy"].launch((3, 1, 1), (32, 1, 1), [70, 2.0, *buffers]).reports
    assert (y == 2 * x + 1).all()  # whole numbers below 2**24: exact
    broken = Module(compile_ptx(SAXPY.replace("if (i < n)", ""), "saxpy", "sm_90a", cache=cache))
    (report, *_) = broken["saxpy"].launch((3, 1, 1), (32, 1, 1), [70, 2.0, *buffers]).reports
    assert report.kind == "out-of-bounds"
    assert str(report.access.place) == "saxpy.cu:4"


@needs_nvcc
def test_what_the_cache_holds_is_not_compiled_again(cache: Cache, commands: list[list[str]]) -> None:
    first = compile_cubin(SAXPY, "saxpy", "sm_90a", cache=cache)
    assert len(commands) == 1
    assert compile_cubin(SAXPY, "saxpy", "sm_90a", cache=cache) == first
    assert len(commands) == 1
    compile_cubin(SAXPY, "saxpy", "sm_80", cache=cache)
    compile_ptx(SAXPY, "saxpy", "sm_90a", cache=cache)
    compile_cubin(SAXPY.replace("a *", "2 *"), "saxpy", "sm_90a", cache=cache)
    assert len(commands) == 4
    first.path.with_name("nvcc.log").unlink()  # an entry that lost a file is made anew
    assert compile_cubin(SAXPY, "saxpy", "sm_90a", cache=cache).kernels == first.kernels
    assert len(commands) == 5


@needs_nvcc
def test_a_refused_source_gives_message_and_line(cache: Cache) -> None:
    text = refusal(lambda: compile_cubin(SAXPY.replace("a *", "zz *"), "saxpy", "sm_90a", cache=cache))
    assert text.startswith(
        'nvcc failed on saxpy.cu, line 4: error: identifier "zz" is undefined: '
        "`if (i < n) y[i] = zz * x[i] + y[i];` (full output: "
    )
    log = Path(text.rpartition("(full output: ")[2].removesuffix(")"))
    assert log.is_relative_to(cache.root)
    assert "zz" in log.read_text()


@needs_nvcc
def test_refused_assembly_leads_to_ptx_and_source(cache: Cache) -> None:
    source = SAXPY.replace("    if", '    asm volatile("bogus.f32 %0;" :: "f"(a));\n    if')
    text = refusal(lambda: compile_cubin(source, "saxpy", "sm_90a", cache=cache))
    assert " failed on saxpy.cu, line 4: error: Not a name of any known instruction: 'bogus', PTX line " in text
    assert ': `asm volatile("bogus.f32 %0;" :: "f"(a));` (full output: ' in text


@needs_nvcc
@pytest.mark.parametrize("arch", TARGETS)
def test_too_much_shared_memory(cache: Cache, arch: str) -> None:
    most = compile_cubin(SHARED.replace("SIZE", "12288"), "shared", arch, cache=cache)
    assert most.kernels["shared"].shared_bytes == 49152
    text = refusal(lambda: compile_cubin(SHARED.replace("SIZE", "12289"), "shared", arch, cache=cache))
    by_assembler = "error: Entry function 'shared' uses too much shared data (0xc004 bytes, 0xc000 max)"
    by_us = f"declares 49156 bytes of shared memory for {arch}, and at most 49152 can be"
    assert (by_us if arch == "sm_90a" else by_assembler) in text


def fake(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


VERSION = "case $1 in --version) echo 'Cuda compilation tools, release 13.0'; exit 0;; esac"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "nvcc failed on saxpy.cu: exit status 3 and no error message (full output: "),
        (
            "echo \"nvcc fatal   : Value 'sm_90a' is not defined for option 'gpu-architecture'\" >&2; exit 1",
            "nvcc failed on saxpy.cu: fatal: Value 'sm_90a' is not defined for option 'gpu-architecture' (full ",
        ),
        (
            "echo 'ptxas /tmp/a.ptx, line 7; error   : no such register' >&2; exit 1",
            "nvcc failed on saxpy.cu: error: no such register (full output: ",
        ),
    ],
)
def test_what_an_nvcc_may_say(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    tool = fake(tmp_path / "nvcc", f"{VERSION}\n{script}")
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: tool)
    assert refusal(lambda: compile_cubin(SAXPY, "saxpy", "sm_90a", cache=cache)).startswith(message)


def test_missing_is_one_line(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: None)
    missing = "nvcc is not installed: run `pip install 'convc[emit]'` for NVRTC, or `pip install 'convc[emit,nvcc]'`"
    assert refusal(lambda: compile_cubin(SAXPY, "saxpy", "sm_90a", cache=cache)) == missing
    assert refusal(lambda: compile_ptx(SAXPY, "saxpy", "sm_90a", cache=cache)) == missing


def test_names_and_architectures_are_checked_before_anything_runs(cache: Cache, commands: list[list[str]]) -> None:
    text = refusal(lambda: compile_ptx(SAXPY, "../saxpy", "sm_80", cache=cache))
    assert text == "a source's name must be a C identifier of at most 200 letters, got '../saxpy'"
    text = refusal(lambda: compile_ptx(SAXPY, "saxpy", "sm_91", cache=cache))
    assert text == f"unknown GPU architecture 'sm_91'; did you mean 'sm_90'?; convc emits for {', '.join(ARCHS)}"
    assert not commands


def test_one_that_does_not_start_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(nvidia, "toolkit_roots", lambda: [tmp_path / "toolkit"])
    monkeypatch.setattr(nvidia, "wheel_roots", lambda: [tmp_path / "wheel"])
    search = find_nvcc.__wrapped__
    assert search() is None
    fake(folder / "nvcc", "exit 1")
    assert search() is None
    (tmp_path / "toolkit/bin").mkdir(parents=True)
    works = fake(tmp_path / "toolkit/bin/nvcc", VERSION)
    assert search() == works
    (tmp_path / "wheel/bin").mkdir(parents=True)
    from_wheel = fake(tmp_path / "wheel/bin/nvcc", VERSION)
    assert search() == from_wheel
    better = fake(folder / "nvcc", VERSION)
    assert search() == better


@needs_nvcc
def test_it_is_taken_where_there_is_no_nvrtc(
    cache: Cache, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "find_library_file", lambda: None)
    assert cuda.find_cuda_compiler() == "nvcc"
    assert list(cuda.build_cubin(SAXPY, "saxpy", "sm_90a", cache).kernels) == ["saxpy"]
    assert ".entry saxpy(" in cuda.build_ptx(SAXPY, "saxpy", "sm_90a", cache)
    assert len(commands) == 2
