"""Target cuda on a real device: `make gpu-test`. CONVC_GPU_TESTS=stub runs the tests, smaller, on the stub driver."""

from __future__ import annotations

import os

import pytest

from convc.runtime.cuda_probe import what_is_missing
from tests.stub.fixture import stub as stub

WHERE = os.environ.get("CONVC_GPU_TESTS", "")


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> None:
    """Skips where there is no device to run on."""
    if WHERE == "stub":
        request.getfixturevalue("stub")
    elif not WHERE:
        pytest.skip("make gpu-test runs this on a GPU: it sets CONVC_GPU_TESTS=1")
    elif missing := what_is_missing():
        pytest.skip(missing)


@pytest.fixture
def small() -> bool:
    """Whether kernels are emulated, so that sizes must be small."""
    return WHERE == "stub"
