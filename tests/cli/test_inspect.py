import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import convc as package
from convc.codegen.summary import count


def test_the_table_has_every_kernel_and_the_memory(convc):
    result = convc("inspect", "lenet5", "--shape", "8,1,28,28")
    assert (result.code, result.err) == (0, "")
    head, memory, blank, titles, *rows = result.out.splitlines()
    assert head.startswith("lenet5: ")
    assert f"{len(rows)} kernels, 61,706 parameters" in head
    assert re.fullmatch(r"arena [\d.]+ kB \([\d.]+ kB without reuse\)", memory)
    assert blank == ""
    assert titles.split() == ["kernel", "from", "FLOP", "bytes", "tile", "share", "of", "FLOP"]
    conv2 = next(row for row in rows if row.startswith("conv2_fprop"))
    assert "conv2 " in conv2
    assert "3.84 M" in conv2  # 2 * 16*6*5*5 * 8*10*10
    shares = [float(row.split()[-1].rstrip("%")) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(rows) + 1e-9)


def test_a_zoo_model_has_64_rows_and_a_mode(convc):
    result = convc("inspect", "lenet5", "--mode", "train", "--ir")
    assert "%x: f32[n<=64,1,28,28]" in result.out
    assert "update %conv1.weight" in result.out


@pytest.mark.parametrize(("prefix", "kernels"), [("conv1", 1), ("conv", 2), ("conv1_fprop", 1)])
def test_the_source_of_all_kernels_that_start_so(convc, prefix, kernels):
    result = convc("inspect", "lenet5", "--shape", "8,1,28,28", "--kernel", prefix)
    assert len(re.findall(r"^/\* conv\d_fprop\w+$", result.out, re.MULTILINE)) == kernels
    assert "\nvoid conv1_fprop" in result.out
    assert "\x1b" not in result.out


def test_no_kernel_of_that_name(convc):
    result = convc("inspect", "lenet5", "--kernel", "konv1")
    assert result.code == 1
    assert re.match(r"convc: error: no kernel starts with 'konv1'; (did you mean|known are)", result.err)


def test_what_a_pass_did_as_a_diff(convc, graph_file):
    result = convc("inspect", graph_file, "--pass", "fuse_epilogue")
    assert result.out.startswith("--- 04_eliminate_dead\n+++ 05_fuse_epilogue\n@@ ")
    assert "\n-  %2: f32[n<=4,3,4,3] = relu(%1) loc(relu1)\n" in result.out
    assert "\n+  %2: f32[n<=4,3,4,3] = fused(%x, %w, %b)" in result.out


def test_every_run_of_a_pass_and_those_that_changed_nothing(convc):
    result = convc("inspect", "lenet5", "--mode", "train", "--pass", "eliminate_dead")
    assert result.out.startswith("04_eliminate_dead changed nothing\n--- 09_eliminate_common\n+++ 10_eliminate_dead\n")


def test_the_ir_after_a_pass(convc, graph_file):
    result = convc("inspect", graph_file, "--pass", "fuse_epilogue", "--ir")
    assert package.parse_graph(result.out).nodes[0].op.name == "fused"


def test_no_pass_of_that_name(convc, graph_file):
    result = convc("inspect", graph_file, "--pass", "fuse_epilog")
    assert (result.code, result.out) == (1, "")
    assert result.err == "convc: error: no pass 'fuse_epilog' ran; did you mean 'fuse_epilogue'?\n"


def test_colours_are_for_terminals(convc, graph_file, monkeypatch):
    monkeypatch.setattr("convc.cli.inspect.in_colour", lambda: True)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)
    shown = convc("inspect", graph_file, "--pass", "fuse_epilogue").out
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\n-  %2: f32[n<=4,3,4,3] = relu(%1) loc(relu1)\n" in plain
    table = convc("inspect", graph_file).out
    assert table.startswith("net: ")
    assert "\nconv1_fprop_bias_relu" in table


class Page(HTMLParser):
    """Collects text, ids, links, and everything that would load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.outside: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.ids |= {value} if name == "id" else set()
            self.links |= {value} if name == "href" else set()
            self.outside += [value] if name in ("src", "srcset", "data") or name.startswith("on") else []

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_in_one_file(convc, tmp_path):
    path = tmp_path / "page" / "lenet5.html"
    result = convc("inspect", "lenet5", "--mode", "train", "--html", path)
    assert (result.code, result.out) == (0, f"wrote {path}\n")
    page = Page(path.read_text(encoding="utf-8"))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not page.outside
    assert page.links
    assert page.links == {f"#{name}" for name in page.ids}, "every kernel in the table leads to its source"
    for text in ("fuse_epilogue", "changed nothing", "%conv1.weight.new", "in place of %conv1.weight", "* GEMM    M ="):
        assert text in page.text
    assert page.tags.count("rect") == page.text.count(", from ")  # one tooltip a block of the arena
    assert "rect" in page.tags


def test_a_page_that_cannot_be_written(convc, graph_file, tmp_path):
    (tmp_path / "file").write_text("")
    result = convc("inspect", graph_file, "--html", tmp_path / "file" / "page.html")
    assert result.code == 1
    assert result.err.startswith(f"convc: error: cannot write {tmp_path / 'file' / 'page.html'}: ")


def test_the_report_of_a_program(graph_file, tmp_path):
    program = package.compile(package.parse_graph(Path(graph_file).read_text()))
    report = program.report()
    assert str(report).splitlines()[0].startswith(f"net: {len(program.kernels)} kernels")
    report.save(tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert {k.name for k in program.kernels} == page.ids


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 "), (260, "260 "), (999, "999 "), (999.6, "1 k"), (15052800, "15.1 M"), (2e9, "2 G"), (3e15, "3e+03 T")],
)
def test_counts_have_three_digits_and_a_prefix(number, text):
    assert count(number) == text
