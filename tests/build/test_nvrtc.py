"""NVRTC: PTX and cubins of real kernels, what they take, the cache, and every refusal in one line."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cuda_sources import SAXPY, SGEMM, SHARED, SPILL

from convc.build import nvrtc
from convc.build.cache import Cache
from convc.build.cubin import Resources, elf_sections, read_resources
from convc.build.nvrtc import compile_cubin, compile_ptx, find_nvrtc
from convc.build.nvrtc_library import Nvrtc
from tests.build.helpers import TARGETS, needs_nvrtc, refusal


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The file of every compilation from here on."""
    made: list[str] = []
    real = Nvrtc.compile

    def record(self: Nvrtc, source: str, file: str, *rest: object) -> object:
        made.append(file)
        return real(self, source, file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Nvrtc, "compile", record)
    return made


# What is compiled


@needs_nvrtc
@pytest.mark.parametrize("arch", TARGETS)
def test_saxpy_takes_little(cache: Cache, arch: str) -> None:
    cubin = compile_cubin(SAXPY, "saxpy", arch, cache=cache)
    assert cubin.data[:4] == b"\x7fELF"
    assert cubin.path.read_bytes() == cubin.data
    assert f"'saxpy' for '{arch}'" in cubin.log
    (saxpy,) = cubin.kernels.values()
    assert list(cubin.kernels) == ["saxpy"]
    assert 6 <= saxpy.registers <= 16
    # Arguments: int, float and two pointers, after 0x160 bytes of launch parameters or more.
    assert saxpy.constant_bytes >= 0x160 + 24
    assert replace(saxpy, registers=0, constant_bytes=0) == Resources(0)


@needs_nvrtc
@pytest.mark.parametrize("arch", TARGETS)
def test_sgemm_keeps_all_in_registers(cache: Cache, arch: str) -> None:
    sgemm = compile_cubin(SGEMM, "sgemm", arch, cache=cache).kernels["sgemm"]
    assert sgemm.shared_bytes == 2 * 16 * 64 * 4
    assert sgemm.barriers == 1
    assert 32 <= sgemm.registers <= 255
    assert (sgemm.spill_stores, sgemm.spill_loads, sgemm.stack_bytes) == (0, 0, 0)


@needs_nvrtc
@pytest.mark.parametrize("arch", TARGETS)
def test_spills_are_seen(cache: Cache, arch: str) -> None:
    cubin = compile_cubin(SPILL, "spill", arch, cache=cache)
    spill = cubin.kernels["spill"]
    assert spill.registers == 32  # what the launch bounds leave
    assert (spill.shared_bytes, spill.barriers) == (4096, 1)
    # Of 64 values at least half have no register: 4 bytes of each are stored, and loaded again.
    assert min(spill.spill_stores, spill.spill_loads, spill.stack_bytes) >= 32 * 4
    assert f" {spill.spill_stores} bytes spill stores, {spill.spill_loads} bytes spill loads" in cubin.log


@needs_nvrtc
def test_every_kernel_of_a_source(cache: Cache) -> None:
    local = (
        "__global__ void indexed(float *y, int i) { float v[99]; for (int j = 0; j < 99; ++j) v[j] = y[j];"
        " y[0] = v[i]; }\n"
    )
    kernels = compile_cubin(SAXPY + SPILL + local, "all", "sm_80", cache=cache).kernels
    assert sorted(kernels) == ["_Z7indexedPfi", "saxpy", "spill"]
    assert [kernels[name].spill_stores > 0 for name in sorted(kernels)] == [False, False, True]
    # An array that is indexed at run time is in local memory, and is no spill.
    assert kernels["_Z7indexedPfi"].stack_bytes >= 99 * 4


@needs_nvrtc
@pytest.mark.parametrize("arch", TARGETS)
def test_ptx_has_the_lines_of_its_source(cache: Cache, arch: str) -> None:
    ptx = compile_ptx(SAXPY, "saxpy", arch, cache=cache)
    assert f".target {arch}\n" in ptx
    assert ".visible .entry saxpy(" in ptx
    assert "fma.rn.f32" in ptx
    assert ".loc\t1 4 " in ptx
    assert '.file\t1 "saxpy.cu"' in ptx
    assert str(cache.root) not in ptx
    plain = compile_ptx(SAXPY, "saxpy", arch, line_info=False, cache=cache)
    assert ".loc" not in plain
    assert "fma.rn.f32" in plain


@needs_nvrtc
def test_ptx_is_the_same_in_every_folder(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compilations: list[str]
) -> None:
    source = '#include "scale.cuh"\n' + SAXPY.replace("a * x[i]", "scale(a, x[i])")
    headers = {"scale.cuh": "__device__ inline float scale(float a, float x)\n{\n    return a * x + 1.0f;\n}\n"}
    here = compile_ptx(source, "saxpy", "sm_80", headers=headers, cache=cache)
    assert re.findall(r"\.file\t\d (.*)", here) == ['"saxpy.cu"', '"scale.cuh"']
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert compile_ptx(source, "saxpy", "sm_80", headers=headers, cache=Cache(tmp_path / "é'b c")) == here
    assert len(compilations) == 2


