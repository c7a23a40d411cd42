"""ThreadSanitizer over train steps and every operator, on two and three threads, in the arena as it is planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from convc.ir.types import Rows
from convc.testing import random_inputs
from tests.numerics.cases import FAMILIES
from tests.numerics.helpers import combined
from tests.sanitize.harness import PLAIN, THREAD, assert_right, assert_same, build
from tests.sanitize.programs import model_run, of_graph, of_model, runs

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator(family: str, thread_driver: Path, tmp_path: Path) -> None:
    graph = combined(FAMILIES[family](Rows(20)))
    trace = of_graph(graph)
    program = build(trace.stages[-1][1], THREAD, thread_driver)
    rows = (20, 17, 3, 20, 20)
    given = runs([random_inputs(graph, n, n) for n in rows], rows, (2, 3))
    for run, (outputs, stores) in zip(given, program(given, tmp_path), strict=True):
        assert_right(trace, "input", run, outputs, stores)


@pytest.mark.parametrize(
    ("model", "capacity", "rows", "optimizer"),
    [
        ("lenet5", 20, (20, 20, 17, 3, 20, 1) * 3, "nesterov"),
        ("lenet5", 20, (20, 20, 17, 3, 20, 1) * 3, "adam"),
        ("lenet5", 20, (20, 20, 17, 3, 20, 1) * 3, "clipped"),
        ("vgg_small", 5, (5, 2, 5), "sgd"),
    ],
)
def test_train_step(
    model: str,
    capacity: int,
    rows: tuple[int, ...],
    optimizer: str,
    thread_driver: Path,
    plain_driver: Path,
    tmp_path: Path,
) -> None:
    trace, parameters = of_model(model, capacity, "train", optimizer)
    graph = trace.stages[-1][1]
    given = runs([model_run(trace, parameters, n, i) for i, n in enumerate(rows)], rows, (2, 3))
    found = build(graph, THREAD, thread_driver)(given, tmp_path)
    wanted = build(graph, PLAIN, plain_driver)(given, tmp_path)
    for run, one, other in zip(given, found, wanted, strict=True):
        assert_same(run, list(graph.updates), one, other)
