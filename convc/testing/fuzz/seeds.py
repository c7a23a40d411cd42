"""The seed of a commit: the same in every clone of it, with or without git."""

from __future__ import annotations

import hashlib
from pathlib import Path

import convc

SUFFIXES = (".py", ".j2", ".c", ".h")


def commit_seed() -> int:
    """A digest of convc's source files, 32 bits."""
    root = Path(convc.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return int.from_bytes(digest.digest()[:4])
