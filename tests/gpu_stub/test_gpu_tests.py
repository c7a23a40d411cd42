"""The tests for a GPU, smaller, on the stub driver: a first run on a device is not spent on mistakes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stub.fixture import reason

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_gpu_tests_pass_on_the_stub_driver() -> None:
    if why := reason():
        pytest.skip(why)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "tests/gpu"]
    environment = {**os.environ, "CONVC_GPU_TESTS": "stub"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-4000:]
    assert "failed" not in result.stdout
