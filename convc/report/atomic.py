"""Files that are whole or absent: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from convc.errors import DataError


def write_atomically(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, making its folder where there is none; returns `path`.

    Raises DataError where the folder or the file cannot be written; an older file then stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that can be written with --out"
        ) from error
    finally:
        with suppress(OSError):  # after the rename, or where the folder was none, there is nothing to remove
            temporary.unlink()
    return path
