"""`--count`: what the emulator counted, on cards, in the table and in the manifest."""

from __future__ import annotations

import json
import re

import pytest

from convc.build.nvrtc_library import find_library_file

needs_nvrtc = pytest.mark.skipif(
    find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'"
)
LINE = (
    r"^ \* counted \d+\.\d\d sectors a load \(ideal \d+\.\d\d\), \d+\.\d\d a store \(ideal \d+\.\d\d\),"
    r" no bank conflicts; batch rows 4$"
)


@needs_nvrtc
@pytest.mark.slow
def test_cards_of_an_emitted_program_and_its_manifest_agree(convc, graph_file, tmp_path):
    folder = tmp_path / "out"
    result = convc("compile", graph_file, "--target", "cuda", "--count", "--no-build", "--emit", folder)
    assert (result.code, result.err) == (0, "")
    text = (folder / "src/net_step.cu").read_text()
    (line,) = re.findall(LINE, text, re.MULTILINE)
    (kernel,) = json.loads((folder / "manifest.json").read_text())["kernels"]
    counted = kernel["counted"]
    assert counted["rows"] == 4
    for kind in ("loads", "stores"):
        figures = counted[kind]
        assert 0 < figures["ideal"] <= figures["sectors"] <= 32 * figures["requests"]
        each = f"{figures['sectors'] / figures['requests']:.2f}{' sectors' if kind == 'loads' else ''} a {kind[:-1]} "
        assert each in line
    assert counted["shared"]["bank_conflicts"] == 0
    assert counted["shared"]["wavefronts"] >= counted["shared"]["requests"] > 0
    # y is [4, 3, 4, 3]: 144 floats are 18 sectors, which cannot be stored with fewer.
    assert counted["stores"]["sectors"] >= 18
    assert convc("run", folder).code == 0


def test_without_it_nothing_is_counted(convc, graph_file, tmp_path):
    folder = tmp_path / "out"
    assert convc("compile", graph_file, "--target", "cuda", "--no-build", "--emit", folder).code == 0
    assert " * counted " not in (folder / "src/net_step.cu").read_text()
    assert [k["counted"] for k in json.loads((folder / "manifest.json").read_text())["kernels"]] == [None]


@needs_nvrtc
@pytest.mark.parametrize("level", ["0", "5"])
def test_a_kernel_with_its_counts(convc, graph_file, level):
    plain = convc("inspect", graph_file, "--target", "cuda", "--kernel", "conv1", "--level", level).out
    result = convc("inspect", graph_file, "--target", "cuda", "--kernel", "conv1", "--level", level, "--count")
    assert (result.code, result.err) == (0, "")
    rest = [x for x in result.out.splitlines() if not x.startswith(" * counted ")]
    assert rest == plain.splitlines(), "one line a card is all that differs, at any level"
    assert len(rest) + 1 == len(result.out.splitlines())


@needs_nvrtc
def test_the_table_of_counts(convc, graph_file):
    shown = convc("inspect", graph_file, "--target", "cuda", "--count").out
    _, _, table = shown.partition("\ncounted by the emulator, batch rows 4\n")
    name, headings, kernel, row = table.splitlines()
    assert name == "kernel"
    assert headings.endswith("bank conflicts")
    assert re.fullmatch(r"conv1_fprop_bias_relu_f32_\w+", kernel)
    assert re.fullmatch(r" +[\d,]+ +\d+\.\d\d +\d+\.\d\d +[\d,]+ +\d+\.\d\d +\d+\.\d\d +0", row)
    assert f"\n{table}\nglobal: " in convc("run", graph_file, "--counters").out


@pytest.mark.parametrize("command", ["inspect", "compile"])
def test_it_is_for_cuda(convc, graph_file, tmp_path, command):
    emit = ["--emit", tmp_path / "out"] if command == "compile" else []
    result = convc(command, graph_file, "--count", *emit)
    assert (result.code, result.out) == (1, "")
    assert result.err == "convc: error: --count counts what CUDA's kernels move in the emulator: add --target cuda\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["inspect", "compile"])
def test_it_needs_a_compiler(convc, graph_file, tmp_path, monkeypatch, command):
    monkeypatch.setattr("convc.build.cuda.find_library_file", lambda: None)
    monkeypatch.setattr("convc.build.nvrtc_library.find_library_file", lambda: None)
    monkeypatch.setattr("convc.build.cuda.nvcc.find_nvcc", lambda: None)
    monkeypatch.setenv("CONVC_CACHE_DIR", str(tmp_path / "cache"))
    emit = ["--emit", tmp_path / "out"] if command == "compile" else []
    result = convc(command, graph_file, "--target", "cuda", "--count", *emit)
    assert result.code == 1
    assert result.err.startswith("convc: error: NVRTC is not installed: run ")
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_counters_need_the_check(convc, graph_file):
    result = convc("run", graph_file, "--counters", "--no-check")
    assert result.code == 1
    assert result.err.startswith("convc: error: --counters needs the check, which counts what it sees; leave one of ")
