"""From C source to a shared library: finds a compiler, compiles unit by unit, caches each result."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convc.build.cache import Cache
from convc.build.refusal import Complaint, refusal
from convc.build.threads import workers
from convc.errors import ToolchainError

# Not -O3: with gcc 12 it unrolls and jams the kernels' loops a second time and spills their accumulators.
# The kernels say with vector types what is a vector, hence no auto-vectorizer either.
COMPILE_FLAGS = (
    *("-O2", "-fno-tree-vectorize", "-march=native", "-ffp-contract=fast"),
    *("-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-fPIC", "-g0"),
    *("-Wall", "-Wno-unknown-pragmas", "-Wno-psabi", "-fdiagnostics-color=never"),
)
# Of a program that is built in a folder of its own: its numbers are those of the library.
PROGRAM_FLAGS = tuple(f for f in COMPILE_FLAGS if f not in ("-fPIC", "-g0", "-fdiagnostics-color=never"))
# -z defs: a name that no unit defines fails here, with its name, and not when the library is loaded.
LINK_FLAGS = ("-shared", "-pthread", "-lm", *(("-Wl,-z,defs",) if sys.platform == "linux" else ()))

_FIRST_ERROR = re.compile(
    r"^(?:(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? )?.*?"
    r"(?P<message>(?:fatal )?error: .+|undefined reference to .+)$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Compiler:
    """A C compiler that answered `--version`: command line, first line of the answer, gcc | clang | zig."""

    argv: tuple[str, ...]
    version: str
    kind: str

    @property
    def name(self) -> str:
        return "zig cc" if self.kind == "zig" else Path(self.argv[0]).name


@dataclass(frozen=True)
class CpuFeatures:
    """What `-march=native` reads off this CPU: architecture, model and instruction-set flags (sorted)."""

    machine: str
    model: str
    flags: tuple[str, ...]

    @property
    def vector_registers(self) -> int:
        """How many vectors of 64 bytes (16 float32) the register file holds."""
        if self.machine in ("aarch64", "arm64"):
            return 8  # 32 registers of 16 bytes
        if "avx512f" in self.flags:
            return 32  # 32 registers of 64 bytes
        if "avx2" in self.flags:
            return 8  # 16 registers of 32 bytes
        return 4  # 16 registers of 16 bytes

    def describe(self) -> str:
        """A stable text for cache keys: on a shared disk a binary may meet another CPU than its own."""
        return f"{self.machine}; {self.model}; {' '.join(self.flags)}"


@dataclass(frozen=True)
class Unit:
    """One C file: `name` is a C identifier, unique in its build, and names the file `<name>.c`."""

    name: str
    source: str


@functools.cache
def cpu_features() -> CpuFeatures:
    """The CPU that this process runs on."""
    machine = platform.machine()
    try:
        return parse_cpuinfo(Path("/proc/cpuinfo").read_text(errors="replace"), machine)
    except OSError:
        # No list of flags off Linux: the host's name keeps its binaries from every other machine.
        return CpuFeatures(machine, f"{platform.processor()} of {platform.node()}", ())


def parse_cpuinfo(text: str, machine: str) -> CpuFeatures:
    """Reads /proc/cpuinfo; the flags are those that all cores share: big and little may differ."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), []).append(value.strip())
    model = fields.get("model name") or fields.get("CPU part") or ["unknown model"]
    flags = [set(line.split()) for line in fields.get("flags") or fields.get("Features") or [""]]
    return CpuFeatures(machine, " + ".join(sorted(set(model))), tuple(sorted(set.intersection(*flags))))


