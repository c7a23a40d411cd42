"""Files that are written at once or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from convc.errors import DataError


def write_atomically(path: Path, content: bytes | str) -> Path:
    """Write to a temporary name in the same folder, then rename; returns `path`.

    Makes the folder where there is none. Raises DataError where the folder or the file cannot be written; an
    older file then stays as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from None
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)  # whatever stopped the write, Ctrl-C too
    return path