@needs_nvrtc
def test_a_cubin_leads_to_its_source(cache: Cache) -> None:
    cubin = compile_cubin(SAXPY, "saxpy", "sm_90a", cache=cache)
    source = cubin.path.with_suffix(".cu")
    assert source.read_text() == SAXPY
    assert ".debug_line" in elf_sections(cubin.data)
    assert str(source.parent).encode() in cubin.data
    bare = compile_cubin(SAXPY, "saxpy", "sm_90a", line_info=False, cache=cache)
    assert ".debug_line" not in elf_sections(bare.data)


@needs_nvrtc
def test_headers_own_and_installed(cache: Cache) -> None:
    source = '#include "scale.cuh"\n' + SAXPY.replace("a * x[i]", "SCALE * x[i]")
    ptx = compile_ptx(source, "saxpy", "sm_80", headers={"scale.cuh": "#define SCALE 3.0f\n"}, cache=cache)
    assert "0f40400000" in ptx  # 3.0
    (header,) = cache.root.glob("*/scale.cuh")  # beside the source
    assert (header.parent / "saxpy.cu").is_file()
    half = "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n#include <mma.h>\n" + SAXPY
    if find_nvrtc().include:
        assert compile_cubin(half, "saxpy", "sm_90a", cache=cache).kernels["saxpy"].registers


@needs_nvrtc
def test_threads_compile_side_by_side(cache: Cache) -> None:
    sources = {f"k{i}": SAXPY.replace("saxpy", f"k{i}") for i in range(6)}
    found: dict[str, list[str]] = {}

    def work(name: str) -> None:
        found[name] = list(compile_cubin(sources[name], name, "sm_80", cache=cache).kernels)

    threads = [threading.Thread(target=work, args=(name,)) for name in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [name] for name in sources}


# The cache


@needs_nvrtc
def test_what_the_cache_holds_is_not_compiled_again(cache: Cache, compilations: list[str]) -> None:
    cubin = compile_cubin(SPILL, "spill", "sm_80", cache=cache)
    ptx = compile_ptx(SPILL, "spill", "sm_80", cache=cache)
    assert compile_cubin(SPILL, "spill", "sm_80", cache=cache) == cubin
    assert compile_ptx(SPILL, "spill", "sm_80", cache=cache) == ptx
    assert [Path(file).name for file in compilations] == ["spill.cu", "spill.cu"]
    (cubin.path.parent / "nvrtc.log").unlink()  # an entry out of which a file was deleted
    assert compile_cubin(SPILL, "spill", "sm_80", cache=cache).kernels == cubin.kernels
    assert len(compilations) == 3