def find_compiler() -> Compiler:
    """$CONVC_CC (arguments allowed), else cc, gcc or clang on PATH, else the `ziglang` package.

    Raises ToolchainError where CONVC_CC names no compiler that convc knows, and where there is none at all.
    """
    if os.environ.get("CONVC_CC", "").strip():
        return _compiler_asked_for(os.environ["CONVC_CC"])
    candidates = [(path,) for path in map(shutil.which, ("cc", "gcc", "clang")) if path]
    for argv in candidates:
        if found := _probe(argv):
            return found
    if importlib.util.find_spec("ziglang") and (found := _probe((sys.executable, "-m", "ziglang", "cc"))):
        return found
    raise ToolchainError(
        "no C compiler: none of cc, gcc, clang on PATH, nor the Python package ziglang, runs here; "
        "run `pip install ziglang`, or install gcc or clang as a system package, or set CONVC_CC"
    )


def find_cxx() -> Compiler:
    """$CXX (arguments allowed), else c++, g++ or clang++ on PATH. Only PyCUDA is built with it.

    Zig's is not looked for: its clang refuses the Boost that PyCUDA brings. Raises ToolchainError where there is none.
    """
    text = os.environ.get("CXX", "")
    try:
        asked = shlex.split(text)
    except ValueError as error:
        raise ToolchainError(f"CXX is not a command line ({error}): {text!r}") from None
    for path in filter(None, map(shutil.which, asked[:1] or ("c++", "g++", "clang++"))):
        if found := _probe((path, *asked[1:])):
            return found
    if asked:
        raise ToolchainError(f"CXX names {text!r}, which does not run as a C++ compiler here: set another, or unset it")
    raise ToolchainError(
        "no C++ compiler: none of c++, g++, clang++ on PATH runs here; install g++ as a system package, or set CXX"
    )


def _compiler_asked_for(text: str) -> Compiler:
    try:
        program, *arguments = shlex.split(text)
    except ValueError as error:
        raise ToolchainError(f"CONVC_CC is not a command line ({error}): {text!r}") from None
    path = shutil.which(program)
    if path is None:
        raise ToolchainError(
            f"CONVC_CC names {program!r}, which is no program on PATH: set it to a C compiler "
            "(gcc, clang, 'zig cc'), or unset it"
        )
    found = _probe((os.path.abspath(path), *arguments))
    if found is None:
        raise ToolchainError(
            f"CONVC_CC names {text!r}, which does not answer --version as gcc, clang or zig do: "
            "set it to one of these, or unset it"
        )
    return found


