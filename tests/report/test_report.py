import io
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc.errors import DataError
from convc.report.axes import Frame, clip_losses, spread
from convc.report.canvas import PALETTE, curve_colors
from convc.report.curves import QUARTILES_FROM, band, setting_curves
from convc.report.facts import StudyFacts, listing, seeds_text
from convc.report.history import EpochRecord, RunHistory, Setting
from convc.report.study_report import write_report
from convc.report.summary import Comparison, Recommendation, Summary, summarise
from convc.report.tables import accuracy_range, comparison_row, headline, setting_row

RATES = (1.0, 0.1, 0.01, 0.005, 0.001)
FACTS = StudyFacts(
    model="LeNet-5",
    parameters=61706,
    dataset="digits",
    train_images=4000,
    validation_images=500,
    test_images=500,
    classes=10,
    batch=128,
    optimizer="SGD, momentum 0.9",
    schedule="constant",
    augment="",
    seeds=(0, 1, 2),
    settings=tuple(map(Setting, RATES)),
    epochs=12,
    target="cpu",
    machine="a machine of two cores",
    workers="2 single-thread workers",
    compile_seconds=2.0,
    wall_seconds=60.0,
)
NOTHING = Recommendation(None, "No run learned.")


def run(setting: Setting, seed: int, epochs: int = 12, speed: float = 0.5, stopped: bool = False) -> RunHistory:
    """A loss that falls from chance towards 0.1 nats at that speed, and as much noise as 500 images make."""
    noise = np.random.default_rng(seed).normal(size=(4, epochs))
    left = np.exp(-speed * np.arange(epochs))
    losses = (0.1 + 2.2 * left) * np.exp(0.05 * noise[:2])
    accuracies = np.clip(0.97 - 0.87 * left + 0.004 * noise[2:], 0, 1)
    rows = zip(*losses.tolist(), *accuracies.tolist())
    records = tuple(EpochRecord(epoch, *row) for epoch, row in enumerate(rows, start=1))
    return RunHistory(setting, seed, records, stopped)


def exploded(setting: Setting, seed: int, at: int = 3, value: float = math.nan) -> RunHistory:
    """At chance, and then no number."""
    good = run(setting, seed, max(at - 1, 1), speed=0.0).epochs[: at - 1]
    return RunHistory(setting, seed, (*good, EpochRecord(at, value, value, math.nan, math.nan)))


def summary(runs: Sequence[RunHistory], asked: bool = True) -> Summary:
    return summarise(runs[0].setting, runs, 10, asked)


def versus(rate: float, difference: float, reach: float, apart: bool) -> Comparison:
    return Comparison(
        Setting(rate), 3, difference, difference - reach, difference + reach, 0.01 if apart else 0.4, 0.02, apart
    )


SPEEDS = {1.0: 0.0, 0.1: 0.9, 0.01: 0.6, 0.005: 0.4, 0.001: 0.1}
STUDY = [summary([run(Setting(lr), seed, speed=speed) for seed in (0, 1, 2)]) for lr, speed in SPEEDS.items()]
TAKE = Recommendation(
    Setting(0.01),
    "It comes near its lowest first.",
    (Setting(0.005),),
    (versus(0.1, 0.04, 0.01, True), versus(0.005, 0.004, 0.02, False), versus(0.001, 0.6, 0.1, True)),
)
ONE = replace(FACTS, settings=(Setting(0.1),), seeds=(0,))


