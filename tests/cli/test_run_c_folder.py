"""`convc run` on a folder of C: as it was written, edited rightly and wrongly, and damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

NET = """graph @net(%x: f32[n<=5,3,9,9], %w: f32[4,3,3,3] parameter, %b: f32[4] parameter, %v: f32[5,196] parameter) {
  %0: f32[n<=5,4,7,7] = conv2d(%x, %w) loc(conv1)
  %1: f32[n<=5,4,7,7] = bias_add(%0, %b) loc(conv1)
  %2: f32[n<=5,4,7,7] = relu(%1) loc(conv1)
  %3: f32[n<=5,196] = flatten(%2)
  %4: f32[n<=5,5] = linear(%3, %v) loc(fc1)
  return %4
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from convc.cli import main

    folder = tmp_path_factory.mktemp("c")
    (folder / "net.conv").write_text(NET)
    with pytest.raises(SystemExit) as stop:
        main(["compile", str(folder / "net.conv"), "--emit", str(folder / "out"), "--no-build"])
    assert stop.value.code == 0
    return folder / "out"


@pytest.fixture
def folder(compiled: Path, tmp_path: Path) -> Path:
    """A folder of one's own to edit."""
    return Path(shutil.copytree(compiled, tmp_path / "out"))


def kernel(folder: Path, start: str) -> Path:
    (found,) = (folder / "src").glob(f"{start}*.c")
    return found


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old} is in {path} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def refused(convc: Callable, *arguments: object) -> str:
    """The one line that the command ends with."""
    result = convc("run", *arguments)
    assert result.code == 1
    assert result.err.count("\n") == 1
    return result.err


def test_as_it_was_compiled(convc, folder):
    result = convc("run", folder)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("%4: off by up to ")
    assert result.out.endswith("\nright\n")
    assert convc("run", folder, "--target", "cpu", "--check", "--rows", "2", "--seed", "7").code == 0


def test_an_edit_that_changes_nothing(convc, folder):
    path = kernel(folder, "conv1")
    edit(path, "(acc_value + b_ptr[", "(1.0f * acc_value + b_ptr[")
    result = convc("run", folder)
    assert result.code == 0
    assert result.out.startswith(f"{path} was edited since it was compiled\n%4: ")
    assert result.out.endswith("\nright\n")


def test_an_edit_that_breaks_a_number_is_found_with_its_kernel(convc, folder):
    path = kernel(folder, "conv1")
    edit(path, "(acc_value + b_ptr[", "(acc_value - b_ptr[")
    line = refused(convc, folder)
    assert f"out: 1 of 1 results are wrong; kernel src/{path.name} is the first that is wrong, in %2: " in line
    assert re.search(r" \d+ of 980 numbers are wrong, off by up to ", line)


def test_the_second_kernel_at_fault_is_told_from_the_first(convc, folder):
    path = kernel(folder, "fc1")
    edit(path, " acc_value = acc[tm][tn];", " acc_value = acc[tm][tn] * 1.01f;")
    assert f"kernel src/{path.name} is the first that is wrong, in %4_blocked: " in refused(convc, folder)


def test_a_step_that_leaves_a_kernel_out_is_found(convc, folder):
    step = folder / "src/net_step.c"
    name = kernel(folder, "conv1").stem
    text = step.read_text()
    call = re.search(rf"    {name}\(.*?\);\n", text, re.DOTALL)
    step.write_text(text.replace(call[0], ""))
    assert "each kernel is right by itself: look at src/net_step.c, which runs them" in refused(convc, folder)


def test_what_does_not_compile_is_one_line(convc, folder):
    path = kernel(folder, "conv1")
    text = path.read_text()
    number = text[: text.index("\nvoid conv1_")].count("\n") + 2
    path.write_text(text.replace("\nvoid conv1_", "\nvoid 1conv1_"))
    line = refused(convc, folder)
    assert re.search(rf" failed on unit {path.stem}, line {number}: .*error: .*: `void 1conv1_", line)


def test_a_kernel_that_was_renamed_is_missed(convc, folder):
    path = kernel(folder, "fc1")
    edit(path, f"void {path.stem}(", "void renamed(")
    assert re.search(rf"failed on linking.*undefined.* .?{path.stem}", refused(convc, folder))


def test_a_step_that_was_renamed_is_missed(convc, folder):
    edit(folder / "src/net_step.c", "void net_step(", "void my_step(")
    assert "no file defines net_step, which runs the kernels: keep its name" in refused(convc, folder)


def test_a_file_more_is_built_too(convc, folder):
    path = kernel(folder, "conv1")
    edit(path, '#include "convc.h"', '#include "convc.h"\n#include "mine.h"')
    edit(path, "(acc_value + b_ptr[", "(acc_value + half(2.0f) * b_ptr[")
    (folder / "src/mine.h").write_text("float half(float);\n")
    (folder / "src/mine.c").write_text('#include "mine.h"\nfloat half(float x) { return 0.5f * x; }\n')
    assert convc("run", folder).code == 0
    (folder / "src/mine.c").write_text('#include "mine.h"\nfloat half(float x) { return 0.6f * x; }\n')
    assert f"kernel src/{path.name} is the first that is wrong" in refused(convc, folder)


def test_one_that_brings_its_process_down_is_one_line(convc, folder):
    path = kernel(folder, "conv1")
    text = path.read_text()
    begin = text.index("{", text.index(f"void {path.stem}("))
    path.write_text(f"{text[: begin + 1]}\n    *(volatile int *)16 = 0;{text[begin + 1 :]}")
    line = refused(convc, folder)
    assert "ended its process, so a kernel reads or writes where it must not: look at src/conv1_" in line


def test_a_file_that_is_missing(convc, folder):
    path = kernel(folder, "conv1")
    path.unlink()
    line = refused(convc, folder)
    assert f"{folder} is no folder of `convc compile`: cannot read {path}: No such file or directory" in line


def test_the_ir_may_not_be_edited(convc, folder):
    path = sorted((folder / "ir").iterdir())[3]
    path.write_text(path.read_text() + "// mine\n")
    assert f"{path} was edited or damaged since it was compiled, and only files of src/ may be" in refused(
        convc, folder
    )


def test_text_that_is_none(convc, folder):
    path = kernel(folder, "conv1")
    path.write_bytes(b"\xff")
    assert f"{path} is not UTF-8 text (byte 0)" in refused(convc, folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("files"),
        lambda m: m.pop("passes"),
        lambda m: m.pop("mode"),
        lambda m: m.update(target="tpu"),
        lambda m: m.update(target="cuda"),
        lambda m: m.update(files={}),
        lambda m: m.update(files=[]),
        lambda m: m["passes"].append("no_such_pass"),
    ],
)
def test_a_foreign_manifest(convc, folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "manifest.json is not what `convc compile` writes: compile the model again" in refused(convc, folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "emulator"), "was compiled for cpu: it runs with --target cpu"),
        (("--target", "cuda"), "was compiled for cpu: it runs with --target cpu"),
        (("--shape", "1,2"), "a folder has the shape that it was compiled for: leave out --shape"),
        (("--mode", "train"), "--mode is for models: "),
        (("--counters",), "--counters is for the emulator, not target cpu"),
        (("--no-check",), "--no-check is for the emulator, not target cpu"),
        (("--rows", "6"), "rows must be between 1 and the capacity 5, but %x has 6"),
    ],
)
def test_options_that_do_not_fit(convc, folder, arguments, message):
    assert message in refused(convc, folder, *arguments)
