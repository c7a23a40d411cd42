"""The toolchain: finding a compiler, what goes into a cache key, building, and a refusal in one line."""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
import multiprocessing.synchronize
import os
import platform
import re
import sys
from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest

from convc.build import toolchain
from convc.build.cache import Cache
from convc.build.shared_library import load_library
from convc.build.toolchain import Compiler, CpuFeatures, Unit, build_shared, find_compiler, parse_cpuinfo
from tests.build.helpers import refusal

ADD = Unit("add", "int add(int a, int b) { return a + b; }\n")
TWICE = Unit("twice", '#include "sum.h"\nint twice(int a) { return add(a, a); }\n')
HEADERS = {"sum.h": "int add(int a, int b);\n"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No CONVC_CC, no ziglang, and the only folder on PATH is the returned one, empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CONVC_CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    return folder


def fake_compiler(path: Path, answer: str, status: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
    path.chmod(0o755)
    return path


GCC = "gcc 1.2.3\nCopyright (C) Free Software Foundation, Inc."
CLANG = "clang version 4.5.6"


# Finding a compiler


def test_no_compiler_says_how_to_get_one(bare: Path) -> None:
    text = refusal(find_compiler)
    assert "no C compiler" in text
    assert "pip install ziglang" in text
    assert "system package" in text


def test_order_on_path(bare: Path) -> None:
    clang = fake_compiler(bare / "clang", CLANG)
    assert find_compiler() == Compiler((str(clang),), "clang version 4.5.6", "clang")
    gcc = fake_compiler(bare / "gcc", GCC)
    assert find_compiler() == Compiler((str(gcc),), "gcc 1.2.3", "gcc")
    cc = fake_compiler(bare / "cc", GCC)
    assert find_compiler().argv == (str(cc),)


@pytest.mark.parametrize(("answer", "status"), [(GCC, 1), ("a compiler of its own kind", 0), ("", 0)])
def test_one_that_does_not_serve_is_passed_over(bare: Path, answer: str, status: int) -> None:
    fake_compiler(bare / "cc", answer, status)
    gcc = fake_compiler(bare / "gcc", GCC)
    assert find_compiler().argv == (str(gcc),)


def test_ziglang_comes_last(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ziglang")
    package = bare / "ziglang"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(f"print({CLANG!r})")
    monkeypatch.syspath_prepend(bare)
    monkeypatch.setenv("PYTHONPATH", str(bare))
    argv = (sys.executable, "-m", "ziglang", "cc")
    assert find_compiler() == Compiler(argv, "clang version 4.5.6", "zig")
    gcc = fake_compiler(bare / "gcc", GCC)
    assert find_compiler().argv == (str(gcc),)


def test_convc_cc_goes_first_and_may_hold_arguments(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_compiler(bare / "cc", GCC)
    zig = fake_compiler(bare / "zig", CLANG)
    monkeypatch.setenv("CONVC_CC", "zig cc '-DNAME=a b'")
    assert find_compiler() == Compiler((str(zig), "cc", "-DNAME=a b"), "clang version 4.5.6", "zig")
    monkeypatch.setenv("CONVC_CC", " ")
    assert find_compiler().kind == "gcc"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("no-such-cc -O1", "CONVC_CC names 'no-such-cc', which is no program on PATH"),
        ("gcc 'open", "CONVC_CC is not a command line (No closing quotation)"),
        ("other", "CONVC_CC names 'other', which does not answer --version as gcc, clang or zig do"),
    ],
)
def test_bad_convc_cc(bare: Path, monkeypatch: pytest.MonkeyPatch, value: str, says: str) -> None:
    fake_compiler(bare / "cc", GCC)  # never taken instead
    fake_compiler(bare / "other", "tool 1.0")
    monkeypatch.setenv("CONVC_CC", value)
    assert refusal(find_compiler).startswith(says)


# CPU features


@pytest.mark.parametrize(
    ("machine", "flags", "registers"),
    [
        ("x86_64", ("avx", "avx2", "avx512f", "sse2"), 32),
        ("x86_64", ("avx", "avx2", "sse2"), 8),
        ("x86_64", ("sse2",), 4),
        ("aarch64", ("asimd", "fp"), 8),
        ("arm64", (), 8),
    ],
)
def test_vector_registers(machine: str, flags: tuple[str, ...], registers: int) -> None:
    assert CpuFeatures(machine, "a model", flags).vector_registers == registers


def test_cpuinfo_x86() -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: sse2 avx fpu\n\n" * 2
    cpu = parse_cpuinfo(text, "x86_64")
    assert cpu == CpuFeatures("x86_64", "Some CPU", ("avx", "fpu", "sse2"))
    assert cpu.describe() == "x86_64; Some CPU; avx fpu sse2"


def test_cpuinfo_arm_keeps_what_all_cores_share() -> None:
    little = "Features\t: fp asimd\nCPU part\t: 0xd03\n"
    big = "Features\t: sve fp asimd\nCPU part\t: 0xd09\n"
    assert parse_cpuinfo(little + big, "aarch64") == parse_cpuinfo(big + little, "aarch64")
    assert parse_cpuinfo(little + big, "aarch64").describe() == "aarch64; 0xd03 + 0xd09; asimd fp"


def test_this_cpu_never_reads_native() -> None:
    text = toolchain.cpu_features().describe()
    assert text.startswith(platform.machine())
    assert "native" not in text


# Building


def test_units_and_headers_become_one_library(cache: Cache) -> None:
    path = build_shared([ADD, TWICE], cache=cache, headers=HEADERS)
    assert path.is_relative_to(cache.root)
    assert ctypes.CDLL(str(path)).twice(21) == 42
    (unit,) = cache.root.glob("*/twice.c")  # the source, and its header, beside the object
    assert unit.read_text() == TWICE.source
    assert {each.name for each in unit.parent.iterdir()} == {
        "twice.c",
        "twice.o",
        "sum.h",
        "compiler.log",
        "SHA256SUMS",
    }


def test_cached_build_starts_no_compiler(cache: Cache, commands: list[list[str]]) -> None:
    compiler = find_compiler()
    commands.clear()
    first = build_shared([ADD, TWICE], compiler=compiler, cache=cache, headers=HEADERS)
    assert len(commands) == 3  # two units and the link
    assert build_shared([ADD, TWICE], compiler=compiler, cache=cache, headers=HEADERS) == first
    assert len(commands) == 3
    changed = replace(ADD, source=ADD.source.replace("+", "-"))
    assert build_shared([changed, TWICE], compiler=compiler, cache=cache, headers=HEADERS) != first
    assert [argv[-1] for argv in commands[3:]] == ["add.o", "library.so"]  # and no other unit again


def test_key_changes_with_all_that_goes_in(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = find_compiler()

    def built(unit: Unit = ADD, using: Compiler = compiler, headers: str = "") -> Path:
        return build_shared([unit], compiler=using, cache=cache, headers={"a.h": headers})

    paths = [
        built(),
        built(unit=replace(ADD, source=ADD.source + "\n")),
        built(using=replace(compiler, version="another")),
        built(using=replace(compiler, argv=(*compiler.argv, "-DA"))),
        built(headers="int a;"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(toolchain, "COMPILE_FLAGS", (*toolchain.COMPILE_FLAGS, "-O1"))
        paths.append(built())
    with monkeypatch.context() as patch:
        patch.setattr(toolchain, "LINK_FLAGS", (*toolchain.LINK_FLAGS, "-g0"))
        paths.append(built())
    with monkeypatch.context() as patch:
        patch.setattr(toolchain, "cpu_features", lambda: CpuFeatures("x86_64", "another", ("sse2",)))
        paths.append(built())
    assert len(set(paths)) == len(paths)
    assert built() == paths[0]


def test_refused_unit_gives_message_and_line(cache: Cache) -> None:
    bad = Unit("conv1_fprop", "void conv1_fprop(void) {\n  int good = 1;\n  foo = good;\n}\n")
    text = refusal(lambda: build_shared([ADD, bad], cache=cache))
    assert text.startswith("C compiler ")
    assert " failed on unit conv1_fprop, line 3: error: " in text
    assert "'foo'" in text
    assert ": `foo = good;` (full output: " in text
    log = Path(text.rpartition("(full output: ")[2].removesuffix(")"))
    assert log.is_relative_to(cache.root)
    assert "conv1_fprop.c:3:" in log.read_text()
    assert (log.parent / "conv1_fprop.c").read_text() == bad.source


def test_refused_header_is_named(cache: Cache) -> None:
    text = refusal(lambda: build_shared([TWICE], cache=cache, headers={"sum.h": "\nint add(;\n"}))
    assert " failed on unit twice, sum.h line 2: error: " in text
    assert ": `int add(;` (full output: " in text


def test_missing_function_is_named_when_linking(cache: Cache) -> None:
    text = refusal(lambda: build_shared([TWICE], cache=cache, headers=HEADERS))
    assert " failed on linking: " in text
    assert "add" in text.partition(" failed on linking: ")[2].partition("(full output")[0]


def test_compiler_that_dies_without_a_word(cache: Cache, tmp_path: Path) -> None:
    mute = Compiler((str(fake_compiler(tmp_path / "mute", "", 3)),), "1", "gcc")
    text = refusal(lambda: build_shared([ADD], compiler=mute, cache=cache))
    assert text.startswith("C compiler mute failed on unit add: exit status 3 and no error message (full")


def test_compiler_that_is_gone(cache: Cache, tmp_path: Path) -> None:
    gone = Compiler((str(tmp_path / "gone"),), "1", "gcc")
    assert "gone does not start (No such file or directory): set CONVC_CC" in refusal(
        lambda: build_shared([ADD], compiler=gone, cache=cache)
    )


def test_bad_names(cache: Cache) -> None:
    def build(*units: Unit, headers: tuple[str, ...] = ()) -> str:
        return refusal(lambda: build_shared(units, cache=cache, headers=dict.fromkeys(headers, "")))

    assert build() == "a build needs at least 1 unit, got 0"
    assert build(Unit("../a", "")).endswith("C identifier of at most 200 letters, got '../a'")
    assert build(Unit("-o", "")).endswith("got '-o'")
    assert build(ADD, ADD) == "the units of a build need different names, got 'add' twice"
    assert build(ADD, headers=("/etc/a.h",)).endswith("must be a C identifier and .h, got '/etc/a.h'")


def test_cache_that_cannot_be_written(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    compiler = find_compiler()
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        text = refusal(lambda: build_shared([ADD], compiler=compiler, cache=cache))
    assert text == (
        f"cache folder {cache.root} cannot be written (Read-only file system): set CONVC_CACHE_DIR to a folder that can"
    )


def build_together(root: Path, start: multiprocessing.synchronize.Barrier) -> None:
    cache = Cache(root)
    start.wait()
    path = build_shared([ADD, TWICE], cache=cache, headers=HEADERS)
    assert ctypes.CDLL(str(path)).twice(4) == 8


def test_two_processes_build_the_same_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    processes = [context.Process(target=build_together, args=(tmp_path / "cache", start)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list((tmp_path / "cache").glob("*/*.so"))) == 1
    assert len(list((tmp_path / "cache").glob("*/*.o"))) == 2
    assert not list((tmp_path / "cache").glob(".new-*"))


@pytest.mark.parametrize("damage", ["emptied", "cut", "a bit flipped"])
@pytest.mark.parametrize("pattern", ["*/twice.o", "*/library.so", "*/*.[os]*"])
def test_damaged_objects_and_libraries_are_built_again(
    cache: Cache, commands: list[list[str]], pattern: str, damage: str
) -> None:
    before = build_shared([ADD, TWICE], cache=cache, headers=HEADERS)
    content, built = before.read_bytes(), len(commands)
    damaged = list(cache.root.glob(pattern))
    assert damaged
    for path in damaged:
        data = path.read_bytes()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"emptied": b"", "cut": data[:middle], "a bit flipped": flipped}[damage])
    after = build_shared([ADD, TWICE], cache=cache, headers=HEADERS)
    assert (after, after.read_bytes()) == (before, content)
    assert len(commands) - built == len(damaged)
    assert ctypes.CDLL(str(after)).twice(21) == 42
    assert build_shared([ADD, TWICE], cache=cache, headers=HEADERS) == after
    assert len(commands) - built == len(damaged), "nothing is built twice"


def test_a_library_that_the_system_does_not_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "library.so").write_bytes(b"no library")
    text = refusal(lambda: load_library(tmp_path / "library.so"))
    assert re.search(r"does not load what was compiled \(.*library.so.*\): set CONVC_CACHE_DIR to", text)


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the package ziglang is not installed")
def test_zig_takes_the_flags(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVC_CC", raising=False)
    monkeypatch.setenv("PATH", "")
    # Zig builds a C library first, which takes it half a minute: kept from run to run.
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(Path(platformdirs.user_cache_dir("convc")) / "zig"))
    compiler = find_compiler()
    assert compiler.kind == "zig"
    path = build_shared([ADD, TWICE], compiler=compiler, cache=cache, headers=HEADERS)
    assert ctypes.CDLL(str(path)).twice(21) == 42
    bad = Unit("bad", "\nint bad(void) { return foo; }\n")
    text = refusal(lambda: build_shared([bad], compiler=compiler, cache=cache))
    assert text.startswith("C compiler zig cc failed on unit bad, line 2: error: ")
    assert "`int bad(void) { return foo; }`" in text
    missing = refusal(lambda: build_shared([TWICE], compiler=compiler, cache=cache, headers=HEADERS))
    assert "undefined symbol: add" in missing
