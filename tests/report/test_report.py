import io
import math
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import report_shapes as shapes

from convc.errors import DataError
from convc.report.axes import Frame, clip_losses, spread
from convc.report.history import RunHistory
from convc.report.study_report import StudyFacts, write_report

FACTS = StudyFacts(
    model="LeNet-5",
    parameters=61706,
    dataset="digits",
    train_images=4000,
    validation_images=500,
    test_images=500,
    classes=10,
    batch=128,
    momentum=0.9,
    seed=0,
    rates=(1.0, 0.1, 0.01, 0.005, 0.001),
    epochs=30,
    target="cpu",
    compiles=1,
    compile_seconds=2.0,
    wall_seconds=60.0,
)


class Page(HTMLParser):
    """Open tags that were never closed, and every address the page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    paths = write_report(folder, shapes.study(), FACTS)
    assert sorted(paths) == sorted(folder.iterdir())
    return folder


def test_ten_figures_one_overview_and_two_pages(full: Path) -> None:
    rates = ("1.0", "0.1", "0.01", "0.005", "0.001")
    figures = {f"{kind}_lr_{rate}.png" for rate in rates for kind in ("loss", "accuracy")}
    assert {p.name for p in full.iterdir()} == figures | {"overview.png", "report.md", "report.html"}
    for path in full.glob("*.png"):
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width > 800
        assert height > 500
        assert not re.search(rb"tEXt|tIME", data), "a date or a version in a figure changes its bytes"


def test_markdown_states_the_findings_and_links_every_figure(full: Path) -> None:
    text = (full / "report.md").read_text()
    assert text.count("](") == 11
    assert all((full / name).is_file() for name in re.findall(r"\]\((.*?)\)", text))
    assert "**Take learning rate 0.01.**" in text
    assert re.search(r"\| \*\*0\.01\*\* \| converged at about epoch \d+, then flat \|", text)
    assert "compiled 1 time for 5 rates (2.0 s)\n- The whole study took 60.0 s\n\n## Each rate" in text
    assert "incomplete" not in text
    assert "\n\n\n" not in text


def test_html_stands_alone(full: Path) -> None:
    text = (full / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert len(page.sources) == 11
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)


def test_the_same_runs_give_the_same_bytes_whatever_the_users_style(full: Path, tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linestyle": ":"}):
        settings = dict(matplotlib.rcParams)
        write_report(tmp_path, shapes.study(), FACTS)
        assert dict(matplotlib.rcParams) == settings
    for path in full.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_an_interrupted_study_says_what_is_missing(tmp_path: Path) -> None:
    _, wobbling, good, *_ = shapes.study()
    runs = [shapes.exploded(), RunHistory(0.1, wobbling.epochs[:4]), good]
    write_report(tmp_path, runs, replace(FACTS, compile_seconds=None, wall_seconds=None))
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "Learning rate 0.1 stopped after 4 of 30 epochs." in text
        assert "Learning rate 0.005 was not run." in text
        assert "Learning rate 1.0 stopped" not in text  # NaN is an end, not an interruption
        assert "the loss became NaN at epoch 3" in text
        assert "too short to tell" in text
        assert "None" not in re.sub(r"base64,[^\"]*", "", text)
    assert not (tmp_path / "loss_lr_0.005.png").exists()


def test_a_study_without_a_single_epoch_is_still_a_report(tmp_path: Path) -> None:
    paths = write_report(tmp_path, [RunHistory(1.0, ())], FACTS)
    assert [path.name for path in paths] == ["report.md", "report.html"]
    text = (tmp_path / "report.md").read_text()
    assert "No rate can be recommended" in text
    assert text.count("was not run.") == 5
    assert "![" not in text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_epoch_with_nothing_to_draw(tmp_path: Path, value: float) -> None:
    paths = write_report(tmp_path, [shapes.exploded(1.0, 1, value)], replace(FACTS, epochs=1, rates=(1.0,)))
    assert len(paths) == 5
    assert "No learning rate can be recommended" in (tmp_path / "report.html").read_text()


def test_zeros_and_ones_stay_on_the_axes(tmp_path: Path) -> None:
    perfect = shapes.run(0.1, np.zeros(8), np.zeros(8), np.ones(8))
    assert len(write_report(tmp_path, [perfect], replace(FACTS, epochs=8, rates=(0.1,), classes=2))) == 5


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    hostile = "$x$ a|b <script>alert(1)</script> {{ 7*7 }} [l](http://x)"
    write_report(tmp_path, [], replace(FACTS, model=hostile))
    html, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "<script" not in html
    assert "{{ 7*7 }}" in html
    assert "a\\|b \\<script\\>" in markdown
    assert "\\[l\\](" in markdown


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path: Path) -> None:
    name = "net $\\frac{ 100%"
    facts = replace(FACTS, model=name, rates=(0.1,), epochs=6)
    assert write_report(tmp_path, [shapes.wobbling(epochs=6)], facts)


@pytest.mark.parametrize(
    ("runs", "facts", "says"),
    [
        ([RunHistory(0.2, ())], FACTS, r"1\.0 0\.1 0\.01 0\.005 0\.001: 0\.2 is not one of them"),
        ([RunHistory(0.1, ()), RunHistory(0.1, ())], FACTS, "0.1 comes twice"),
        ([], replace(FACTS, classes=1), "two classes or more, not 1: digits"),
        ([], replace(FACTS, rates=(0.1, 0.1)), "one comes twice: 0.1 0.1"),
    ],
)
def test_runs_that_do_not_fit_the_facts(tmp_path: Path, runs: list[RunHistory], facts: StudyFacts, says: str) -> None:
    with pytest.raises(DataError, match=says):
        write_report(tmp_path, runs, facts)
    assert list(tmp_path.iterdir()) == []


def test_labels_keep_their_order_their_distance_and_the_axis() -> None:
    for heights in ([0.5, 0.5, 0.51, 0.49], [1.0, 1.0, 0.99], [0.0, 0.0, 0.0], [0.3] * 40, [0.2], []):
        placed = spread(heights, 0.1)
        gap = min(0.1, 1 / max(len(heights), 1))
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in placed)
        ordered = sorted(placed)
        assert all(b - a >= gap - 1e-9 for a, b in pairwise(ordered))
        assert [placed[i] for i in sorted(range(len(heights)), key=lambda i: (heights[i], i))] == ordered


def test_labels_with_room_stay_where_they_are_and_ties_spread_evenly() -> None:
    assert spread([0.9, 0.1, 0.5], 0.1) == pytest.approx([0.9, 0.1, 0.5])
    assert spread([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9])


def test_the_frame_ignores_a_loss_on_its_way_to_infinity() -> None:
    wild = shapes.run(1.0, np.array([1e30, 2.0]), np.array([1e30, 0.0]), np.array([0.1, 0.1]))
    frame = Frame.around([wild, shapes.exploded()], 30, 10)
    assert frame.loss[1] < 100 * math.log(10)
    assert frame.loss[0] > 0
    drawn = clip_losses([1e30, 0.0, math.nan, math.inf], frame.loss)
    assert drawn[:2] == pytest.approx([frame.loss[1], frame.loss[0]])
    assert np.isnan(drawn[2:]).all()


def test_a_nan_run_is_marked_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    texts: list[str] = []
    save = Figure.savefig

    def spy(self: Figure, target: io.BytesIO, **options: object) -> None:
        texts.extend(text.get_text() for text in self.findobj(matplotlib.text.Text))
        save(self, target, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    write_report(tmp_path, [shapes.exploded()], replace(FACTS, rates=(1.0,)))
    assert texts.count("NaN at epoch 3") == 2
    assert "diverged or at chance: NaN at epoch 3" in texts
