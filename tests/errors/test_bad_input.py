"""Bad input gives one line that says the rule, the numbers and the place; the command's exit code is not zero."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convc

HEAD = "graph @net(%x: f32[2,3,8,8], %w: f32[4,3,3,3]) {\n"
TAIL = "\n  return %0\n}\n"


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """The command's exit code and its standard error."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-m", "convc", *arguments], capture_output=True, text=True, env=env, check=False
    )
    return done.returncode, done.stderr.strip()


TEXTS = {
    "wrong channels": (
        "  %0: f32[2,4,8,8] = conv2d(%x, %w) {groups=3}",
        r"line 2, column \d+: .*groups must divide C and K, but 3 does not divide C=3 and K=4",
    ),
    "unknown operator": ("  %0: f32[2,4,6,6] = conv3d(%x, %w)", r"line 2, column \d+: .*conv3d.*conv2d"),
    "cycle": (
        "  %0: f32[2,3,8,8] = add(%x, %1)\n  %1: f32[2,3,8,8] = relu(%0)",
        r"line 2, column \d+: .*%1 -> %0|%0 -> %1",
    ),
    "kernel larger than the padded input": (
        "  %0: f32[2,4,1,1] = conv2d(%x, %w) {dilation=[5, 1]}",
        r"kernel must fit in the padded input, but its height spans 11 \(3 taps, dilation 5\)"
        r" and the padded height is 8",
    ),
    "wrong declared type": (
        "  %0: f32[2,4,5,5] = conv2d(%x, %w)",
        r"f32\[2,4,6,6\].*f32\[2,4,5,5\]",
    ),
    "unclosed brace": ("  %0: f32[2,4,6,6] = conv2d(%x, %w) {padding=[0, 0]", r"line \d+, column \d+"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_malformed_text(name: str, tmp_path: Path) -> None:
    body, pattern = TEXTS[name]
    path = tmp_path / "net.conv"
    path.write_text(HEAD + body + TAIL)
    code, error = run("opt", str(path), "-p", "canonicalize")
    assert code == 1
    assert "\n" not in error, f"more than one line: {error}"
    assert error.startswith("convc: error: ")
    assert re.search(pattern, error), error


def test_a_missing_file_and_an_unknown_model(tmp_path: Path) -> None:
    for arguments, word in (
        (("opt", str(tmp_path / "none.conv"), "-p", "lower"), "none.conv"),
        (("inspect", "lenet6"), "lenet5"),
        (("compile", "lenet5", "--shape", "64,3,28,28", "--emit", str(tmp_path / "out")), "C=3"),
    ):
        code, error = run(*arguments)
        assert code not in (0, 70), error
        assert word in error
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_no_compiler(tmp_path: Path) -> None:
    code, error = run(
        "compile", "lenet5", "--emit", str(tmp_path / "out"), CONVC_CC="no-such-compiler", CONVC_CACHE_DIR=str(tmp_path)
    )
    assert code == 1
    assert "\n" not in error
    assert "no-such-compiler" in error


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    code, error = run("compile", "lenet5", "--emit", str(tmp_path / "out"), CONVC_CACHE_DIR=str(blocked))
    assert code == 1
    assert "\n" not in error
    assert "CONVC_CACHE_DIR" in error
    assert str(blocked) in error


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_layer_that_does_not_fit_its_input_is_named_once(mode: str) -> None:
    net = convc.nn.Sequential(("in", convc.nn.Sequential(("pool", convc.nn.AdaptiveMaxPool2d((6, 7))))))
    with pytest.raises(convc.IRError) as caught:
        convc.compile(net, (2, 3, 6, 5), mode=mode)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "in.pool: adaptive_max_pool(f32[n<=2,3,6,5]): output may be no larger than x, but its width is 7 and x's is 5"
    )


def test_arrays_that_do_not_fit() -> None:
    graph = convc.parse_graph("graph @g(%z: f32[n<=4,3], %labels: i32[n<=4]) {\n"
                              "  %0: f32[n<=4] = cross_entropy(%z, %labels)\n  return %0\n}")  # fmt: skip
    program = convc.compile(graph)
    z = np.zeros((2, 3), np.float32)
    for arrays, message in (
        ((z, np.array([0, 3])), "labels must be between 0 and 2, but labels[1] is 3"),
        ((z, np.array([-1, 0])), "labels must be between 0 and 2, but labels[0] is -1"),
        (
            (z, np.array([0.0, 1.0])),
            "labels must hold integers, but its dtype is float64; give whole numbers, such as int64",
        ),
        ((np.zeros((2, 4), np.float32), np.array([0, 1])), "%z must have shape [n<=4, 3], not [2, 4]"),
        ((np.zeros((5, 3), np.float32), np.zeros(5, int)), "rows must be between 1 and the capacity 4, but %z has 5"),
        ((np.zeros((0, 3), np.float32), np.zeros(0, int)), "rows must be between 1 and the capacity 4, but %z has 0"),
        ((z, np.zeros(3, int)), "all inputs must have one number of rows, but there are 2 and, in %labels, 3"),
        ((z,), "the program takes z: f32[n<=4,3], labels: i32[n<=4], but labels was not given"),
    ):
        with pytest.raises(convc.RunError) as caught:
            program(*arrays)
        assert str(caught.value) == message


def test_a_reshape_across_rows_says_why_the_batch_must_be_fixed() -> None:
    with pytest.raises(convc.IRError, match=r"may not mix batch rows.*use a fixed batch"):
        convc.parse_graph("graph @g(%x: f32[n<=4,3]) {\n  %0: f32[12] = reshape(%x)\n  return %0\n}")


def test_a_model_that_does_not_fit_its_input_names_the_layer() -> None:
    with pytest.raises(
        convc.IRError, match=r"conv1: conv2d\(.*x has C=3 channels in 1 group\(s\), so w .* must have C=3"
    ):
        convc.compile(convc.models.lenet5(), (8, 3, 28, 28))
