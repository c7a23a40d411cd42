"""AddressSanitizer and UndefinedBehaviorSanitizer over every operator and over whole models, each array apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from convc.ir.types import Rows
from convc.testing import random_inputs
from tests.numerics.cases import FAMILIES
from tests.numerics.helpers import combined
from tests.sanitize.harness import ADDRESS, PLAIN, assert_right, assert_same, build
from tests.sanitize.programs import model_run, of_graph, of_model, runs

pytestmark = pytest.mark.slow

BATCHES = {
    "one": (Rows(1), (1,)),
    "few": (Rows(6), (6, 1, 5, 4)),
    "many": (Rows(20), (20, 17, 16, 3)),
    "wide": (Rows(70), (70, 65, 31)),
    "fixed": (3, (3,)),
}
"""The capacity, typed or not, and the rows of its runs: with and without a rest in lanes of 4, 8 and 16."""

MODELS = {
    "lenet5": (20, (20, 17, 3)),
    "vgg_small": (5, (5, 2)),
    "alexnet": (2, (2, 1)),
}
MODES = {
    "infer": ("infer", "sgd"),
    "eval": ("eval", "sgd"),
    "sgd": ("train", "sgd"),
    "nesterov": ("train", "nesterov"),
    "adam": ("train", "adam"),
    "adamw": ("train", "adamw"),
    "clipped": ("train", "clipped"),
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator(family: str, batch: str, address_driver: Path, tmp_path: Path) -> None:
    capacity, rows = BATCHES[batch]
    graph = combined(FAMILIES[family](capacity))
    trace = of_graph(graph)
    program = build(trace.stages[-1][1], ADDRESS, address_driver)
    given = runs([random_inputs(graph, n, n) for n in rows], rows, (1, 2, 3))
    for run, (outputs, stores) in zip(given, program(given, tmp_path), strict=True):
        assert_right(trace, "input", run, outputs, stores)


@pytest.mark.parametrize(
    ("model", "mode"),
    [(model, mode) for model in MODELS for mode in MODES if model != "alexnet" or mode in ("infer", "sgd")],
)
def test_model(model: str, mode: str, address_driver: Path, plain_driver: Path, tmp_path: Path) -> None:
    capacity, rows = MODELS[model]
    trace, parameters = of_model(model, capacity, *MODES[mode])
    graph = trace.stages[-1][1]
    given = runs([model_run(trace, parameters, n, n) for n in rows], rows, (1, 2))
    found = build(graph, ADDRESS, address_driver)(given, tmp_path)
    wanted = build(graph, PLAIN, plain_driver)(given, tmp_path)
    for run, one, other in zip(given, found, wanted, strict=True):
        assert_same(run, list(graph.updates), one, other)
