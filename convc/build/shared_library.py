"""Loading a shared library that the toolchain built."""

from __future__ import annotations

import ctypes
from pathlib import Path

from convc.errors import ToolchainError


def load_library(path: Path) -> ctypes.CDLL:
    """The library in this process. `path` is the cache's, which has compared it with its digest.

    Raises ToolchainError where the system does not load it, as from a disk that is mounted noexec.
    """
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolchainError(
            f"the system does not load what was compiled ({error}): set CONVC_CACHE_DIR to a folder on a disk from "
            "which programs may be run"
        ) from None
