"""Shared by all tests: nothing they compile reaches the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("CONVC_NUM_THREADS", "1")  # the workers fill the cores; tests of threads ask for them
os.environ.setdefault("CONVC_TARGET", "cpu")  # what `auto` means, whatever this machine has

try:
    from hypothesis import settings
except ImportError:  # a machine that runs tests/gpu alone
    pass
else:
    settings.register_profile("convc", deadline=None, derandomize=True, print_blob=False)
    settings.load_profile("convc")


@pytest.fixture(scope="session", autouse=True)
def cache_for_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for the run, shared by all workers, where CONVC_CACHE_DIR is not set already."""
    if os.environ.get("CONVC_CACHE_DIR"):
        yield
        return
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own
    os.environ["CONVC_CACHE_DIR"] = str(shared / "convc-cache")
    yield
    del os.environ["CONVC_CACHE_DIR"]
