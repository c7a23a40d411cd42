"""From a program's CUDA to the binary that a device loads: with NVRTC, or with nvcc through `pycuda.compiler`."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from time import perf_counter
from typing import Any

from convc.build import nvcc, nvrtc
from convc.build.archs import check_arch
from convc.build.cache import Cache
from convc.build.cubin import Cubin, check_shared, read_resources
from convc.build.nvidia import INSTALL
from convc.build.nvrtc_library import find_library_file
from convc.build.threads import side_by_side
from convc.debug import LINES, SOURCE, say
from convc.errors import ToolchainError
from convc.locks import Lock
from convc.runtime.targets import COMPILERS

OPTIONS = [*nvcc.FLAGS, "--ptxas-options=-v"]


@dataclass(frozen=True)
class Build:
    """Which compiler makes binaries, for which architecture, kept in which cache."""

    arch: str
    compiler: str
    cache: Cache

    def images(self, texts: Sequence[str], name: str) -> list[Cubin]:
        """The binaries of CUDA C++ texts, compiled side by side; `name` is that of their file, of which each is a part.

        Raises ToolchainError where one is refused.
        """
        for text in texts:
            say(SOURCE, f"/* ---- {name}.cu ---- */\n{text}")
        began = perf_counter()
        make = nvrtc_image if self.compiler == "nvrtc" else pycuda_image
        with _listening():
            images = side_by_side(lambda text: make(text, name, self.arch, self.cache), texts)
        took, kernels = 1e3 * (perf_counter() - began), sum(len(image.kernels) for image in images)
        parts = f" in {len(images)} parts" if len(images) > 1 else ""
        say(LINES, f"convc: {name}: {kernels} kernels for {self.arch} by {self.compiler}{parts} in {took:.0f} ms")
        return images


def choose_compiler(asked: str) -> str:
    """`nvrtc` or `nvcc`. `auto` is $CONVC_CUDA_COMPILER, else NVRTC, else nvcc, and the log says so.

    Raises ToolchainError for a name that is none of COMPILERS, and where the machine has neither.
    """
    asked = os.environ.get("CONVC_CUDA_COMPILER", "auto") if asked == "auto" else asked
    if asked not in COMPILERS:
        raise ToolchainError(f"a CUDA compiler is one of {', '.join(COMPILERS)}, not {asked!r}; give another")
    if asked != "auto":
        return asked
    if find_library_file() is not None:
        return "nvrtc"
    if nvcc.find_nvcc() is None:
        raise ToolchainError(f"target cuda needs NVRTC or nvcc, and there is neither: run `{INSTALL}`")
    say(LINES, f"convc: NVRTC is not installed (`{INSTALL}`): compiling with nvcc, which takes longer")
    return "nvcc"


def nvrtc_image(text: str, name: str, arch: str, cache: Cache) -> Cubin:
    return nvrtc.compile_cubin(text, name, arch, cache=cache)


def pycuda_image(text: str, name: str, arch: str, cache: Cache) -> Cubin:
    """As nvrtc_image, with `pycuda.compiler` and nvcc; binary, source and log are kept in convc's cache."""
    import pycuda.compiler

    program = nvcc.find_nvcc()
    if program is None:
        raise ToolchainError(
            "--compiler nvcc needs nvcc, and there is none: run `pip install 'convc[emit,nvcc]'`, or use nvrtc"
        )
    check_arch(arch)
    said = pycuda.compiler.get_nvcc_version(str(program))
    key = Cache.key("pycuda.compiler", version("pycuda"), said, arch, *OPTIONS, name, text)
    file, log_file = f"{name}.cubin", "nvcc.log"
    if not (cache.get(key, file) and cache.get(key, log_file)):
        data, log = _compile(pycuda.compiler, text, name, arch, str(program))
        cache.put(key, {f"{name}.cu": text.encode(), file: data, log_file: log.encode()})
    folder = cache.root / key
    data, log = (folder / file).read_bytes(), (folder / log_file).read_text()
    check_shared(log, f"{name}.cu", arch)
    return Cubin(data, log, read_resources(data, log), folder / file)


_HEARD = threading.local()
"""`lines`: what PyCUDA warned of in this thread."""


_LISTENER = Lock()


@contextmanager
def _listening() -> Iterator[None]:
    """Keeps warnings for the thread that they came up in: how they are shown is one setting for all threads."""
    with _LISTENER, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _hear
        yield


def _hear(message: Warning | str, *_: object, **__: object) -> None:
    _HEARD.__dict__.setdefault("lines", []).append(str(message))


def _compile(compiler: Any, text: str, name: str, arch: str, program: str) -> tuple[bytes, str]:
    """Binary and log; PyCUDA hands the log of a compilation that worked over as a warning."""
    from pycuda.driver import CompileError

    _HEARD.lines = []
    try:
        data = compiler.compile(text, nvcc=program, options=list(OPTIONS), arch=arch, no_extern_c=True, cache_dir=False)
    except CompileError as error:
        lines = [line for line in str(error.stderr or error).splitlines() if "error" in line or "fatal" in line]
        raise ToolchainError(f"nvcc failed on {name}.cu: {lines[0] if lines else error.msg}") from None
    return data, "\n".join(_HEARD.lines)
