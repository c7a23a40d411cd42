"""PyCUDA, built on a machine without a CUDA toolkit: `python -m convc.build.pycuda`.

PyCUDA comes as source, whose build wants CUDA's headers and a driver to link with. The headers are those of a toolkit,
where there is one, else those of NVIDIA's wheels; in place of the driver there is a library that has its name and its
functions' names, and nothing behind them. What is built works with the driver of the machine that runs it. The wheel is
kept in the cache, so that a second environment takes it from there.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click

from convc.build.cache import Cache
from convc.build.nvcc import find_nvcc
from convc.build.nvidia import toolkit_roots
from convc.build.toolchain import Compiler, find_cxx
from convc.errors import ConvcError, ToolchainError

OLDEST = "2026.1"
REQUIREMENT = f"pycuda>={OLDEST}"
HEADERS = ("nvidia-cuda-runtime==13.0.*", "nvidia-cuda-profiler-api==13.0.*")
NEEDED = ("cuda.h", "cudaProfiler.h")
_FUNCTION = re.compile(r"\bcu[A-Z]\w*")
# Not pip's own line, which says only that there are more.
_COMPLAINT = re.compile(r"^.*\b(?:error|ERROR): (?!subprocess-exited).*$", re.MULTILINE)


@dataclass(frozen=True)
class Toolkit:
    """An installed CUDA toolkit that has the headers which PyCUDA asks for."""

    root: Path

    @property
    def include(self) -> Path:
        return self.root / "include"

    @property
    def curand(self) -> Path | None:
        """The folder of cuRAND's library, where the toolkit has its header, too."""
        folders = (self.root / name for name in ("lib64", "lib"))
        has_header = (self.include / "curand.h").is_file()
        return next((f for f in folders if has_header and (f / "libcurand.so").exists()), None)


def installed() -> str:
    """The version of the PyCUDA that is installed, if convc can use it; else nothing."""
    try:
        found = version("pycuda")
    except PackageNotFoundError:
        return ""
    return found if _numbers(found) >= _numbers(OLDEST) else ""


def find_toolkit() -> Toolkit | None:
    """That of $CUDA_HOME, $CUDA_PATH, nvcc or the default folder; None where none has PyCUDA's headers."""
    nvcc = find_nvcc()
    roots = [*toolkit_roots(), *([nvcc.resolve().parents[1]] if nvcc else [])]
    return next((Toolkit(r) for r in roots if all((r / "include" / name).is_file() for name in NEEDED)), None)


def install(cache: Cache | None = None) -> str:
    """Installs PyCUDA into this interpreter's environment, built now or earlier, and returns its version.

    Does nothing where it is there. Raises ToolchainError, of one line, where there is no C++ compiler or no pip,
    where the package index has not what is asked for, and where the build fails.
    """
    if found := installed():
        return found
    if find_spec("pip") is None:
        raise ToolchainError(f"PyCUDA is installed by pip, which {sys.executable} has not: run `python -m ensurepip`")
    cache = cache or Cache()
    _pip(cache, "install", str(kept(cache) or build(cache)))
    return installed()


def kept(cache: Cache) -> Path | None:
    """The wheel that was built earlier for this Python, or None."""
    key = _key(find_toolkit())
    name = cache.get(key, "name")
    return cache.get(key, name.read_text("utf-8")) if name else None


def build(cache: Cache) -> Path:
    """Builds the wheel and returns its place in the cache. Takes a minute or two, and the package index."""
    cxx, toolkit = _compiler(), find_toolkit()
    command = shlex.join(cxx.argv)
    click.echo(f"building PyCUDA with {command} and the headers of {toolkit.root if toolkit else 'wheels'}")
    with cache.scratch({}) as folder:
        include = toolkit.include if toolkit else _headers(cache, folder / "headers")
        driver = build_driver(cxx, include, folder)
        source = _source(cache, folder)
        (source / "siteconf.py").write_text(_configuration(include, folder, toolkit), "utf-8")
        _pip(cache, "wheel", "--no-deps", str(source), "--wheel-dir", str(folder), CC=command, CXX=command)
        (wheel,) = folder.glob("*.whl")
        _check(cache, wheel, driver)
        return cache.put(_key(toolkit), {"name": wheel.name.encode(), wheel.name: wheel}) / wheel.name


