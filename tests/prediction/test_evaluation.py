"""`evaluate`: its numbers against their definitions, and what it shows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

import convc
from convc.data import Dataset
from convc.errors import DataError
from convc.evaluation import Evaluation, cross_entropy, wilson
from convc.report.evaluation_files import write_evaluation
from convc.train import evaluate as measure
from tests.prediction.conftest import NAMES, Trained, make_net


@pytest.fixture(scope="module")
def found(trained: Trained) -> Evaluation:
    return convc.evaluate(convc.load_model(trained.weights, make_net()), trained.data)


def made(labels: list[int], predicted: list[int], names: tuple[str, ...]) -> Evaluation:
    confidence = np.linspace(0.5, 0.9, len(labels))
    return Evaluation(0.5, np.array(labels), np.array(predicted), confidence, names)


def test_the_same_as_a_program_of_mode_eval(found: Evaluation, trained: Trained) -> None:
    moved = trained.data.normalized()
    metrics = measure(convc.compile(trained.net, (16, 1, 6, 6), mode="eval"), moved.test)
    assert (found.correct, found.images) == (metrics.correct, metrics.images)
    # A loss is a difference of numbers as large as the outputs; exp and log are good to 3 units of f32's last place,
    # and sum, difference and mean round once each.
    largest = float(np.abs(convc.compile(trained.net, (60, 1, 6, 6))(moved.test.images)).max())
    assert found.loss == pytest.approx(metrics.loss, abs=16 * float(np.finfo(np.float32).eps) * max(largest, 1))
    assert str(found) == str(metrics)
    alike = (
        convc.evaluate(trained.net, moved),
        convc.evaluate(trained.net, moved.test),
        convc.evaluate(convc.load_model(trained.weights, make_net()), moved),
    )
    for other in alike:
        assert np.array_equal(other.confusion, found.confusion)
        assert other.loss == pytest.approx(found.loss, rel=1e-12)
    assert convc.evaluate(trained.net, moved, "train").images == 135


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_confusions_count_every_image_once(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (list(x) for x in zip(*pairs))
    found = made(labels, predicted, ("a", "b", "c", "d"))
    assert all(found.confusion[i, j] == pairs.count((i, j)) for i in range(4) for j in range(4))
    assert found.correct == sum(i == j for i, j in pairs)
    assert sorted(found.misread) == [n for n, (i, j) in enumerate(pairs) if i != j]
    assert (np.diff(found.confidence[found.misread]) <= 0).all()
    for c in range(4):
        own = [j == c for i, j in pairs if i == c]
        assert np.isnan(found.per_class[c]) if not own else found.per_class[c] == pytest.approx(np.mean(own))


@given(st.integers(1, 400), st.integers(0, 400), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_wilsons(images: int, correct: int, level: float) -> None:
    correct = min(correct, images)
    wanted = binomtest(correct, images).proportion_ci(level, method="wilson")
    assert wilson(correct, images, level) == pytest.approx((wanted.low, wanted.high), rel=1e-9, abs=1e-12)


def test_cross_entropy_is_its_definition() -> None:
    outputs = np.array([[1.0, 2.0, 3.0], [1e4, 0, 0], [0, 1e4, 0]])
    wanted = [np.log(np.exp([1, 2, 3]).sum()) - 2, 0, 1e4]
    assert cross_entropy(outputs, np.array([1, 0, 0])) == pytest.approx(np.mean(wanted), rel=1e-15)


def test_what_it_shows_fits_80_columns(found: Evaluation) -> None:
    assert repr(found).startswith("test: loss ")
    assert all(name in repr(found) for name in NAMES)
    many = tuple(f"class of a rather long name, number {i}" for i in range(100))
    labels = np.arange(1000) % 100
    crowded = made(labels.tolist(), ((labels * 3) % 100).tolist(), many)
    large = made([0] * 99999 + [1] * 99999, [1] * 99999 + [0] * 99999, tuple("abcdefghijkl"))
    for e in (found, crowded, large):
        assert max(map(len, repr(e).splitlines())) <= 80
        assert "<table>" in e._repr_html_()
    assert "taken for" in repr(crowded)
    assert "confusions that were most frequent" in repr(crowded)


def test_kinds_that_do_not_fit_are_refused(trained: Trained) -> None:
    net = convc.load_model(trained.weights, make_net())
    images, labels = trained.data.test.images[:, 0], trained.data.test.labels
    other = Dataset.from_arrays(images // 2, labels, images, labels).normalized()
    with pytest.raises(DataError, match="normalised by other numbers than the model's; give the data set as loaded"):
        convc.evaluate(net, other)
    with pytest.raises(DataError, match="uint8 images must be normalised as in training"):
        convc.evaluate(trained.net, trained.data)
    with pytest.raises(DataError, match="it has 3 and a label is 59"):
        convc.evaluate(net, Dataset.from_arrays(images, np.arange(60), images, np.arange(60)))
    with pytest.raises(DataError, match="unknown part of the data 'tset'; did you mean 'test'"):
        convc.evaluate(net, trained.data, "tset")


def test_its_files(found: Evaluation, trained: Trained, tmp_path: Path) -> None:
    found = Evaluation(  # with mistakes in it
        found.loss, found.labels, (found.labels + np.arange(60) // 50) % 3, found.confidence, NAMES
    )
    images = trained.data.test.images
    for folder in ("a", "b"):
        write_evaluation(tmp_path / folder, found, images)
    with (tmp_path / "a" / "confusion.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["class", *NAMES]
    assert [[int(n) for n in row[1:]] for row in rows] == found.confusion.tolist()
    with (tmp_path / "a" / "misread.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [int(row[0]) for row in rows] == found.misread.tolist()
    assert all(NAMES[found.labels[int(i)]] == true and float(p) for i, true, _, p in rows)
    with Image.open(tmp_path / "a" / "confusion.png") as picture:
        assert min(picture.size) > 300
    same = [(tmp_path / f / "confusion.png").read_bytes() for f in ("a", "b")]
    assert same[0] == same[1]
