"""Every example runs from an empty folder and prints what its docstring promises."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from convc.build.nvcc import find_nvcc
from convc.build.nvrtc_library import find_library_file

CUDA_END = r"findings, the first:\nrace: " if find_library_file() or find_nvcc() else "NVRTC is not installed"
EXAMPLES = Path(__file__).parent.parent / "examples"
PRINTS = {
    "define_a_model": (
        r"block\.conv1\.weight +\[16, 16, 3, 3\]",
        r"small_resnet: \d+ kernels in 1 launch, 12,906 parameters",
    ),
    "inspect_generated_code": (r"\+  %2: .* = fused\(%x, %conv1", r"/\* conv2_fprop\w+\n", r"acc\[tm\]\[tn\] \+="),
    "inspect_cuda": (r"store 0\[n, k, p, q\] = max", r"tile    \d+ x", r"copy_async\(&b_tile", CUDA_END),
    "learning_rate_study": (r"rate 1\.0 +diverged or at chance", r"out/small-study/report\.html"),
    "train_and_evaluate": (r"epoch 3: loss 0\.\d", r"saved out/lenet5\.safetensors"),
    "write_a_pass": (r"max_pool\(relu\(x\)\) -> relu", r"pool1_max_pool_relu_f32"),
}
"""For each example patterns that its output must hold, in order."""
WRITES = {
    "learning_rate_study": "out/small-study/report.html",
    "train_and_evaluate": "out/lenet5.safetensors",
}
LEAST_ACCURACY = {"define_a_model": 85.0, "train_and_evaluate": 90.0}
"""Test accuracy in per cent that training must reach; runs reach 94 and 95, and chance is 10."""


def output_of(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *argv: str) -> str:
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *argv])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def test_every_example_is_run() -> None:
    assert sorted(p.stem for p in EXAMPLES.glob("*.py")) == sorted(PRINTS)


@pytest.mark.parametrize("name", PRINTS)
def test_example(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = output_of(name, capsys, monkeypatch)
    at = 0
    for pattern in PRINTS[name]:
        found = re.compile(pattern).search(printed, at)
        assert found, f"{pattern} is not in what follows:\n{printed[at:]}"
        at = found.end()
    written = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert WRITES[name] in written if name in WRITES else not written
    if name in LEAST_ACCURACY:
        (accuracy,) = re.findall(r"^test accuracy ([\d.]+)%", printed, flags=re.MULTILINE)
        assert float(accuracy) >= LEAST_ACCURACY[name]


@pytest.mark.parametrize("name", PRINTS)
def test_docstring_says_how_to_run_it(name: str) -> None:
    assert f"    python examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")


def test_an_unknown_kernel_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"no kernel starts with nothing; there are relayout_f32, .*conv1_fprop"):
        output_of("inspect_generated_code", capsys, monkeypatch, "nothing")
