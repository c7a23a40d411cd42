"""nvcc, a CUDA toolkit's own compiler: the second way from CUDA C++ to PTX and cubin, where there is no NVRTC."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

from convc.errors import ToolchainError
from convc.build.archs import check_arch
from convc.build.cache import Cache
from convc.build.cubin import Cubin, check_shared, read_resources
from convc.build.nvidia import find_files, toolkit_roots
from convc.build.refusal import Complaint, refusal

FLAGS = ("-std=c++17", "--fmad=true", "-lineinfo")
_FIRST_ERROR = re.compile(
    r"^(?:(?P<file>[^\s(]+)\((?P<line>\d+)\): )?(?P<message>.*(?:error|fatal)\b.*)$", re.MULTILINE
)


@functools.cache
def find_nvcc() -> Path | None:
    """nvcc on PATH, else in a CUDA toolkit; None where there is none that starts."""
    on_path = shutil.which("nvcc")
    for place in (*([Path(on_path)] if on_path else []), *find_files(("bin",), "nvcc", toolkit_roots())):
        try:
            answer = subprocess.run([place, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except OSError:
            continue
        if answer.returncode == 0 and "release" in answer.stdout:
            return place
    return None


def compile_cubin(source: str, name: str, arch: str, *, cache: Cache | None = None) -> Cubin:
    """As `nvrtc.compile_cubin`. Raises ToolchainError, of one line, where nvcc refuses the source."""
    entry = _build(source, name, arch, "cubin", ("-cubin", "--ptxas-options=-v"), cache or Cache())
    data, log = (entry / f"{name}.cubin").read_bytes(), (entry / "nvcc.log").read_text()
    check_shared(log, f"{name}.cu", arch)
    return Cubin(data, log, read_resources(data, log), entry / f"{name}.cubin")


def compile_ptx(source: str, name: str, arch: str, *, cache: Cache | None = None) -> str:
    """As `nvrtc.compile_ptx`. Raises ToolchainError, of one line, where nvcc refuses the source."""
    return (_build(source, name, arch, "ptx", ("-ptx",), cache or Cache()) / f"{name}.ptx").read_text()


def _build(source: str, name: str, arch: str, kind: str, flags: tuple[str, ...], cache: Cache) -> Path:
    """The cache's entry with `<name>.<kind>`, the source and the log; compiles where there is none."""
    check_arch(arch)
    nvcc = find_nvcc()
    if nvcc is None:
        raise ToolchainError("nvcc is not installed: run `pip install 'convc[emit]'` for NVRTC, or install a toolkit")
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    key = Cache.key("nvcc", version, arch, kind, *FLAGS, *flags, name, source)
    if cache.get(key, f"{name}.{kind}"):
        return cache.root / key
    files: dict[str, bytes | Path] = {f"{name}.cu": source.encode()}
    with cache.scratch(files) as folder:
        command = [str(nvcc), *FLAGS, *flags, f"-arch={arch}", "-o", f"{name}.{kind}", f"{name}.cu"]
        result = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
        log = result.stdout + result.stderr
        files["nvcc.log"] = log.encode()
        if result.returncode != 0:
            entry = cache.put(Cache.key("refused", key), files)
            match = _FIRST_ERROR.search(log)
            complaint = Complaint(f"exit status {result.returncode} and no error message")
            if match:
                complaint = Complaint(match["message"].strip(), match["file"] or "", int(match["line"] or 0))
            raise refusal("nvcc", f"{name}.cu", f"{name}.cu", complaint, {f"{name}.cu": source}, entry / "nvcc.log")
        files[f"{name}.{kind}"] = folder / f"{name}.{kind}"
        return cache.put(key, files)
