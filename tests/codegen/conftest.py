"""The option that writes golden files anew: `pytest tests/codegen --update-golden`, then review the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files from what is generated now")


class Golden:
    """Compares a text with a file in `golden/`, or writes the file."""

    def __init__(self, update: bool) -> None:
        self.update = update

    def check(self, name: str, text: str) -> None:
        path = GOLDEN / name
        if self.update:
            path.write_text(text)
            return
        assert path.exists(), f"no golden file {name}; make it with --update-golden and review it"
        assert text == path.read_text(), f"{name} differs; if that is meant, --update-golden and review the diff"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(bool(request.config.getoption("--update-golden", default=False)))
