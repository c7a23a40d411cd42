"""Target cuda on a real device: `make gpu-test`. CONVC_GPU_TESTS=stub runs the tests, smaller, on the stub driver."""

from __future__ import annotations

import os

import pytest

from convc.runtime.cuda_probe import what_is_missing
from tests.stub.fixture import reason
from tests.stub.fixture import stub as stub

WHERE = os.environ.get("CONVC_GPU_TESTS", "")


@pytest.fixture(scope="session", autouse=True)
def device() -> None:
    """Skips where there is no device to run on; of the session, so that it comes before every other fixture."""
    if not WHERE:
        pytest.skip("make gpu-test runs this on a GPU: it sets CONVC_GPU_TESTS=1")
    if missing := reason() if WHERE == "stub" else what_is_missing():
        pytest.skip(missing)


@pytest.fixture(autouse=True)
def driver(request: pytest.FixtureRequest) -> None:
    """The stub, where it takes the device's place."""
    if WHERE == "stub":
        request.getfixturevalue("stub")


@pytest.fixture
def small() -> bool:
    """Whether kernels are emulated, so that sizes must be small."""
    return WHERE == "stub"
