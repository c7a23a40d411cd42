"""`convc(...)` runs the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from convc.cli import main


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def convc(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def run(*args: object) -> Result:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in args], prog_name="convc")
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A convolution, a bias and a ReLU as text."""
    path = tmp_path_factory.mktemp("graph") / "net.conv"
    path.write_text(
        """graph @net(%x: f32[n<=4,2,6,5], %w: f32[3,2,3,3] parameter, %b: f32[3] parameter) {
  %0: f32[n<=4,3,4,3] = conv2d(%x, %w) loc(conv1)
  %1: f32[n<=4,3,4,3] = bias_add(%0, %b) loc(conv1)
  %2: f32[n<=4,3,4,3] = relu(%1) loc(relu1)
  return %2
}
"""
    )
    return str(path)
