"""A folder that `convc compile` wrote, read back to be run: its graphs as they were, its source as it is now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from convc.build.files import read_whole
from convc.codegen.emission import MANIFEST
from convc.codegen.main_program import SUPPORT
from convc.errors import DataError
from convc.ir.core import Graph
from convc.ir.text import parse_graph
from convc.passes.pipeline import Trace

SOURCES = {"cpu": (".c", ".h"), "cuda": (".cu",)}
"""What the files of src/ end with that may be edited, by the target that a folder was compiled for."""


@dataclass(frozen=True)
class Folder:
    """`texts`: the source by the file's name in src/; `changed`: the files that are not as they were written."""

    path: Path
    compiled_for: str
    trace: Trace
    texts: Mapping[str, str]
    changed: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of CUDA's source: it is one file."""
        (text,) = self.texts.values()
        return text


def read_folder(path: Path) -> Folder:
    """The folder. Raises DataError, one line, where it is none of convc's, lacks a file, or its IR was edited.

    The source may be edited, and C may have more files: it is compared with what the IR means.
    """
    try:
        manifest = json.loads(_read(path, MANIFEST))
        compiled_for, mode = str(manifest["target"]), str(manifest["mode"])
        hashes = {str(name): str(digest) for name, digest in manifest["files"].items()}
        stages = [f"ir/{i:02}_{p}.conv" for i, p in enumerate(("input", *manifest["passes"]))]
        listed = {name for name in hashes if name.startswith("src/") and name not in SUPPORT}
        if compiled_for not in SOURCES or not set(stages) <= set(hashes) or not listed:
            raise ValueError
        if compiled_for == "cuda" and len(listed) > 1:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{path}/{MANIFEST} is not what `convc compile` writes: compile the model again") from None
    found = sorted(listed | _added(path, compiled_for))
    data = {name: _read(path, name) for name in found}
    texts = {name.removeprefix("src/"): _text(path / name, content) for name, content in data.items()}
    changed = tuple(name for name in found if _digest(data[name]) != hashes.get(name))
    trace = Trace([(file[6:-5], _stage(path, file, hashes[file])) for file in stages], mode)
    return Folder(path, compiled_for, trace, texts, changed)


def _added(path: Path, compiled_for: str) -> set[str]:
    """Files of C that were put beside those that were written; the build line takes them too."""
    if compiled_for != "cpu":
        return set()
    names = {f"src/{file.name}" for end in SOURCES["cpu"] for file in (path / "src").glob(f"*{end}")}
    return names - set(SUPPORT)


def _stage(folder: Path, file: str, digest: str) -> Graph:
    data = _read(folder, file)
    if _digest(data) != digest:
        raise DataError(
            f"{folder / file} was edited or damaged since it was compiled, and only files of src/ may be: "
            "compile the model again"
        )
    return parse_graph(data.decode())


def _read(folder: Path, file: str) -> bytes:
    try:
        return read_whole(folder / file)
    except DataError as error:
        raise DataError(f"{folder} is no folder of `convc compile`: {error}") from None


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
