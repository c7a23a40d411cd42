"""A cache of its own for each test of the toolchains, and a record of what they start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from convc.build.cache import Cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that compiles or links, from here on."""
    run: list[list[str]] = []
    real = subprocess.run

    def record(command: list[object], **options: object) -> object:
        if "--version" not in command:
            run.append([str(part) for part in command])
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", record)
    return run
