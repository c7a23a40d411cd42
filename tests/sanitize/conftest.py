"""Each sanitizer's driver, and one without, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sanitize.harness import ADDRESS, PLAIN, THREAD, driver


@pytest.fixture(scope="session")
def address_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver(ADDRESS, tmp_path_factory.mktemp("address"))


@pytest.fixture(scope="session")
def thread_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver(THREAD, tmp_path_factory.mktemp("thread"))


@pytest.fixture(scope="session")
def plain_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver(PLAIN, tmp_path_factory.mktemp("plain"))
