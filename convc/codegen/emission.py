"""A program on disk: the IR after every pass, the source as it is compiled, and a manifest of both.

    ir/00_input.conv, ir/01_canonicalize.conv, ...    src/    manifest.json

C is src/convc.h, src/<kernel>.c and src/<entry>.c, and what makes a program of them (`convc.codegen.main_program`);
CUDA is src/<entry>.cu and, compiled, bin/<entry>.<arch>.cubin.

The folder appears whole or not at all. The manifest holds a SHA-256 of each file, so that a folder is only
written over while it holds nothing but what convc wrote there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from convc.codegen.source import Source
from convc.codegen.summary import ProgramSummary
from convc.errors import DataError
from convc.passes.pipeline import Trace

MANIFEST = "manifest.json"


def emission(
    trace: Trace,
    source: Source,
    summary: ProgramSummary,
    facts: Mapping[str, Any],
    more: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Path and content of every file, those of `more` among them.

    `facts` (model, mode, target, ...) open the manifest; they must fit in JSON.
    """
    files = {f"ir/{i:02}_{name}.conv": f"{graph}\n" for i, (name, graph) in enumerate(trace.stages)}
    files |= {f"src/{name}": text for name, text in source.files().items()}
    contents = {name: text.encode() for name, text in files.items()} | dict(more or {})
    hashes = {name: _digest(content) for name, content in contents.items()}
    manifest = {**facts, "passes": [name for name, _ in trace.stages[1:]], **asdict(summary), "files": hashes}
    return {**contents, MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode()}


def write_emission(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, or none: they are written beside their place first, and then moved.

    An emission that is there already is replaced. Raises DataError where the folder holds anything else or a
    file that was edited since, and where it cannot be written.
    """
    try:
        stale = _written_before(folder)
        stage = (folder if folder.exists() else folder.parent) / f".{folder.name}-{uuid4().hex[:8]}"
        try:
            for name, content in files.items():
                _write(stage / name, content)
            _publish(stage, folder, stale, list(files))
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}; choose a folder that can be written"
        ) from None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _publish(stage: Path, folder: Path, stale: list[str], names: list[str]) -> None:
    if not folder.exists():
        os.rename(stage, folder)
        return
    # Into a folder that exists (perhaps the current one, or a mount) the files move one by one, the manifest last.
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage / name, folder / name)
    for name in set(stale) - set(names):
        (folder / name).unlink()


def _written_before(folder: Path) -> list[str]:
    """The files of an earlier emission in the folder; raises DataError where there is anything else."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; choose another name for the folder")
    present = sorted(_files(folder))
    known = _hashes(folder / MANIFEST)
    for name in present:
        if name not in known and not (known and name == MANIFEST):
            raise DataError(f"{folder} holds {name}, which convc did not write; choose another folder, or move it away")
        if name in known and _digest((folder / name).read_bytes()) != known[name]:
            raise DataError(f"{folder / name} was edited since convc wrote it; choose another folder, or move it away")
    return present


def _files(folder: Path) -> list[str]:
    found = []
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        found += [Path(root, name).relative_to(folder).as_posix() for name in (*names, *links)]
    return found


def _hashes(manifest: Path) -> dict[str, str]:
    """What the manifest says it was written with; empty where it is none of ours."""
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return files if isinstance(files, dict) else {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