def build_driver(cxx: Compiler, include: Path, folder: Path) -> Path:
    """libcuda.so in the folder: the functions that the headers name, each of which returns an error.

    Its soname is the driver's, so that what is linked with it asks for the driver.
    """
    text = "".join((include / name).read_text("utf-8", "replace") for name in NEEDED)
    names = dict.fromkeys(_FUNCTION.findall(text))  # each once, in order
    source, library = folder / "libcuda.cpp", folder / "libcuda.so"
    source.write_text("".join(f'extern "C" int {name}() {{ return 100; }}\n' for name in names), "utf-8")
    flags = ("-shared", "-fPIC", "-O1", "-w", "-Wl,-soname,libcuda.so.1")
    result = _run([*cxx.argv, *flags, str(source), "-o", str(library)])
    if result.returncode != 0:
        raise ToolchainError(
            f"{shlex.join(cxx.argv)} builds no library ({_first_error(result.stdout)}): "
            "install g++ or clang++ as a system package, or set CXX"
        )
    return library


def _compiler() -> Compiler:
    try:
        return find_cxx()
    except ToolchainError as error:
        raise ToolchainError(f"PyCUDA is built from C++: {error}") from None


def _key(toolkit: Toolkit | None) -> str:
    headers = str(toolkit.root.resolve()) if toolkit else " ".join(HEADERS)
    return Cache.key("pycuda", REQUIREMENT, str(sysconfig.get_config_var("SOABI")), platform.platform(), headers)


def _headers(cache: Cache, folder: Path) -> Path:
    """The folder with cuda.h, out of wheels that are unpacked here and installed nowhere."""
    _pip(cache, "install", "--no-deps", "--target", str(folder), *HEADERS)
    return next(folder.rglob(NEEDED[0])).parent


def _source(cache: Cache, folder: Path) -> Path:
    """PyCUDA's source, unpacked."""
    _pip(cache, "download", "--no-deps", "--no-binary", "pycuda", REQUIREMENT, "--dest", str(folder))
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _configuration(include: Path, driver: Path, toolkit: Toolkit | None) -> str:
    """PyCUDA's siteconf.py. cuRAND, which convc does not use, is in where the toolkit has it."""
    curand = toolkit.curand if toolkit else None
    values = {
        "CUDA_ROOT": str(include.parent),
        "CUDA_INC_DIR": [str(include)],
        "CUDADRV_LIB_DIR": [str(driver)],
        "CUDA_ENABLE_CURAND": curand is not None,
        "CURAND_LIB_DIR": [str(curand)] if curand else [],
        "CXXFLAGS": ["-O1", "-g0", "-w"],
    }
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())


def _check(cache: Cache, wheel: Path, driver: Path) -> None:
    """Loads what was built, with the library in the driver's place: a name that is missing is found now."""
    folder = wheel.parent / "unpacked"
    shutil.unpack_archive(wheel, folder, "zip")
    code = f"import ctypes; ctypes.CDLL({str(driver)!r}, ctypes.RTLD_GLOBAL); import pycuda._driver"
    result = _run([sys.executable, "-c", code], PYTHONPATH=str(folder))
    if result.returncode != 0:
        raise _failure(cache, "PyCUDA was built and does not load", result.stdout)


def _pip(cache: Cache, *arguments: str, **variables: str) -> None:
    result = _run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], **variables)
    if result.returncode != 0:
        raise _failure(cache, f"pip {arguments[0]} failed for PyCUDA", result.stdout)


def _run(command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Both streams as one text."""
    return subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def _failure(cache: Cache, what: str, log: str) -> ToolchainError:
    entry = cache.put(Cache.key("refused", log), {"build.log": log.encode("utf-8", "replace")})
    return ToolchainError(f"{what}: {_first_error(log)}; the whole log is {entry / 'build.log'}")


def _first_error(log: str) -> str:
    lines = _COMPLAINT.findall(log) or log.strip().splitlines()[-1:] or ["no message"]
    return lines[0].strip()[:300]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


@click.command(help="Build PyCUDA, with no CUDA toolkit needed, and install it into this Python's environment.")
def main() -> None:
    try:
        click.echo(f"PyCUDA {install()} is installed")
    except ConvcError as error:
        click.echo(f"convc: error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