@functools.cache
def _probe(argv: tuple[str, ...]) -> Compiler | None:
    """The compiler behind a command line, or None where it does not run or is of no kind that convc knows."""
    try:
        answer = subprocess.run([*argv, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    if answer.returncode != 0 or not answer.stdout.strip():
        return None
    if "clang" in answer.stdout:
        # zig cc gives clang's version and says nowhere that it is zig.
        is_zig = any(Path(word).name in ("zig", "ziglang") for word in argv)
        kind = "zig" if is_zig else "clang"
    elif "Free Software Foundation" in answer.stdout:
        kind = "gcc"
    else:
        return None
    return Compiler(argv, answer.stdout.splitlines()[0].strip(), kind)


def build_shared(
    units: Iterable[Unit],
    *,
    compiler: Compiler | None = None,
    cache: Cache | None = None,
    headers: Mapping[str, str] | None = None,
) -> Path:
    """Compiles the units side by side, links them, and returns the path of the shared library in the cache.

    The first units are compiled while the later ones are still being made. `headers` maps file names to texts
    that the units may `#include "..."`. What the cache holds is not built again. Raises ToolchainError, of one
    line, where there is no compiler, where it refuses a unit, and where the cache cannot be written.
    """
    headers = headers or {}
    _check_headers(headers)
    build = _Build(compiler or find_compiler(), cache or Cache(), headers)
    keys: list[str] = []
    with workers() as pool:
        try:
            started = []
            for unit in _checked(units):
                keys.append(build.key(unit.name, unit.source, *COMPILE_FLAGS))
                started.append(pool.submit(build.compile, unit, keys[-1]))
            objects = [future.result() for future in started]
        finally:
            pool.shutdown(cancel_futures=True)  # one refused unit ends the build
    library_key = build.key(*keys, *LINK_FLAGS)
    return build.cache.get(library_key, "library.so") or build.link(objects, library_key)


def _checked(units: Iterable[Unit]) -> Iterator[Unit]:
    """The units, of which there must be one at least, with names that serve as file names."""
    seen: set[str] = set()
    for unit in units:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", unit.name):
            raise ToolchainError(f"a unit's name must be a C identifier of at most 200 letters, got {unit.name!r}")
        if unit.name in seen:
            raise ToolchainError(f"the units of a build need different names, got {unit.name!r} twice")
        seen.add(unit.name)
        yield unit
    if not seen:
        raise ToolchainError("a build needs at least 1 unit, got 0")


def _check_headers(headers: Mapping[str, str]) -> None:
    for name in headers:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}\.h", name):
            raise ToolchainError(f"a header's name must be a C identifier and .h, got {name!r}")


@dataclass(frozen=True)
class _Build:
    compiler: Compiler
    cache: Cache
    headers: Mapping[str, str]

    def key(self, *parts: str) -> str:
        headers = Cache.key(*(text for item in sorted(self.headers.items()) for text in item))
        compiler = Cache.key(*self.compiler.argv, self.compiler.version)
        return Cache.key(*parts, headers, compiler, cpu_features().describe())

    def compile(self, unit: Unit, key: str) -> Path:
        """The object file of one unit."""
        if known := self.cache.get(key, f"{unit.name}.o"):
            return known
        sources = {**self.headers, f"{unit.name}.c": unit.source}
        files: dict[str, bytes | Path] = {name: text.encode() for name, text in sources.items()}
        with self.cache.scratch(files) as folder:
            result = self._run(folder, *COMPILE_FLAGS, "-c", f"{unit.name}.c", "-o", f"{unit.name}.o")
            files["compiler.log"] = result.stdout.encode()
            if result.returncode != 0:
                raise self._refusal(unit.name, result, sources, files)
            files[f"{unit.name}.o"] = folder / f"{unit.name}.o"
            return self.cache.put(key, files) / f"{unit.name}.o"

    def link(self, objects: Sequence[Path], key: str) -> Path:
        """The shared library of all objects."""
        with self.cache.scratch({}) as folder:
            result = self._run(folder, *map(str, objects), *LINK_FLAGS, "-o", "library.so")
            log = result.stdout.encode()
            if result.returncode != 0:
                raise self._refusal("", result, {}, {"compiler.log": log})
            entry = self.cache.put(key, {"library.so": folder / "library.so", "compiler.log": log})
            return entry / "library.so"

    def _run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        # LC_ALL: the messages are read below. The C library that zig builds, once, goes to our cache, too.
        environment = {"ZIG_GLOBAL_CACHE_DIR": str(self.cache.root / "zig"), **os.environ, "LC_ALL": "C"}
        try:
            return subprocess.run(
                [*self.compiler.argv, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise ToolchainError(
                f"C compiler {self.compiler.argv[0]} does not start ({error.strerror}): set CONVC_CC to one that does"
            ) from error

    def _refusal(
        self,
        unit: str,
        result: subprocess.CompletedProcess[str],
        sources: Mapping[str, str],
        files: Mapping[str, bytes | Path],
    ) -> ToolchainError:
        """One line: the first error, its place and source line. No name of a unit: the link failed."""
        work = f"unit {unit}" if unit else "linking"
        entry = self.cache.put(Cache.key("refused", *sources.values(), result.stdout), files)
        complaint = Complaint(f"exit status {result.returncode} and no error message")
        if match := _FIRST_ERROR.search(result.stdout):
            complaint = Complaint(match["message"])
            if match["file"]:
                complaint = Complaint(match["message"], Path(match["file"]).name, int(match["line"]))
        log = entry / "compiler.log"
        return refusal(f"C compiler {self.compiler.name}", work, f"{unit}.c", complaint, sources, log)
