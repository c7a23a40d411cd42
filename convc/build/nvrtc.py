"""From CUDA C++ to PTX and cubin on any machine: names, options and cache around NVRTC, and its refusals."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from convc.build import archs
from convc.build.cache import Cache
from convc.build.cubin import Cubin, check_shared, read_resources
from convc.build.names import check_name, without_folders
from convc.build.nvrtc_library import Nvrtc, Outcome, find_library_file, find_nvrtc
from convc.build.refusal import Complaint, complaint_in_ptx, refusal
from convc.errors import ToolchainError

# No fast-math: results are compared with float64. A multiplication and an addition may become one FMA.
FLAGS = ("-std=c++17", "--fmad=true")

_FIRST_ERROR = re.compile(
    r"^(?:(?P<file>.+)\((?P<line>\d+)\): |ptxas application ptx input, line (?P<ptx>\d+); |nvrtc: |ptxas )?"
    r"(?P<message>(?:catastrophic )?(?:error|fatal)\b.+)$",
    re.MULTILINE,
)


def check_arch(name: str) -> str:
    """`name`, such as sm_80 or sm_90a, where convc and the NVRTC that is installed, if one is, both know it.

    Raises ToolchainError, of one line, with the nearest one and the list of all.
    """
    if find_library_file() is None:
        return archs.check_arch(name)
    nvrtc = find_nvrtc()
    return archs.check_arch(name, nvrtc.archs, f"{nvrtc.name} compiles")


def compile_ptx(
    source: str,
    name: str,
    arch: str,
    *,
    line_info: bool = True,
    headers: Mapping[str, str] | None = None,
    cache: Cache | None = None,
) -> str:
    """The PTX of a CUDA C++ text, for one architecture. `name`, a C identifier, names its file: `<name>.cu`.

    `headers` maps file names to texts that it may `#include "..."`; `line_info` keeps its lines (`.loc`). The PTX
    names no folder, so that it is the same on every machine. What the cache holds is not compiled again. Raises
    ToolchainError, of one line, where there is no NVRTC, where it does not know the architecture, and where it
    refuses the source.
    """
    job = _Job(source, name, arch, line_info, headers or {}, cache or Cache())
    return (job.build("ptx", f"-arch={arch.replace('sm_', 'compute_')}") / f"{name}.ptx").read_text("utf-8")


def compile_cubin(
    source: str,
    name: str,
    arch: str,
    *,
    line_info: bool = True,
    headers: Mapping[str, str] | None = None,
    cache: Cache | None = None,
) -> Cubin:
    """The binary of a CUDA C++ text for one architecture, and what each of its kernels takes.

    As compile_ptx, but for `line_info`: it leads to the source in the cache, where profilers find it. Raises
    ToolchainError also where a kernel declares more shared memory than can be launched.
    """
    job = _Job(source, name, arch, line_info, headers or {}, cache or Cache())
    path = job.build("cubin", f"-arch={arch}", "--ptxas-options=-v") / f"{name}.cubin"
    data, log = path.read_bytes(), path.with_name("nvrtc.log").read_text("utf-8")
    return Cubin(data, log, read_resources(data, log), path)


@dataclass(frozen=True)
class _Job:
    source: str
    name: str
    arch: str
    line_info: bool
    headers: Mapping[str, str]
    cache: Cache
    nvrtc: Nvrtc = field(default_factory=find_nvrtc)

    def __post_init__(self) -> None:
        check_arch(self.arch)
        check_name(self.name)
        for header in self.headers:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}\.(h|cuh)", header):
                raise ToolchainError(f"a header's name must be a C identifier and .h or .cuh, got {header!r}")

    @property
    def file(self) -> str:
        return f"{self.name}.cu"

    def build(self, kind: str, *options: str) -> Path:
        """The cache's entry with `<name>.<kind>`, the source and the log; compiles where there is none."""
        options = (*FLAGS, *options, *(("-lineinfo",) if self.line_info else ()))
        key = self.key(kind, *options)
        if all(self.cache.get(key, name) for name in (f"{self.name}.{kind}", "nvrtc.log")):
            return self.cache.root / key
        # An absolute name: NVRTC would write the process's folder before any other.
        place = str(self.cache.root / key / self.file)
        outcome = self.nvrtc.compile(self.source, place, options, self.headers)
        check_shared(outcome.log, self.file, self.arch)
        sources = {self.file: self.source, **self.headers}
        files: dict[str, bytes | Path] = {name: text.encode() for name, text in sources.items()}
        files["nvrtc.log"] = outcome.log.encode()
        ptx = without_folders(outcome.ptx).encode()
        if outcome.binary is None:
            entry = self.cache.put(Cache.key("refused", key), {**files, f"{self.name}.ptx": ptx})
            complaint = self._complaint(outcome)
            raise refusal(self.nvrtc.name, self.file, self.file, complaint, sources, entry / "nvrtc.log")
        return self.cache.put(key, {**files, f"{self.name}.{kind}": ptx if kind == "ptx" else outcome.binary})

    def key(self, *parts: str) -> str:
        own = [text for item in sorted(self.headers.items()) for text in item]
        includes = any("#include" in text for text in (self.source, *self.headers.values()))
        installed = [_digest(folder) for folder in self.nvrtc.include] if includes else []
        return Cache.key(self.nvrtc.describe(), *parts, self.name, self.source, Cache.key(*own), Cache.key(*installed))

    def _complaint(self, outcome: Outcome) -> Complaint:
        match = _FIRST_ERROR.search(outcome.log)
        if match is None:
            return Complaint("no error message")
        message = re.sub(r"\s+:", ":", match["message"])
        if match["file"]:
            return Complaint(message, Path(match["file"]).name, int(match["line"]))
        if not match["ptx"]:
            return Complaint(message)
        return complaint_in_ptx(message, int(match["ptx"]), outcome.ptx, self.file)


@functools.cache
def _digest(folder: Path) -> str:
    """What a folder's headers say: any may be included by another, so all count."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.h*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
