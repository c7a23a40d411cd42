"""NVRTC, NVIDIA's CUDA C++ compiler in a shared library: found, loaded and called through ctypes.

It needs no GPU, driver or toolkit, and is loaded by the first compilation, never by an import.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from ctypes.util import find_library
from dataclasses import dataclass, field
from pathlib import Path

from convc.build.archs import ARCHS
from convc.build.nvidia import INSTALL, find_files
from convc.errors import ToolchainError
from convc.locks import Once

LIBRARY_FOLDERS = ("lib", "lib64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib")


@dataclass(frozen=True)
class Outcome:
    """What one compilation gave. `binary` is None where it was refused; `ptx` may be there then, too."""

    binary: bytes | None
    ptx: str
    log: str


@dataclass(frozen=True)
class Nvrtc:
    """An NVRTC that loads: version (13, 0), the architectures that it compiles for, its file, folders of headers."""

    version: tuple[int, int]
    archs: tuple[str, ...]
    path: Path
    include: tuple[Path, ...]
    library: ctypes.CDLL = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"NVRTC {self.version[0]}.{self.version[1]}"

    def describe(self) -> str:
        """A text for cache keys. The version has no patch level: size and date of the file stand for it."""
        try:
            status = self.path.stat()
        except OSError:  # found by the loader, which does not say where
            return self.name
        return f"{self.name}; {status.st_size} bytes; {status.st_mtime_ns}"

    def compile(self, source: str, file: str, options: Iterable[str], headers: Mapping[str, str]) -> Outcome:
        """Compiles a text for `-arch=sm_..` to a cubin, for `-arch=compute_..` to PTX alone.

        `file` is the name that messages and line information give the text; `headers` are texts by name.
        Threads may compile side by side.
        """
        program = ctypes.c_void_p()
        flags = [*options, *(f"-I{folder}" for folder in self.include)]
        names, texts = _strings(headers), _strings(headers.values())
        text = (source.encode(), file.encode())
        _call(self.library, "nvrtcCreateProgram", ctypes.byref(program), *text, len(headers), texts, names)
        try:
            refused = self.library.nvrtcCompileProgram(program, len(flags), _strings(flags))
            log = self._text(program, "ProgramLog")
            # What the assembler refuses has its PTX all the same; what the front end refuses has none.
            ptx = self._text(program, "PTX") if not refused or "ptxas" in log else ""
            return Outcome(None if refused else self._output(program, "CUBIN"), ptx, log)
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        return self._output(program, what).rstrip(b"\0").decode(errors="replace")

    def _output(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        _call(self.library, f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        _call(self.library, f"nvrtcGet{what}", program, buffer)
        return buffer.raw


def find_nvrtc() -> Nvrtc:
    """NVRTC in the wheels of the extra `emit`, else in a toolkit ($CUDA_HOME, $CUDA_PATH), else where the loader looks.

    Raises ToolchainError, of one line, where there is none and where it does not load.
    """
    path = find_library_file()
    if path is None:
        raise ToolchainError(f"NVRTC is not installed: run `{INSTALL}`")
    return _load(path)


def find_library_file() -> Path | None:
    """The file that find_nvrtc would load; only its name where the loader alone knows the folder; None for none."""
    if found := next(find_files(LIBRARY_FOLDERS, "libnvrtc.so.[0-9]*"), None):
        return found
    name = find_library("nvrtc")
    return Path(name) if name else None


@Once
def _load(path: Path) -> Nvrtc:
    try:
        # NVRTC opens its second library by name alone: it has to be there already, and for all to see.
        for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")) if path.is_absolute() else ():
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolchainError(f"NVRTC does not load ({error}): run `{INSTALL}`, or mend that file") from None
    major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _call(library, "nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    _call(library, "nvrtcGetNumSupportedArchs", ctypes.byref(count))
    numbers = (ctypes.c_int * count.value)()
    _call(library, "nvrtcGetSupportedArchs", numbers)
    known = tuple(name for name in ARCHS if int(name.strip("sm_af")) in list(numbers))
    include = tuple(path.parent for path in find_files(("include",), "cuda_fp16.h"))[:1]
    return Nvrtc((major.value, minor.value), known, path, include, library)


def _call(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(library, function)(*arguments)
    if status != 0:
        raise ToolchainError(
            f"NVRTC's {function} failed with status {status}: run `{INSTALL}` for a version that convc is tested with"
        )


def _strings(texts: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    items = [text.encode() for text in texts]
    return (ctypes.c_char_p * len(items))(*items)
