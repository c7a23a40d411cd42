"""The same seed and data give the same bytes: run to run, and whatever the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pytest

import convc
from convc.ir.types import Rows
from convc.optim import Optimizer
from convc.testing import random_inputs
from tests.numerics.cases import FAMILIES
from tests.numerics.helpers import call, combined


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = convc.get_num_threads()
    yield
    convc.set_num_threads(before)


CLIPPED = convc.RMSprop(clip_norm=0.1)


def trained(seed: int, threads: int, optimizer: Optimizer) -> dict[str, str]:
    """LeNet-5 after six steps, the last on a partial batch: a digest of every tensor's bytes, and of the losses."""
    convc.set_num_threads(threads)
    net = convc.models.lenet5()
    step = convc.compile(net, (33, 1, 28, 28), mode="train", optimizer=optimizer, seed=seed)
    evaluate = convc.compile(net, (33, 1, 28, 28), mode="eval")
    rng = np.random.default_rng(7)
    numbers = []
    for n in (33, 33, 33, 32, 1, 17):
        x, labels = rng.uniform(0, 1, (n, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, n)
        numbers += [step(x, labels), *evaluate(x, labels)]
    digests = {name: sha256(net.store[name].tobytes()).hexdigest() for name in net.store}
    return digests | {"losses": repr(numbers)}


@pytest.mark.parametrize(
    "optimizer", [convc.SGD(lr=0.1, momentum=0.9), convc.Adam(), CLIPPED], ids=["momentum", "adam", "clipped"]
)
def test_training_gives_the_same_bytes_on_any_number_of_threads(optimizer: Optimizer) -> None:
    once = trained(3, 1, optimizer)
    for threads in (1, 2, 3):
        assert trained(3, threads, optimizer) == once, f"{threads} threads"
    other = trained(4, 1, optimizer)
    same = {name for name, digest in once.items() if other[name] == digest}
    assert same == {"adam.step"}.intersection(once), "only the count of steps knows no seed"


def test_a_reset_model_trains_to_the_same_bytes() -> None:
    net = convc.models.lenet5()
    step = convc.compile(net, (8, 1, 28, 28), mode="train", optimizer=convc.Adam(), seed=5)
    x = np.random.default_rng(0).uniform(0, 1, (8, 1, 28, 28)).astype(np.float32)
    runs = []
    for _ in range(2):
        net.reset(5)
        losses = [step(x, np.arange(8)) for _ in range(3)]
        runs.append((losses, {name: array.tobytes() for name, array in net.store.snapshot().items()}))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("n", [Rows(6), 3], ids=["typed", "fixed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_gives_the_same_bytes_on_any_number_of_threads(family: str, n: int) -> None:
    graph = combined(FAMILIES[family](n))  # compiled for tests/numerics/test_cpu_kernels.py as well
    program = convc.compile(graph)
    for rows in (6, 5) if isinstance(n, Rows) else (1,):
        inputs = random_inputs(graph, rows)
        results = []
        for threads in (1, 2, 3, 5):
            convc.set_num_threads(threads)
            results.append([a.tobytes() for a in call(program, inputs, rows)])
        for v, *arrays in zip(graph.outputs, *results, strict=True):
            assert len(set(arrays)) == 1, f"%{v.name} with {rows} rows"


def test_rows_do_not_depend_on_their_neighbours() -> None:
    """A row's result is the same bytes alone, among others, and in another place of the batch."""
    net = convc.models.lenet5()
    infer = convc.compile(net, (20, 1, 28, 28), seed=1)
    x = np.random.default_rng(0).uniform(0, 1, (20, 1, 28, 28)).astype(np.float32)
    full = infer(x)
    np.testing.assert_array_equal(infer(x[:1]), full[:1])
    np.testing.assert_array_equal(infer(x[:13]), full[:13])
    np.testing.assert_array_equal(infer(x[::-1]), full[::-1])