class Page(HTMLParser):
    """Open tags that were never closed, every address the page names, ids, cells and the texts of its figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [named["id"] or ""] if "id" in named else []
        self.labels += [named["aria-label"] or ""] if tag == "svg" else []
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    paths = write_report(folder, STUDY, TAKE, FACTS)
    assert sorted(paths) == sorted(folder.iterdir())
    return folder


def texts(folder: Path) -> tuple[str, str]:
    """What report.md and report.html say, the latter without its drawings and styles."""
    html = (folder / "report.html").read_text()
    return (folder / "report.md").read_text(), re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", html, flags=re.DOTALL)


def test_ten_figures_one_overview_the_intervals_and_two_pages(full: Path) -> None:
    figures = {f"{kind}_lr_{rate}.png" for rate in RATES for kind in ("loss", "accuracy")}
    others = {"overview.png", "intervals.png", "report.md", "report.html"}
    assert {p.name for p in full.iterdir()} == figures | others
    for path in full.glob("*.png"):
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width > 700
        assert height > 300
        assert not re.search(rb"tEXt|tIME", data), "a date or a version in a figure changes its bytes"


def test_markdown_states_the_findings_and_links_every_figure(full: Path) -> None:
    text = (full / "report.md").read_text()
    assert text.count("](") == 12
    assert all((full / name).is_file() for name in re.findall(r"\]\((.*?)\)", text))
    assert "**Take learning rate 0.01; 0.005 cannot be told apart from it.**" in text
    assert "| **0.01** | still improving (3 of 3 seeds) |" in text
    assert "| 0.005 | cannot be told apart | +0.004 | −0.016 to +0.024 | 0.40 | ±0.020 |" in text
    assert "| 0.1 | higher loss | +0.040 | +0.030 to +0.050 | 0.010 | ±0.020 |" in text
    assert "- Time: 2.0 s to compile, once for all runs, 60.0 s for the whole study\n" in text
    assert "This study is incomplete" not in text
    assert "\n\n\n" not in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {7}


def test_html_stands_alone_with_a_drawing_for_every_figure(full: Path) -> None:
    text = (full / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert page.tags.count("svg") == 2 + 10 + 1
    assert all(source.startswith("#") for source in page.sources)
    assert {source.removeprefix("#") for source in page.sources} <= set(page.ids)
    assert "http" not in text
    assert len(text) < 1_000_000
    assert all(page.labels)
    assert f"Training and validation loss at learning rate 0.1: {STUDY[1].words}" in page.labels
    assert all(cell.strip() for cell in page.cells)


def test_figures_follow_the_theme_of_the_page(full: Path) -> None:
    text = (full / "report.html").read_text()
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert not [drawing for drawing in drawings if re.search(r"#[0-9a-f]{6}\b|font-family", drawing)]
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text))
    light, dark = re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL)[:2]
    for theme in (light, dark):
        assert used <= set(re.findall(r"--([a-z0-9-]+):", theme))
    assert len(set(re.findall("#[0-9a-f]{6}", curve_colors(dark=False) + curve_colors(dark=True)))) == 2 * len(PALETTE)


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("dark", "paper"), [(False, "#ffffff"), (True, "#161616")])
def test_labels_are_legible_on_either_page(dark: bool, paper: str) -> None:
    """WCAG 2 AA: 4.5 to 1 for text."""
    for color in re.findall("#[0-9a-f]{6}", curve_colors(dark)):
        low, high = sorted((luminance(color), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, color


def test_the_same_runs_give_the_same_bytes_whatever_the_users_style(full: Path, tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linestyle": ":"}):
        settings = dict(matplotlib.rcParams)
        write_report(tmp_path, list(reversed(STUDY)), TAKE, FACTS)
        assert dict(matplotlib.rcParams) == settings
    for path in full.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_an_interrupted_study_says_what_is_missing(tmp_path: Path) -> None:
    lost = summary([exploded(Setting(1.0), 0), exploded(Setting(1.0), 1), run(Setting(1.0), 2, speed=0)])
    short = summary([run(Setting(0.1), 0, 4)])
    facts = replace(FACTS, compile_seconds=None, wall_seconds=None)
    write_report(tmp_path, [lost, short], Recommendation(None, "It is not complete."), facts)
    for text in texts(tmp_path):
        assert "Nothing can be recommended" in text
        assert "This study is incomplete" in text
        assert "Learning rate 0.1, seed 0: 4 of 12 epochs." in text
        assert "Learning rate 0.1 was not run with seeds 1 and 2." in text
        assert "Learning rate 0.005 was not run." in text
        assert "Learning rate 1.0" not in text.replace("at learning rate", "")  # NaN is an end, no interruption
        assert "The loss became NaN at epoch 3." in text
        assert "None" not in text
        assert not re.search(r"\bnan\b", text)
    assert not (tmp_path / "loss_lr_0.005.png").exists()
    assert not (tmp_path / "intervals.png").exists()


def test_a_study_without_a_single_epoch_is_still_a_report(tmp_path: Path) -> None:
    empty = summarise(Setting(1.0), [RunHistory(Setting(1.0), 0, ())], 10)
    paths = write_report(tmp_path, [empty], NOTHING, FACTS)
    assert [path.name for path in paths] == ["report.md", "report.html"]
    text, _ = texts(tmp_path)
    assert text.count("was not run.") == 5
    assert "![" not in text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_epoch_with_nothing_to_draw(tmp_path: Path, value: float) -> None:
    facts = replace(ONE, epochs=1)
    assert len(write_report(tmp_path, [summary([exploded(Setting(0.1), 0, 1, value)])], NOTHING, facts)) == 5
    for text in texts(tmp_path):
        assert "never finite" in text
        assert "nan%" not in text


def test_one_seed_says_what_cannot_be_concluded(tmp_path: Path) -> None:
    nan = math.nan
    settings = (Setting(0.1), Setting(0.01))
    alone = Comparison(Setting(0.01), 1, 0.02, nan, nan, nan, 0.03, False)
    take = Recommendation(Setting(0.1), "It has the lowest loss.", (Setting(0.01),), (alone,))
    facts = replace(ONE, settings=settings)
    write_report(tmp_path, [summary([run(setting, 0)]) for setting in settings], take, facts)
    for text in texts(tmp_path):
        assert "Take learning rate 0.1; one seed cannot tell how sure that is" in text
        assert "One seed: another one may order the settings otherwise." in text
        assert "needs 2 seeds" in text
        assert not re.search(r"\bnan\b", text)
    assert not (tmp_path / "intervals.png").exists()


def test_added_and_stopped_rates_are_told_from_the_others(tmp_path: Path) -> None:
    added = Setting(0.02)
    stopped = summary([run(added, seed, 4 + seed, stopped=True) for seed in (0, 1, 2)], asked=False)
    asked = summary([run(Setting(0.1), seed) for seed in (0, 1, 2)])
    facts = replace(FACTS, settings=(Setting(0.1),), refined=(added,), budget="60 s for added rates")
    write_report(tmp_path, [asked, stopped], NOTHING, facts)
    for text in texts(tmp_path):
        assert "stopped at epoch 4" in text
        assert "added by the study" in text
        assert "no verdict" in text
        assert "60 s for added rates" in text
        assert "This study is incomplete" not in text
    drawn = [curve.color for curve in setting_curves([asked, stopped], None)]
    assert drawn == list(PALETTE[:2]), "an added rate takes the next colour, not that of a rate asked for"


def test_a_second_factor_groups_the_report(tmp_path: Path) -> None:
    settings = [Setting(lr, (("momentum", m),)) for m in (0.9, 0.0) for lr in (0.1, 0.01)]
    summaries = [summary([run(setting, seed) for seed in (0, 1)]) for setting in settings]
    facts = replace(FACTS, settings=tuple(settings), seeds=(0, 1))
    take = Recommendation(settings[2], "It is the cheapest.", (settings[0], settings[1]))
    paths = write_report(tmp_path, summaries, take, facts)
    assert len(paths) == 1 + 8 + 2
    assert (tmp_path / "loss_lr_0.01_momentum_0.9.png").is_file()
    html = (tmp_path / "report.html").read_text()
    labels = Page(html).labels
    assert labels[:4] == [
        f"{what} of every rate at momentum {m}" for m in (0.9, 0.0) for what in ("Validation loss", "Test accuracy")
    ]
    told = "Take learning rate 0.1, momentum 0.0; 0.1, momentum 0.9 and 0.01, momentum 0.9 cannot be told apart from it"
    assert told in html
    curves = setting_curves(summaries, None)
    assert [curve.color for curve in curves] == [PALETTE[0], PALETTE[1], PALETTE[0], PALETTE[1]]
    assert curves[0].dashes == curves[1].dashes != curves[2].dashes == curves[3].dashes


def test_zeros_and_ones_stay_on_the_axes(tmp_path: Path) -> None:
    perfect = RunHistory(Setting(0.1), 0, tuple(EpochRecord(e, 0.0, 0.0, 1.0, 1.0) for e in range(1, 13)))
    assert len(write_report(tmp_path, [summarise(Setting(0.1), [perfect], 2)], NOTHING, replace(ONE, classes=2))) == 5


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    hostile = '$x$ a|b <script>alert("1")</script> {{ 7*7 }} [l](http://x)'
    facts = replace(ONE, model=hostile, machine=hostile, dataset="net $\\frac{ 100%")
    write_report(tmp_path, [replace(summary([run(Setting(0.1), 0)]), words=hostile)], NOTHING, facts)
    html, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert Page(html).open == []
    assert "<script" not in html
    assert "{{ 7*7 }}" in html
    assert "a\\|b \\<script\\>" in markdown
    assert "\\[l\\](" in markdown


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([0.2], r"1\.0, 0\.1, 0\.01, 0\.005 and 0\.001: 0\.2 is not one of them"),
        ([0.1, 0.1], "0.1 comes twice"),
    ],
)
def test_summaries_that_do_not_fit_the_facts(tmp_path: Path, settings: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        write_report(tmp_path, [summarise(Setting(lr), [], 10) for lr in settings], NOTHING, FACTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"classes": 1}, "two classes or more, not 1: digits"),
        ({"settings": (Setting(0.1), Setting(0.1))}, "each setting is studied once, but 0.1 comes twice"),
        ({"refined": (Setting(0.1),)}, "each setting is studied once, but 0.1 comes twice"),
        ({"seeds": (3, 4, 3)}, "each seed is studied once, but 3 comes twice"),
        ({"seeds": ()}, "a study needs a seed or more"),
        ({"settings": ()}, "a study needs a setting or more"),
    ],
)
def test_facts_that_no_study_has(change: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        replace(FACTS, **change)


def test_the_headline_says_how_sure_it_is() -> None:
    worse = tuple(versus(rate, 0.1, 0.05, True) for rate in (0.1, 0.005))
    sure = Recommendation(Setting(0.01), "", (), worse)
    assert headline(sure, FACTS, []).endswith("0.01; every other one that learned has a higher validation loss")
    assert headline(sure, FACTS, ["Learning rate 1.0 was not run."]) == "Take learning rate 0.01"
    unsure = Recommendation(Setting(0.01), "", (), (*worse, versus(0.001, 0.1, 0.2, False)))
    assert headline(unsure, FACTS, []) == "Take learning rate 0.01"
    level = replace(sure, level=tuple(map(Setting, (0.1, 0.02, 0.005, 0.001))))
    assert headline(level, FACTS, []).endswith("0.01; 4 others cannot be told apart from it")
    assert headline(NOTHING, FACTS, []) == "Nothing can be recommended"


def test_figures_of_a_setting_are_medians_with_their_range() -> None:
    setting = Setting(0.1)
    levels = (0.30, 0.10, 0.20)
    runs = [
        RunHistory(setting, seed, tuple(EpochRecord(e, 0.1, loss + (e == 1), 0.9, 0.8 + loss / 2) for e in range(1, 9)))
        for seed, loss in enumerate(levels)
    ]
    row = setting_row(summary([*runs, exploded(setting, 3)]), FACTS, True)
    assert str(row.loss) == "0.200 (0.100 to 0.300, 3 of 4 seeds)"
    assert str(row.last_accuracy) == "90.0% (85.0% to 95.0%)"
    assert [seed for seed, *_ in row.by_seed] == ["0", "1", "2", "3"]
    assert str(accuracy_range([0.91, 0.99, 0.97], 10000)) == "97.00% (91.00% to 99.00%)"


@given(st.floats(-3, 3), st.floats(1e-6, 2))
def test_a_difference_is_printed_with_the_side_it_is_on(middle: float, reach: float) -> None:
    apart = abs(middle) > reach
    row = comparison_row(versus(0.1, middle, reach, apart))
    assert (row.words == "cannot be told apart") is not apart
    low, high = (float(part.replace("−", "-")) for part in row.interval.split(" to "))
    assert low <= float(row.difference.replace("−", "-")) <= high


def test_words_for_seeds_and_settings() -> None:
    assert [seeds_text(s) for s in ((3,), (3, 4), (3, 4, 5), (0, 2, 5))] == [
        "seed 3",
        "seeds 3 and 4",
        "seeds 3 to 5",
        "seeds 0, 2 and 5",
    ]
    assert listing([Setting(0.1)]) == "0.1"
    assert listing([Setting(0.1), Setting(0.01), Setting(1.0)]) == "0.1, 0.01 and 1.0"


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_band_lies_around_its_median_and_is_of_those_still_running(runs: int, epochs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(runs, epochs))
    for row, length in zip(values, rng.integers(0, epochs + 1, size=runs)):
        row[length:] = math.nan
    median, low, high = band(values)
    running = np.isfinite(values).any(axis=0)
    assert (np.isfinite(median) == running).all()
    assert (low[running] <= median[running]).all()
    assert (median[running] <= high[running]).all()
    for epoch in np.flatnonzero(running):
        there = values[np.isfinite(values[:, epoch]), epoch]
        assert median[epoch] == np.median(there)
        outside = max((there < low[epoch]).sum(), (there > high[epoch]).sum())
        assert outside <= (0 if runs < QUARTILES_FROM else (len(there) - 1) / 4 + 1)


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
    records = (EpochRecord(1, 1e30, 1e30, 0.1, 0.1), EpochRecord(2, 2.0, 0.0, 0.1, 0.1))
    frame = Frame.around([RunHistory(Setting(1.0), 0, records), exploded(Setting(1.0), 1)], 30, 10)
    assert frame.loss[1] < 100 * math.log(10)
    assert frame.loss[0] > 0
    drawn = clip_losses([1e30, 0.0, math.nan, math.inf], frame.loss)
    assert drawn[:2] == pytest.approx([frame.loss[1], frame.loss[0]])
    assert np.isnan(drawn[2:]).all()


def test_endings_are_named_where_a_run_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    found: list[str] = []
    save = Figure.savefig

    def spy(self: Figure, target: io.BytesIO, **options: object) -> None:
        found.extend(text.get_text() for text in self.findobj(matplotlib.text.Text))
        save(self, target, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    write_report(tmp_path, [summary([exploded(Setting(0.1), 0)])], NOTHING, ONE)
    assert found.count("NaN at epoch 3") == 4, "in both figures and both drawings"
    found.clear()
    two = summary([exploded(Setting(0.1), 0), exploded(Setting(0.1), 1, value=math.inf), run(Setting(0.1), 2)])
    write_report(tmp_path, [two], NOTHING, replace(ONE, seeds=(0, 1, 2)))
    assert found.count("NaN or infinite in 2 of 3 seeds") == 4
