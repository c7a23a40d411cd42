"""What the tests of the toolchains share: which of them can run here, and a refusal in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convc.build.nvrtc_library import find_library_file
from convc.errors import ToolchainError

MISSING = "NVRTC is not installed: run `pip install 'convc[emit]'`"
TARGETS = ("sm_80", "sm_90a", "sm_100")
needs_nvrtc = pytest.mark.skipif(find_library_file() is None, reason=MISSING)


def refusal(call: Callable[[], object]) -> str:
    """What the call's ToolchainError says."""
    with pytest.raises(ToolchainError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    return text