@needs_nvrtc
def test_the_key_changes_with_all_that_goes_in(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, compilations: list[str]
) -> None:
    def build(source: str = SAXPY, name: str = "saxpy", arch: str = "sm_80", **options: object) -> Path:
        return compile_cubin(source, name, arch, cache=cache, **options).path.parent  # type: ignore[arg-type]

    including = "#include <cuda_fp16.h>\n" + SAXPY
    entries = [
        build(),
        build(source=SAXPY + "\n"),
        build(name="other"),
        build(arch="sm_86"),
        build(line_info=False),
        build(headers={"a.h": ""}),
        build(headers={"a.h": "//"}),
        build(headers={"b.h": ""}),
        build(source=including),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(nvrtc, "FLAGS", (*nvrtc.FLAGS, "-DA"))
        entries.append(build())
    with monkeypatch.context() as patch:
        patch.setattr(nvrtc, "_digest", lambda folder: "other headers")
        entries.append(build(source=including))
        assert build() == entries[0]  # it includes nothing
    with monkeypatch.context() as patch:
        patch.setattr(Nvrtc, "describe", lambda self: "another NVRTC")
        entries.append(build())
    assert len(set(entries)) == len(entries) == len(compilations)
    assert build() == entries[0]


# What is refused


def refused(source: str, cache: Cache, arch: str = "sm_90a", **options: object) -> str:
    return refusal(lambda: compile_cubin(source, "saxpy", arch, cache=cache, **options))  # type: ignore[arg-type]


@needs_nvrtc
def test_a_refused_source_gives_message_and_line(cache: Cache) -> None:
    text = refused(SAXPY.replace("a *", "zz *"), cache)
    assert text.startswith(
        f'{find_nvrtc().name} failed on saxpy.cu, line 4: error: identifier "zz" is undefined: '
        "`if (i < n) y[i] = zz * x[i] + y[i];` (full output: "
    )
    log = Path(text.rpartition("(full output: ")[2].removesuffix(")"))
    assert log.is_relative_to(cache.root)
    assert "saxpy.cu(4): error: " in log.read_text()
    assert "zz * x[i]" in (log.parent / "saxpy.cu").read_text()


@needs_nvrtc
def test_the_first_error_is_given_and_no_warning_before_it(cache: Cache) -> None:
    text = refused(SAXPY.replace("int i", "int unused = 1;\n int i").replace("y[i];", "y[j] + k;"), cache)
    assert ', line 5: error: identifier "j" is undefined: ' in text


@needs_nvrtc
def test_a_refused_header_is_named(cache: Cache) -> None:
    source = '#include "scale.cuh"\n' + SAXPY
    text = refused(source, cache, headers={"scale.cuh": "\n__device__ int f() { return zz; }\n"})
    assert ' failed on saxpy.cu, scale.cuh line 2: error: identifier "zz" is undefined' in text
    assert ": `__device__ int f() { return zz; }` (full output: " in text
    assert 'line 1: catastrophic error: cannot open source file "scale.cuh": `#include "scale.cuh"`' in refused(
        source, cache
    )


@needs_nvrtc
def test_refused_assembly_leads_to_ptx_and_source(cache: Cache) -> None:
    source = SAXPY.replace("    if", '    asm volatile("bogus.f32 %0;" :: "f"(a));\n    if')
    text = refused(source, cache)
    assert " failed on saxpy.cu, line 4: error: Not a name of any known instruction: 'bogus', PTX line " in text
    assert ': `bogus.f32 %f1;`: `asm volatile("bogus.f32 %0;" :: "f"(a));` (full output: ' in text
    log = Path(text.rpartition("(full output: ")[2].removesuffix(")"))
    number = int(text.partition("PTX line ")[2].partition(":")[0])
    assert log.with_name("saxpy.ptx").read_text().split("\n")[number - 1].strip() == "bogus.f32 %f1;"
    assert " failed on saxpy.cu: error: Not a name of any known instruction" in refused(source, cache, line_info=False)


@needs_nvrtc
@pytest.mark.parametrize("arch", TARGETS)
def test_too_much_shared_memory(cache: Cache, arch: str) -> None:
    most = compile_cubin(SHARED.replace("SIZE", "12288"), "shared", arch, cache=cache)
    assert most.kernels["shared"].shared_bytes == 49152
    text = refusal(lambda: compile_cubin(SHARED.replace("SIZE", "12289"), "shared", arch, cache=cache))
    assert text == (
        f"kernel shared of shared.cu declares 49156 bytes of shared memory for {arch}, and at most 49152 can be: "
        "declare it `extern __shared__` and give its size at the launch"
    )


@needs_nvrtc
def test_unknown_architectures(cache: Cache) -> None:
    text = refused(SAXPY, cache, arch="sm_90b")
    assert text.startswith(
        f"unknown GPU architecture 'sm_90b'; did you mean 'sm_90'?; {find_nvrtc().name} compiles for sm_80, sm_86, "
    )
    assert refusal(lambda: compile_ptx(SAXPY, "saxpy", "hopper", cache=cache)).startswith(
        f"unknown GPU architecture 'hopper'; {find_nvrtc().name} compiles for sm_80"
    )
    assert not list(cache.root.glob("*"))


@needs_nvrtc
def test_names(cache: Cache) -> None:
    wrong = refusal(lambda: compile_ptx(SAXPY, "../saxpy", "sm_80", cache=cache))
    assert wrong == "a source's name must be a C identifier of at most 200 letters, got '../saxpy'"
    assert refused(SAXPY, cache, headers={"/etc/a.h": ""}).endswith("and .h or .cuh, got '/etc/a.h'")


@needs_nvrtc
def test_a_log_without_a_kernel_is_no_kernel_of_zeros(cache: Cache) -> None:
    cubin = compile_cubin(SAXPY, "saxpy", "sm_80", cache=cache)
    assert read_resources(cubin.data, cubin.log) == cubin.kernels
    text = refusal(lambda: read_resources(cubin.data, ""))
    assert "says nothing of kernel saxpy (1 of 1 are missing)" in text
    assert "got 3 bytes b'abc'" in refusal(lambda: elf_sections(b"abc"))


@needs_nvrtc
@pytest.mark.parametrize("size", [0, 100])
def test_damaged_binaries_are_compiled_again(cache: Cache, compilations: list[str], size: int) -> None:
    ptx = compile_ptx(SAXPY, "saxpy", "sm_80", cache=cache)
    cubin = compile_cubin(SAXPY, "saxpy", "sm_80", cache=cache)
    for file, compiled in (("*.ptx", 3), ("*.cubin", 4), ("*.log", 6)):  # each has a log
        for path in cache.root.glob(f"*/{file}"):
            with path.open("r+b") as damaged:
                damaged.truncate(size)
                damaged.write(b"!")
        assert compile_ptx(SAXPY, "saxpy", "sm_80", cache=cache) == ptx
        again = compile_cubin(SAXPY, "saxpy", "sm_80", cache=cache)  # it and its log tell the time
        assert (len(again.data), again.kernels, again.path) == (len(cubin.data), cubin.kernels, cubin.path)
        assert again.data == again.path.read_bytes()
        assert len(compilations) == compiled
