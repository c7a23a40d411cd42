"""SASS: what nvdisasm says, as instructions; counts; local memory; widths of loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cuda_sources import SAXPY, SGEMM, SPILL

from convc.build import nvidia, sass
from convc.build.cache import Cache
from convc.build.nvrtc import compile_cubin
from convc.build.nvrtc_library import find_library_file
from convc.build.sass import (
    Instruction,
    count,
    disassemble,
    find_nvdisasm,
    listing,
    local_memory,
    select,
    widest_loads,
)
from convc.errors import ToolchainError

MISSING = "is not installed: run `pip install 'convc[emit]'`"
ARCHS = ("sm_80", "sm_90a", "sm_100", "sm_120")


def code_of(source: str, name: str, arch: str, cache: Cache) -> list[Instruction]:
    if find_library_file() is None:
        pytest.skip(f"NVRTC {MISSING}")
    try:
        find_nvdisasm()
    except ToolchainError as error:
        pytest.skip(str(error))
    functions = disassemble(compile_cubin(source, name, arch, cache=cache).data)
    assert list(functions) == [name]
    return functions[name]


@pytest.mark.parametrize("arch", ARCHS)
def test_saxpy(cache: Cache, arch: str) -> None:
    code = code_of(SAXPY, "saxpy", arch, cache)
    assert [i.address for i in code] == [16 * i for i in range(len(code))]
    counted = count(code)
    assert (counted["FFMA"], counted["LDG.E"], counted["STG.E"], counted["NOP"]) == (1, 2, 1, 0)
    (guard,) = [i for i in code if i.predicate]
    assert guard.text == f"{guard.predicate} EXIT"
    (fma,) = select(code, "FFMA")
    assert re.fullmatch(r"FFMA R\d+, R\d+, (UR\d+|c\[0x0\]\[0x\w+\]), R\d+", fma.text)
    assert not local_memory(code)
    assert widest_loads(code) == {"LDG": 32}


@pytest.mark.parametrize("arch", ARCHS)
def test_sgemm_loads_16_bytes_at_once(cache: Cache, arch: str) -> None:
    code = code_of(SGEMM, "sgemm", arch, cache)
    assert widest_loads(code) == {"LDG": 128, "LDS": 128}
    assert len(select(code, "LDG.128")) == 2
    assert len(select(code, "LDG.E.128")) == len(select(code, "LDG")) == 2
    assert not select(code, "LDG.64")
    assert len(select(code, "LDS.128")) == 32  # two for each of 16 steps
    assert len(select(code, "FFMA")) == 256  # 4x4 for each
    assert len(select(code, "BAR")) == 2
    assert not local_memory(code)


def test_spilled_registers_go_to_local_memory(cache: Cache) -> None:
    code = code_of(SPILL, "spill", "sm_80", cache)
    assert {i.base for i in local_memory(code)} == {"LDL", "STL"}
    assert len(local_memory(code)) == len(select(code, "LDL")) + len(select(code, "STL")) > 64


def test_a_function_that_is_not_inlined_comes_by_itself(cache: Cache) -> None:
    code_of(SAXPY, "saxpy", "sm_90a", cache)
    source = (
        "__device__ __noinline__ float f(float x) { float v[9]; for (int i = 0; i < 9; ++i) v[i] = x * i;"
        " return v[(int)x]; }\n"
        'extern "C" __global__ void outer(float *y) { y[threadIdx.x] = f(y[threadIdx.x]); }\n'
    )
    functions = disassemble(compile_cubin(source, "outer", "sm_90a", cache=cache).data)
    assert list(functions) == ["outer", "$outer$_Z1ff"]
    outer, inner = functions.values()
    assert inner[0].address == outer[-1].address + 16
    assert len(select(outer, "CALL")) == 1
    assert local_memory(inner)
    assert not local_memory(outer)


@pytest.mark.parametrize(
    ("opcode", "bits"),
    [
        ("LDG.E", 32),
        ("LDG.E.128.CONSTANT", 128),
        ("LDG.E.U8", 8),
        ("LDS.S16", 16),
        ("LDS.64", 64),
        ("LDGSTS.E.BYPASS.128", 128),
        ("LDG.E.ENL2.256", 256),
        ("LDG.E.STRONG.SYS", 32),
    ],
)
def test_widths(opcode: str, bits: int) -> None:
    assert Instruction(0, "", opcode, "").bits == bits
    assert widest_loads([Instruction(0, "", opcode, "")]) == {opcode.partition(".")[0]: bits}


def test_listing() -> None:
    code = [Instruction(0, "", "S2R", "R0,SR_TID.X"), Instruction(16, "@!P0", "EXIT", "")]
    assert listing({"f": code}).splitlines() == ["f:", "  0000        S2R R0, SR_TID.X", "  0010   @!P0 EXIT"]


def test_missing_tool_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sass, "wheel_roots", list)
    monkeypatch.setattr(sass, "toolkit_roots", list)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError) as error:
        disassemble(b"")
    assert str(error.value) == f"nvdisasm {MISSING}"


def test_wheels_then_path_then_toolkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def tool(folder: str) -> Path:
        path = tmp_path / folder / "nvdisasm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\necho not an ELF file >&2\nexit 3\n")
        path.chmod(0o755)
        return path

    monkeypatch.setattr(sass, "wheel_roots", lambda: [tmp_path / "wheel"])
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    toolkit = tool("toolkit/bin")
    assert nvidia.toolkit_roots()[0] == tmp_path / "toolkit"
    assert find_nvdisasm() == toolkit
    on_path = tool("path")
    assert find_nvdisasm() == on_path
    wheel = tool("wheel/bin")
    assert find_nvdisasm() == wheel
    with pytest.raises(ToolchainError) as error:
        disassemble(b"abc")
    assert str(error.value) == (
        f"{wheel} does not read a cubin of 3 bytes (not an ELF file): run `pip install 'convc[emit]'`"
    )
    wheel.chmod(0o644)
    with pytest.raises(ToolchainError, match="does not start"):
        disassemble(b"abc")
