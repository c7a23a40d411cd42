"""How objects show themselves: short, within 80 columns, and escaped in HTML."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import convc
from convc import nn
from convc.data import Dataset, Split, load
from convc.ir.core import Value
from convc.report.history import EpochRecord, RunHistory, Setting
from convc.show import WIDTH
from convc.table import Table
from convc.train import EpochResult, History, Metrics

VOID = ("br", "hr", "img")


class Balanced(HTMLParser):
    """Raises AssertionError where tags do not close; collects the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def small(name: str = "small") -> nn.Sequential:
    return nn.Sequential(
        ("conv1", nn.Conv2d(1, 2, 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("block", nn.Residual(nn.Conv2d(2, 2, 3, padding=1), nn.Dropout(0.2), nn.ReLU())),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(2 * 6 * 6, 3)),
        name=name,
    )


class Own(nn.Module):
    """A module of one's own, whose parameters depend on what comes in."""

    def build(self, g: nn.GraphBuilder, x: Value) -> Value:
        return nn.Linear(int(x.type.shape[1]), 5).build(g, x)


@pytest.fixture(scope="module")
def program() -> convc.Program:
    return convc.compile(small("<small>"), (4, 1, 6, 6), mode="train")


def shown() -> dict[str, Callable[[convc.Program], Any]]:
    epochs = History([EpochResult(1, 0.1, 0.5, Metrics(0.4, 9, 10), 1.0, 100.0)])
    return {
        "network": lambda p: small(),
        "zoo": lambda p: convc.models.vgg16(),
        "own": lambda p: Own(),
        "graph": lambda p: p.graph,
        "program": lambda p: p,
        "kernel": lambda p: p.kernels[1],
        "report": lambda p: p.report(),
        "store": lambda p: p.parameters,
        "data set": lambda p: load("synthetic:3x8x8:30:300").normalized(),
        "split": lambda p: load("synthetic:1x8x8:3:300").test,
        "history": lambda p: epochs,
    }


@pytest.mark.parametrize("what", shown())
def test_every_object_shows_itself(program: convc.Program, what: str) -> None:
    thing = shown()[what](program)
    text = repr(thing)
    assert 0 < len(text.splitlines()) < 60
    # A graph and a kernel are one line, however long their types and names are.
    assert max(map(len, text.splitlines())) <= (140 if what in ("graph", "kernel") else WIDTH)
    assert " object at 0x" not in text
    page = Balanced(thing._repr_html_())
    assert page.text
    assert "<small>" not in thing._repr_html_()


def test_a_run_of_a_study_is_one_line() -> None:
    records = [
        EpochRecord(1, 2.0, 1.0, 0.5, 0.5),
        EpochRecord(2, 1.0, 0.5, 0.75, 0.5),
        EpochRecord(3, 0.5, 0.75, 0.5, 1),
    ]
    run = RunHistory(Setting(0.01), 2, tuple(records))
    assert repr(run) == "RunHistory lr_0.01_seed_2: 3 epochs, lowest validation loss 0.5 at epoch 2"
    ended = RunHistory(Setting(0.01), 2, (EpochRecord(1, math.nan, math.nan, math.nan, math.nan),))
    assert repr(ended) == "RunHistory lr_0.01_seed_2: 1 epoch, ended by a loss that is no number"


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: tuple(row[1:]) for row in table.rows}


def test_a_summary_is_what_the_graph_says() -> None:
    net = small()
    table = net.summary((4, 1, 6, 6))
    assert table.title.startswith(f"small: {2 * 9 + 2 + 4 * 9 + 2 + 72 * 3 + 3} parameters, ")
    assert table.title.endswith("FLOP for 4 inputs of 1x6x6")
    found = rows(table)
    assert list(found) == ["conv1", "relu1", "block.0", "block.1", "block.2", "block", "flatten", "fc"]
    assert found["conv1"][:3] == ("Conv2d(1, 2, 3, padding=1)", "2x6x6", "20")
    assert found["block.1"] == ("Dropout(p=0.2)", "2x6x6", "0", "0 ")
    assert found["block"][0] == "Residual: x + the above"
    assert found["fc"][1:] == ("3", "219", "1.74 k")  # 4 rows: 3 outputs of 72 products and sums, and the bias
    counted = sum(int(row[2].replace(",", "")) for row in found.values())
    program = convc.compile(net, (4, 1, 6, 6))
    assert counted == program.report().summary.totals.parameters
    assert repr(net) == str(net.summary((1, 1, 6, 6)))  # the shape it was compiled for


