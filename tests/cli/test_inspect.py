import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import convc as package
from convc.codegen.summary import count


def test_the_table_has_every_kernel_and_the_memory(convc):
    result = convc("inspect", "lenet5", "--shape", "8,1,28,28")
    assert (result.code, result.err) == (0, "")
    head, setting, memory, blank, titles, *rows = result.out.splitlines()
    assert head == f"lenet5: {len(rows)} kernels in 1 launch, 61,706 parameters"
    assert setting == "mode infer, target cpu, batches of 1 to 8 rows"
    assert re.fullmatch(r"[\d.]+ GFLOP, [\d.]+ kB moved at least, arena [\d.]+ kB \([\d.]+ kB without reuse\)", memory)
    assert blank == ""
    assert titles.split() == ["kernel", "FLOP", "share", "bytes", "tile"]
    conv2 = next(row for row in rows if row.startswith("conv2_fprop"))
    assert "3.84 M" in conv2  # 2 * 16*6*5*5 * 8*10*10
    shares = [float(re.search(r" ([\d.]+)%  ", row)[1]) for row in rows]
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
    assert table.startswith("\x1b[1mnet: ")
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
    for text in ("fuse_epilogue", "changed nothing", "%conv1.weight.new", "* GEMM    M ="):
        assert text in page.text


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    table = page[page.index(f">{heading}</h") :].partition("</table>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]


def test_the_page_says_what_it_is_of_and_labels_buffers(convc, tmp_path):
    path = tmp_path / "lenet5.html"
    assert convc("inspect", "lenet5", "--mode", "train", "--shape", "16,1,28,28", "--html", path).code == 0
    page = path.read_text(encoding="utf-8")
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert (facts["mode"], facts["target"], facts["batch"]) == ("train", "cpu", "batches of 1 to 16 rows")
    assert facts["program"] == f"{len(rows_of(page, 'Kernels'))} kernels in 1 launch"
    given = {row[0]: row[1] for row in rows_of(page, "Data and results")}
    assert given["%labels"] == "labels, 0 to 9"
    assert given["%lr"] == "scalar"
    kept = {row[0]: row[1] for row in rows_of(page, "Parameters and state")}
    assert (kept["%conv1.weight"], kept["%conv1.weight.velocity"]) == ("parameter", "state")
    updates = {row[0]: row[1] for row in rows_of(page, "Updates")}
    assert updates["%conv1.weight.new"] == "new value of %conv1.weight, in its place"
    arena = rows_of(page, "The arena")
    meanings = [row[1] for row in arena]
    for name in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        assert meanings.count(f"gradient of %{name}.weight") == 1, "every weight's gradient lies in the arena, once"
    assert sum(m.startswith("gradient of") for m in meanings) <= 10
    names = [row[1] for row in rows_of(page, "Kernels")]
    order = [re.sub("<.*?>", "", name) for name in names]
    lives = [(row, *(order.index(k) for k in (row[5].split(" to ")[0], row[5].split(" to ")[-1]))) for row in arena]
    for row, first, last in lives:
        assert first <= last
        begin, end = (int(row[4].replace(",", "")), int(row[4].replace(",", "")) + int(row[3].replace(",", "")))
        for other, first2, last2 in lives:
            begin2 = int(other[4].replace(",", ""))
            apart = last < first2 or last2 < first
            assert other is row or apart or begin2 >= end or begin2 + int(other[3].replace(",", "")) <= begin
    assert page.count('class="block"') == len(arena), "one rectangle a tensor of the arena"


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_compile_and_inspect_count_alike(convc, tmp_path, target):
    args = ("lenet5", "--mode", "train", "--shape", "8,1,28,28", "--target", target)
    shown = convc("inspect", *args).out.splitlines()
    written = convc("compile", *args, "--emit", tmp_path / "out", "--no-build").out.splitlines()
    assert shown[:3] == written[1:4]
    totals = json.loads((tmp_path / "out/manifest.json").read_text())["totals"]
    assert f"{totals['kernels']} kernels in {totals['launches']} launch" in shown[0]


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
