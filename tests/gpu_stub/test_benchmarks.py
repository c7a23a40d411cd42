"""The GPU scripts, at sizes of a toy on the stub driver: that they run to the end and write what they promise."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from tests.stub.driver import Stub

ROOT = Path(__file__).parents[2]


def test_gpu_benchmark(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(importlib.import_module("gpu_timing"), "WARM_UP", 1)
    path = importlib.import_module("gpu").main(["--small", "--rounds", "1", "--out", str(tmp_path)])
    found = json.loads(path.read_text())
    assert path.name == f"stub-h100-{found['date']}.json"
    assert [(row["layer"], row["direction"]) for row in found["convnet"][:4]] == [
        ("L1", "fprop"), ("L1", "dgrad"), ("L1", "wgrad"), ("L2", "fprop"),
    ]  # fmt: skip
    assert all(row["seconds"]["convc"] > 0 for row in (*found["convnet"], *found["resnet50"]))
    assert found["lenet"]["seconds"]["convc"] > 0
    assert found["study"]["seconds"]["convc"] > 0
    assert not stub.reports


def test_the_small_program(stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What compute-sanitizer runs."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    importlib.import_module("gpu_small_program").main()
    assert "grouped convolution: (4, 10, 5, 8), mean " in capsys.readouterr().out
    assert not stub.reports
