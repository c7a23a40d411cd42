"""What can go wrong around CUDA: one line each, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

import convc
from convc.build import cuda as build
from convc.build import nvcc
from convc.build.nvrtc_library import find_library_file
from convc.cli import main
from convc.codegen import env
from convc.codegen.cuda.emit import emit_cuda
from convc.errors import ConvcError, IRError, ToolchainError
from convc.ir.text import parse_graph
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CPU, CUDA
from convc.runtime.emulator import EmulatorExecutable

CONV = """graph @net(%x: f32[n<=4,2,6,5], %w: f32[3,2,3,3] parameter) {
  %0: f32[n<=4,3,4,3] = conv2d(%x, %w) loc(conv1)
  return %0
}
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "net.conv").write_text(CONV)
    return str(tmp_path / "net.conv")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def invoke(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments), prog_name="convc")
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return invoke


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither NVRTC nor nvcc."""
    monkeypatch.setattr(build, "find_library_file", lambda: None)
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: None)
    monkeypatch.setattr("convc.build.nvrtc.find_library_file", lambda: None)
    monkeypatch.setattr("convc.build.nvrtc_library.find_library_file", lambda: None)
    monkeypatch.setattr("convc.build.nvrtc.find_nvrtc", _missing)


def _missing() -> None:
    raise ToolchainError("NVRTC is not installed: run `pip install 'convc[emit]'`")


@pytest.mark.parametrize("command", ["compile", "inspect"])
def test_an_unknown_architecture(call: Call, model: str, tmp_path: Path, command: str) -> None:
    more = ["--emit", str(tmp_path / "out")] if command == "compile" else []
    code, _, err = call(command, model, "--target", "cuda", "--arch", "sm_91", *more)
    assert code == 1
    assert err.startswith("convc: error: unknown GPU architecture 'sm_91'; did you mean 'sm_90'?")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [("--target", "cpu"), ("--target", "cuda"), ("--kernel", "conv1"), ("--ir",)])
def test_an_unknown_architecture_whatever_is_shown(call: Call, model: str, options: tuple[str, ...]) -> None:
    code, out, err = call("inspect", model, "--arch", "sm90a", *options)
    assert (code, out) == (1, "")
    assert err.startswith("convc: error: unknown GPU architecture 'sm90a'; did you mean 'sm_90a'?")


@pytest.mark.parametrize("option", ["--ptx", "--sass"])
def test_machine_code_of_c(call: Call, model: str, option: str) -> None:
    code, _, err = call("inspect", model, option)
    assert code == 1
    assert f"{option} shows what CUDA is compiled to: add --target cuda" in err


def test_a_rung_that_is_not_there(call: Call, model: str) -> None:
    code, _, err = call("inspect", model, "--target", "cuda", "--level", "6")
    assert code == 2
    assert "6 is not in the range 0<=x<=5" in err


def test_without_a_compiler_the_source_is_written_all_the_same(
    call: Call, model: str, tmp_path: Path, bare: None
) -> None:
    code, out, _ = call("compile", model, "--target", "cuda", "--emit", str(tmp_path / "out"))
    assert code == 0
    assert "no binary for sm_90a: there is neither NVRTC nor nvcc; run `pip install 'convc[emit]'`" in " ".join(
        out.split()
    )
    assert (tmp_path / "out/src/net_step.cu").exists()
    assert not (tmp_path / "out/bin").exists()


@pytest.mark.parametrize("arguments", [("inspect", "--target", "cuda", "--sass"), ("run",)], ids=["inspect", "run"])
def test_without_a_compiler_there_is_no_machine_code(
    call: Call, model: str, arguments: tuple[str, ...], bare: None
) -> None:
    code, _, err = call(arguments[0], model, *arguments[1:])
    assert code == 1
    assert err == "convc: error: NVRTC is not installed: run `pip install 'convc[emit]'`\n"


def test_source_and_table_need_no_compiler(call: Call, model: str, bare: None) -> None:
    for options in (), ("--kernel", "conv1"), ("--ir",):
        code, out, err = call("inspect", model, "--target", "cuda", *options)
        assert (code, err) == (0, "")
        assert "conv1" in out


def test_without_a_compiler_nothing_is_emulated(bare: None) -> None:
    with pytest.raises(ToolchainError, match="NVRTC is not installed"):
        convc.compile(parse_graph(CONV), target="emulator")


@pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
def test_source_that_does_not_compile() -> None:
    graph = run(parse_graph(CONV), pipeline(train=False), CUDA).stages[-1][1]
    text = emit_cuda(graph).text.replace("const int rows = *rows_ptr;", "const int rows = *row_ptr;")
    with pytest.raises(ToolchainError) as refused:
        EmulatorExecutable(graph, text=text)
    line = next(i for i, x in enumerate(text.split("\n"), 1) if "*row_ptr" in x)
    assert f'failed on net_step.cu, line {line}: error: identifier "row_ptr" is undefined' in str(refused.value)
    assert "`const int rows = *row_ptr;`" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["{{ kernel.nothing }}", "a\n\n{% for %}"], ids=["undefined", "syntax"])
def test_a_template_error_names_template_and_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda/kernel.cu.j2").write_text(text)
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(tmp_path), undefined=jinja2.StrictUndefined)
    monkeypatch.setattr(env, "environment", lambda: templates)
    graph = run(parse_graph(CONV), pipeline(train=False), CUDA).stages[-1][1]
    with pytest.raises(IRError, match=r"^template cuda/kernel\.cu\.j2, line [13]: ") as refused:
        emit_cuda(graph)
    assert "\n" not in str(refused.value)


def test_a_tensor_that_32_bits_cannot_count() -> None:
    text = "graph @g(%x: f32[n<=4096,64,96,96]) { %0: f32[n<=4096,64,96,96] = relu(%x) return %0 }"
    graph = run(parse_graph(text), pipeline(train=False), CUDA).stages[-1][1]
    with pytest.raises(IRError, match=r"in 32 bits, but %x: .* has 2415919104, not fewer than 2147483648"):
        emit_cuda(graph)


@pytest.mark.parametrize("rows", [2**28 - 1, 2**28])
def test_the_first_tensor_that_32_bits_cannot_count(rows: int) -> None:
    text = f"graph @g(%x: f32[{rows},8]) {{ %0: f32[{rows},8] = relu(%x) return %0 }}"
    graph = run(parse_graph(text), pipeline(train=False), CUDA).stages[-1][1]
    if rows < 2**28:
        assert emit_cuda(graph).launches
        return
    with pytest.raises(IRError) as refused:
        emit_cuda(graph)
    assert str(refused.value) == (
        f"target cuda counts elements in 32 bits, but %x: f32[{rows},8] has 2147483648, not fewer than 2147483648; "
        "take a smaller batch"
    )


def test_a_graph_that_was_scheduled_for_vectors() -> None:
    graph = run(parse_graph(CONV.replace("n<=4", "3")), pipeline(train=False), CPU).stages[-1][1]
    with pytest.raises(ConvcError, match="must have one block tile for all phases; run the pass select_tile"):
        emit_cuda(graph)