def test_without_a_shape_layers_and_parameters_are_known() -> None:
    net = nn.Sequential(*small(), ("own", Own()))
    assert [row[2] for row in net.summary().rows] == ["20", "0", "38", "0", "0", "0", "0", "219", "?"]
    assert repr(net).startswith("sequential: at least 277 parameters\n")
    assert rows(net.summary((1, 1, 6, 6)))["own"] == ("Own()", "5", "20", "35 ")
    with pytest.raises(convc.IRError, match="fc: linear"):
        net.summary((1, 1, 7, 7))


def test_tied_parameters_are_counted_once() -> None:
    layer = nn.Linear(6, 6)
    table = nn.Sequential(("a", layer), ("b", layer)).summary((1, 6))
    assert [row[3] for row in table.rows] == ["42", "0"]


def test_a_model_that_does_not_fit_its_shape_says_so() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 3), input_shape=(1, 2, 2))
    assert "x has C=4 features, but w [K,C] expects C=5" in " ".join(repr(net).split())
    with pytest.raises(convc.IRError, match="input_shape is whole numbers"):
        nn.Sequential(nn.Flatten(), input_shape=(0,))


def test_layers_are_written_as_they_are_made() -> None:
    layers = [
        nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2), bias=False),
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.MaxPool2d(2),
        nn.LeakyReLU(0.2),
        nn.GlobalAvgPool(),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Dropout(),
    ]
    for layer in layers:
        again = eval(f"nn.{layer!r}")
        assert again == layer
        assert repr(again) == repr(layer)


@given(
    st.lists(st.tuples(*[st.text(max_size=50)] * 3), max_size=6),
    st.sets(st.sampled_from(["a", "b", "c"])),
    st.text(max_size=99),
)
def test_tables_hold_their_cells(cells: list[tuple[str, str, str]], numbers: set[str], title: str) -> None:
    table = Table(title, ("a", "b", "c"), cells, tuple(sorted(numbers)))
    lines = str(table).splitlines()
    assert all(line.isprintable() for line in lines)
    page = Balanced(table.html())
    assert all(cell.replace("\r", "\n") in page.text.replace("\r", "\n") for row in cells for cell in row)
    assert all(len(line) <= WIDTH for block in table.blocks(WIDTH) for line in block)
    assert len(table.blocks(WIDTH)) == 1 + len(cells)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_split_shows_its_first_images(channels: int, dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, channels, 5, 4)).astype(dtype)
    images[0, 0, 0, :2] = 0, 255
    data = re.search(r"base64,([^\"]+)", Split(images, np.zeros(12, np.int32))._repr_html_())
    assert data
    with Image.open(io.BytesIO(base64.b64decode(data[1]))) as picture:
        shown = np.asarray(picture).reshape(5, 40, channels).transpose(2, 0, 1)
    assert np.array_equal(shown, np.concatenate(list(images[:10]), axis=2))


def test_a_split_of_other_channels_shows_none() -> None:
    split = Split(np.zeros((2, 2, 3, 3), np.uint8), np.zeros(2, np.int32))
    assert "<img" not in split._repr_html_()


def test_a_data_set_counts_its_classes() -> None:
    images, labels = np.zeros((40, 5, 5), np.uint8), np.arange(40) % 2
    table = Dataset.from_arrays(images, labels, class_names=("<b>", "cat")).table()
    assert table.rows == [("<b>", "16", "2", "2"), ("cat", "16", "2", "2")]
    assert "&lt;b&gt;" in table.html()
