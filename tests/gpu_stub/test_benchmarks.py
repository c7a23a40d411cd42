"""The GPU scripts, at sizes of a toy on the stub driver: that they run to the end and write what they promise."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.stub.driver import Stub

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_gpu_benchmark(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(importlib.import_module("gpu_timing"), "WARM_UP", 1)
    path = importlib.import_module("gpu").main(["--small", "--rounds", "1", "--out", str(tmp_path)])
    found = json.loads(path.read_text())
    assert path.name == f"stub-h100-{found['date']}.json"
    assert [(row["layer"], row["direction"]) for row in (*found["convnet"], *found["resnet50"])] == [
        (layer, direction) for layer in ("L1", "3to64_7x7s2_224") for direction in ("fprop", "dgrad", "wgrad")
    ]
    assert all(row["seconds"]["convc"] > 0 for row in (*found["convnet"], *found["resnet50"]))
    assert found["lenet"]["seconds"]["convc"] > 0
    assert found["study"]["seconds"]["convc"] > 0
    assert not stub.reports


@pytest.mark.witness
def test_what_pytorch_is_timed_at_is_the_same_work(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tensors on the CPU, since there is no GPU: every direction of a strided layer, and a study that runs."""
    import torch

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    timing, layers, training = (importlib.import_module(f"gpu_{n}") for n in ("timing", "layers", "training"))
    monkeypatch.setattr(timing, "TORCH", "cpu")
    layer = layers.smaller(next(x for x in layers.RESNET50 if x.stride == 2 and x.r == 3))
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.linspace(-1, 2, math.prod(shape)).reshape(shape))
    for direction in layers.DIRECTIONS:
        built = layers.program(layer, direction)
        given = {k: torch.rand(layer.shapes[k], "cpu").numpy() - np.float32(0.5) for k in ("x", "w", "y")}
        expected = built(**{v.name: given[v.name] for v in built.graph.inputs})
        for name, run in layers.torch_runs(layer, direction, torch, compiled=False).items():
            result = run()
            if direction != "fprop":
                result = next(r for r in result if r is not None)
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-4, err_msg=f"{name} {direction}")
    training.torch_study(torch, training.load("synthetic:1x28x28:10:100").normalized(), 8, (0.1,), 1)


@pytest.mark.slow
def test_the_small_program(stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What compute-sanitizer runs."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    importlib.import_module("gpu_small_program").main()
    assert "grouped convolution: (4, 10, 5, 8), mean " in capsys.readouterr().out
    assert not stub.reports
