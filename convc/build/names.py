"""The names that a source goes by, in the cache and in its own PTX."""

from __future__ import annotations

import re

from convc.errors import ToolchainError

_FOLDER = re.compile(r'^(\s*\.file\s+\d+ ")[^"\n]*/', re.MULTILINE)


def check_name(name: str) -> None:
    """Raises ToolchainError where a name could lead a file out of its folder, or a symbol out of its file."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", name):
        raise ToolchainError(f"a source's name must be a C identifier of at most 200 letters, got {name!r}")


def without_folders(ptx: str) -> str:
    """PTX whose files have their names alone, so that it is the same on every machine."""
    return _FOLDER.sub(r"\1", ptx)
