"""The tests for a GPU, smaller, on the stub driver: a first run on a device is not spent on mistakes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stub.fixture import reason

ROOT = Path(__file__).parents[2]


def run(**changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "tests/gpu"]
    environment = {k: v for k, v in os.environ.items() if k != "CONVC_GPU_TESTS"} | changes
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_without_a_gpu_they_are_skipped_before_anything_is_compiled() -> None:
    """A compilation would fail: there is no folder for it."""
    result = run(CONVC_CACHE_DIR="/dev/null/none")
    assert result.returncode == 0, result.stdout[-4000:]
    assert set(result.stdout.splitlines()[0].split()[0]) == {"s"}


@pytest.mark.slow
def test_the_gpu_tests_pass_on_the_stub_driver() -> None:
    if why := reason():
        pytest.skip(why)
    result = run(CONVC_GPU_TESTS="stub")
    assert result.returncode == 0, result.stdout[-4000:]
    assert "failed" not in result.stdout
