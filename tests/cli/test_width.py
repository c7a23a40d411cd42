"""What commands print fits 80 columns; names of kernels stay whole, and so do paths, source and IR."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc.build.nvrtc_library import find_library_file
from convc.cli import main
from convc.cli.models import resolve_model
from convc.compiler import model_graph, trace_of
from convc.optim import optimizer_of
from convc.runtime.targets import emit, passes_target
from convc.table import LEAST, Table, shortened

COLUMNS = 80
needs_nvrtc = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed")
DATA = ("--data", "synthetic:1x28x28:10:200")
SMALL = ("--shape", "2,1,28,28")
PATH = re.compile(r"[(]?/\S{40,}")
GRAPH = """graph @net(%x: f32[n<=3,2,9,9], %w: f32[8,2,3,3] parameter, %b: f32[8] parameter) {
  %0: f32[n<=3,8,7,7] = conv2d(%x, %w) loc(a_block.with_a_long_name.conv_number_1)
  %1: f32[n<=3,8,7,7] = bias_add(%0, %b) loc(a_block.with_a_long_name.conv_number_1)
  %2: f32[n<=3,8,3,3] = max_pool(%1) {kernel=[2, 2]} loc(a_block.with_a_long_name.pool_number_1)
  return %2
}
"""


def too_long(text: str) -> list[str]:
    """Lines over 80 columns, but for those with a path that a line has no room for."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    return [line for line in lines if len(line) > COLUMNS and not any(PATH.fullmatch(w) for w in line.split())]


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """80 columns, in a folder with a short name for what is written."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["", *main.list_commands(click.Context(main))])
def test_help_fits_has_an_example_and_ends_its_sentences(convc, command):
    result = convc(*([command] if command else []), "--help")
    assert result.code == 0
    assert not too_long(result.out)
    assert re.search(rf"^  Examples?:\n(?:    convc {command}.*\n)+", result.out, re.MULTILINE), "an example a command"


@pytest.mark.parametrize("command", main.list_commands(click.Context(main)))
def test_every_option_says_what_it_is_for(command):
    found = main.get_command(click.Context(main), command)
    assert found is not None
    assert (found.help or "").partition("\n")[0].endswith((".", ";", ",")) or "\n" in (found.help or "")
    for option in found.params:
        if isinstance(option, click.Option):
            assert option.help, f"{command}: {option.opts[0]} has no help"
            assert option.help.rstrip(" ]").endswith(".") or option.help.endswith("]"), f"{command}: {option.help}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("passes",),
        ("doctor",),
        ("inspect", "lenet5", "--mode", "train"),
        ("inspect", "lenet5", "--mode", "train", "--target", "cuda"),
        ("inspect", "vgg_small", "--target", "cuda"),
        ("compile", "lenet5", "--mode", "train", "--no-build", "--emit", "out"),
        ("compile", "lenet5", "--mode", "train", "--target", "cuda", "--no-build", "--emit", "out"),
        ("run", "lenet5", *SMALL, "--target", "cpu"),
        ("train", "lenet5", *DATA, "--epochs", "1", "--batch", "64", "--out", "out", "--target", "cpu"),
        pytest.param(("inspect", "net.conv", "--target", "cuda", "--count"), marks=needs_nvrtc),
        pytest.param(("compile", "net.conv", "--target", "cuda", "--emit", "out"), marks=needs_nvrtc),
        pytest.param(("run", "net.conv", "--counters"), marks=needs_nvrtc),
    ],
    ids=" ".join,
)
def test_what_is_printed_fits(convc, arguments):
    Path("net.conv").write_text(GRAPH)
    result = convc(*arguments)
    assert result.code in ((0, 1) if arguments == ("doctor",) else (0,)), result.err
    assert result.out
    assert not too_long(result.out)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_no_kernels_name_is_folded(convc, target):
    model, image = resolve_model("lenet5")
    _, graph = model_graph(model, (64, *image), "train", "cross_entropy")
    numbers = passes_target(target)
    trace = trace_of(graph, "train", optimizer_of(None), numbers)
    names = [k.name for k in emit(trace.stages[-1][1], target, numbers).kernels]
    shown = convc("inspect", "lenet5", "--mode", "train", "--target", target).out.splitlines()
    assert [line.split()[0] for line in shown if line.split() and line.split()[0] in names] == names


WORD = st.text("abcdefgh_", min_size=1, max_size=30)
CELL = st.lists(WORD, min_size=1, max_size=9).map(" ".join)
NUMBER = st.integers(0, 10**9).map("{:,}".format)


@given(st.lists(st.tuples(st.text("abc_", min_size=1, max_size=100), NUMBER, NUMBER, CELL), min_size=1, max_size=5))
def test_a_table_fits_and_loses_nothing_but_the_middle_of_names(rows):
    table = Table("title", ("kernel", "FLOP", "bytes", "tile"), rows, frozenset(("FLOP", "bytes")))
    lines = table.lines(COLUMNS)
    assert lines[0] == "title"
    assert all(len(line) <= COLUMNS for line in lines)
    text = "\n".join(lines)
    for name, flops, size, tile in rows:
        assert name in text or len(name) > COLUMNS
        assert shortened(name, COLUMNS) in text
        assert flops in text
        assert size in text
        assert set(tile.split()) <= set(text.split())
    blocks = table.blocks(COLUMNS)
    assert len(blocks) == 1 + len(rows)
    assert [len(b) for b in table.blocks(None)] == [1] * (1 + len(rows)), "without a limit each row is one line"


def test_the_ways_a_table_gives_way():
    rows = [("name", "1", "some words of a tile that are long enough to be wrapped")]
    table = Table("", ("kernel", "FLOP", "tile"), rows, frozenset(("FLOP",)))
    assert table.blocks(None) == [
        ["kernel  FLOP  tile"],
        ["name       1  some words of a tile that are long enough to be wrapped"],
    ]
    wide = len("kernel  FLOP  ") + LEAST
    assert table.lines(wide)[1:4] == [
        "name       1  some words of a tile",
        "              that are long enough",
        "              to be wrapped",
    ]
    assert table.lines(wide - 1)[:3] == ["kernel", "  FLOP  tile", "name"]
    assert shortened("abcdefghij", 7) == "ab...ij"
    assert shortened("abcdefg", 7) == "abcdefg"
