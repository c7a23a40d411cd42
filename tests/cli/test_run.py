"""`convc run`: programs and folders, right and wrong ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from convc.build.nvrtc_library import find_library_file

needs_nvrtc = pytest.mark.skipif(
    find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'"
)
CONV = """graph @net(%x: f32[n<=5,3,9,9], %w: f32[4,3,3,3] parameter, %b: f32[4] parameter) {
  %0: f32[n<=5,4,7,7] = conv2d(%x, %w) loc(conv1)
  %1: f32[n<=5,4,7,7] = bias_add(%0, %b) loc(conv1)
  %2: f32[n<=5,4,7,7] = relu(%1) loc(conv1)
  return %2
}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.conv"
    path.write_text(CONV)
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from convc.cli import main

    folder = tmp_path_factory.mktemp("run")
    (folder / "net.conv").write_text(CONV)
    args = ["compile", str(folder / "net.conv"), "--target", "cuda", "--emit", str(folder / "out"), "--no-build"]
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 0
    return folder / "out"


@pytest.fixture
def folder(compiled: Path, tmp_path: Path) -> Path:
    """A folder of one's own to edit."""
    return Path(shutil.copytree(compiled, tmp_path / "out"))


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "src/net_step.cu"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(convc, *arguments: str) -> str:
    """The one line that the command ends with."""
    result = convc("run", *arguments)
    assert result.code == 1
    assert result.err.count("\n") == 1
    return result.err


def test_a_program_as_c(convc, model):
    result = convc("run", str(model), "--target", "cpu", "--rows", "3")
    assert result.code == 0
    assert result.out.startswith("%2: off by up to ")
    assert result.out.endswith("\nright\n")


@needs_nvrtc
@pytest.mark.parametrize("rows", ["1", "5"])
def test_a_program_in_the_emulator(convc, model, rows):
    result = convc("run", str(model), "--rows", rows)
    assert result.code == 0, result.err
    first, *_, last = result.out.splitlines()
    assert first.startswith("conv1_fprop_bias_relu_f32_")
    assert first.endswith("clean")
    assert last == "clean and right"


@needs_nvrtc
def test_a_folder_as_it_was_compiled(convc, folder):
    result = convc("run", str(folder))
    assert result.code == 0, result.err
    assert "was edited" not in result.out


@needs_nvrtc
def test_a_race_is_found_with_its_lines(convc, folder):
    edit(folder, "__syncthreads();", "")
    result = convc("run", str(folder))
    assert result.code == 1
    assert f"{folder / 'src/net_step.cu'} was edited since it was compiled" in result.out
    assert "race: a thread reads what another thread of its block writes" in result.out
    assert "in %2 at conv1" in result.out
    assert "copy_async(&b_tile[stage][depth][line]" in result.out
    assert "findings of the check" in result.err
    assert result.err.count("\n") == 1


@needs_nvrtc
def test_without_the_check_wrong_numbers_are_found_all_the_same(convc, folder):
    edit(folder, "nan_max((acc_value + b_ptr[k]), 0.0f)", "nan_max((acc_value - b_ptr[k]), 0.0f)")
    result = convc("run", str(folder), "--no-check")
    assert result.code == 1
    assert " of 980 numbers are wrong" in result.out
    assert "0 findings of the check, 1 of 1 results are wrong" in result.err


@needs_nvrtc
def test_counters(convc, model):
    result = convc("run", str(model), "--counters")
    assert result.code == 0
    assert "sectors of 32 bytes" in result.out
    assert "wavefronts" in result.out


@needs_nvrtc
def test_what_does_not_compile_is_one_line(convc, folder):
    edit(folder, "const int thread = threadIdx.x;", "const int thread = threadIdx.x")
    assert "failed on net_step.cu, line " in refused(convc, str(folder))


@needs_nvrtc
def test_a_kernel_that_was_renamed_is_missed(convc, folder):
    edit(folder, "conv1_fprop", "my_fprop")
    assert ".cu has no kernel conv1_fprop" in refused(convc, str(folder))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER", "--shape", "1,2"], "leave out --shape"),
        (["FOLDER", "--target", "cpu"], "was compiled for cuda: it runs with --target emulator or cuda"),
        (["EMPTY"], "is no folder of `convc compile`: cannot read"),
        (["MODEL", "--rows", "6"], "rows must be between 1 and the capacity 5, but %x has 6"),
        (["MODEL", "--target", "cpu", "--no-check"], "--no-check is for the emulator, not target cpu"),
        (["MODEL", "--target", "cpu", "--counters"], "--counters is for the emulator, not target cpu"),
        (["FOLDER", "--mode", "train"], "--mode is for models: "),
        (["lenet4"], "did you mean 'lenet5'"),
    ],
)
def test_bad_input_is_one_line(convc, folder, model, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"FOLDER": str(folder), "EMPTY": str(tmp_path / "empty"), "MODEL": str(model)}
    if "MODEL" in arguments and find_library_file() is None:
        arguments = [*arguments, "--target", "cpu"]
    assert message in refused(convc, *(places.get(a, a) for a in arguments))


@needs_nvrtc
def test_a_parameter_more_is_one_line(convc, folder):
    edit(folder, "const int *__restrict__ rows_ptr", "const int *__restrict__ rows_ptr, int more")
    line = refused(convc, str(folder))
    assert " has 6 parameters in net_step.cu, but is launched with 5 (x_ptr, w_ptr, b_ptr, " in line
    assert line.endswith(", rows_ptr): keep those that were emitted\n")
