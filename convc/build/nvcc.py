"""nvcc, a CUDA toolkit's own compiler: the second way from CUDA C++ to PTX and cubin, where there is no NVRTC."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

from convc.build.archs import check_arch
from convc.build.cache import Cache
from convc.build.cubin import Cubin, check_shared, read_resources
from convc.build.names import check_name, without_folders
from convc.build.nvidia import INSTALL, find_files
from convc.build.refusal import Complaint, complaint_in_ptx, refusal
from convc.errors import ToolchainError

FLAGS = ("-std=c++17", "--fmad=true", "-lineinfo")
_FIRST_ERROR = re.compile(
    r"^(?:(?P<file>[^\s(]+)\((?P<line>\d+)\): |ptxas \S+, line (?P<ptx>\d+); |nvcc |ptxas )?"
    r"(?P<message>.*\b(?:error|fatal)\b.*)$",
    re.MULTILINE,
)


@functools.cache
def find_nvcc() -> Path | None:
    """nvcc on PATH, else in the wheels of the extra `nvcc`, else in a CUDA toolkit; None where none starts."""
    on_path = shutil.which("nvcc")
    for place in (*([Path(on_path)] if on_path else []), *find_files(("bin",), "nvcc")):
        try:
            answer = subprocess.run([place, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except OSError:
            continue
        if answer.returncode == 0 and "release" in answer.stdout:
            return place
    return None


def compile_cubin(source: str, name: str, arch: str, *, cache: Cache | None = None) -> Cubin:
    """As `nvrtc.compile_cubin`. Raises ToolchainError, of one line, where nvcc refuses the source."""
    entry = _build(source, name, arch, "cubin", ("-cubin", "--ptxas-options=-v", "--keep"), cache or Cache())
    data, log = (entry / f"{name}.cubin").read_bytes(), (entry / "nvcc.log").read_text("utf-8")
    check_shared(log, f"{name}.cu", arch)
    return Cubin(data, log, read_resources(data, log), entry / f"{name}.cubin")


def compile_ptx(source: str, name: str, arch: str, *, cache: Cache | None = None) -> str:
    """As `nvrtc.compile_ptx`. Raises ToolchainError, of one line, where nvcc refuses the source."""
    return (_build(source, name, arch, "ptx", ("-ptx",), cache or Cache()) / f"{name}.ptx").read_text("utf-8")


def _build(source: str, name: str, arch: str, kind: str, flags: tuple[str, ...], cache: Cache) -> Path:
    """The cache's entry with `<name>.<kind>`, the source and the log; compiles where there is none."""
    check_arch(arch)
    check_name(name)
    nvcc = find_nvcc()
    if nvcc is None:
        raise ToolchainError(f"nvcc is not installed: run `{INSTALL}` for NVRTC, or `pip install 'convc[emit,nvcc]'`")
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    key = Cache.key("nvcc", version, arch, kind, *FLAGS, *flags, name, source)
    if all(cache.get(key, file) for file in (f"{name}.{kind}", "nvcc.log")):
        return cache.root / key
    files: dict[str, bytes | Path] = {f"{name}.cu": source.encode()}
    with cache.scratch(files) as folder:
        command = [str(nvcc), *FLAGS, *flags, f"-arch={arch}", "-o", f"{name}.{kind}", f"{name}.cu"]
        result = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
        log = result.stdout + result.stderr
        files["nvcc.log"] = log.encode()
        made = folder / f"{name}.{kind}"
        if result.returncode != 0:
            entry = cache.put(Cache.key("refused", key), files)
            complaint = _complaint(log, folder / f"{name}.ptx", f"{name}.cu", result.returncode)
            raise refusal("nvcc", f"{name}.cu", f"{name}.cu", complaint, {f"{name}.cu": source}, entry / "nvcc.log")
        files[made.name] = without_folders(made.read_text("utf-8")).encode() if kind == "ptx" else made
        return cache.put(key, files)


def _complaint(log: str, ptx: Path, file: str, status: int) -> Complaint:
    match = _FIRST_ERROR.search(log)
    if match is None:
        return Complaint(f"exit status {status} and no error message")
    message = re.sub(r"\s+:", ":", match["message"]).strip()
    if match["file"]:
        return Complaint(message, match["file"], int(match["line"]))
    if match["ptx"] and ptx.is_file():
        return complaint_in_ptx(message, int(match["ptx"]), ptx.read_text("utf-8"), file)
    return Complaint(message)
