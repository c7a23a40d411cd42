"""Dropout: the same elements on every target, layout and number of threads, forward and backward, and after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc import nn
from convc.errors import RunError
from convc.ir.interp import interpret
from convc.ir.philox import uniform
from convc.passes.autodiff import autodiff
from convc.passes.fuse_epilogue import fuse_epilogue
from convc.testing import check_rewrite

Array = npt.NDArray[Any]
TEXT = """graph @g(%x: f32[n<={n},5,3,7], %seed: i32[] scalar, %step: i32[] scalar) {{
  %y: f32[n<={n},5,3,7] = dropout(%x, %seed, %step) {{p={p}, stream={stream}}}
  return %y
}}"""


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = convc.get_num_threads()
    yield
    convc.set_num_threads(before)


def word(counter: tuple[int, ...], key: tuple[int, int]) -> int:
    """The first word of Philox4x32-10, in Python's integers."""
    low, mask = (0xD2511F53, 0xCD9E8D57), 0xFFFFFFFF
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = low[0] * c[0], low[1] * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & mask, (a >> 32) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c[0]


def kept(count: int, p: float, seed: int, step: int, stream: int) -> Array:
    return np.array([(word((i, 0, step, 0), (seed, stream)) >> 8) / 2**24 >= p for i in range(count)])


@pytest.mark.parametrize("capacity", [1, 5, 20, 64])
def test_the_compiled_mask_is_philoxs_at_every_capacity(capacity: int) -> None:
    """Row-major, and in blocks of 4 and 16 lanes; seeds beyond 2^24, which no float holds, and beyond 2^31."""
    program = convc.compile(convc.parse_graph(TEXT.format(n=capacity, p=0.3, stream=9)), seed=2**32 - 3)
    for rows in sorted({1, (capacity + 1) // 2, capacity}):
        x = np.full((rows, 5, 3, 7), 0.7, np.float32)
        wanted = kept(x.size, 0.3, 2**32 - 3, 2**24 + 1, 9).reshape(x.shape)
        y = program(x, step=2**24 + 1)
        np.testing.assert_array_equal(y != 0, wanted)
        np.testing.assert_allclose(y[wanted], 1.0, rtol=3 * 2.0**-24)  # 0.7, 1/0.7 and their product, each rounded
    assert any("_random(" in k.source for k in program.kernels)


def test_numbers_at_uneven_counters_two_of_one_seed_and_constant_words() -> None:
    """Lanes whose counters are no even distance apart; a seed that two of them share keeps bits that no float has."""
    text = """graph @g(%x: f32[40], %seed: i32[] scalar, %step: i32[] scalar) {
      %0: f32[40], %1: f32[40] = loops(%x, %seed, %step) {
        for(i:40)
        map() {
          store 0[i] = $0[i] + random((i*5 + 2) / 3, 6, $1[], $2[]) * random(i, 7, $1[], $2[]);
          store 1[i] = random(-i*3 + 200, 8, 16777215.0, 5.0) + random(17, 9, $1[], 4.0)
        }
      }
      return %0, %1
    }"""
    graph = convc.parse_graph(text)
    program = convc.compile(graph, seed=2**24 + 1)
    x = np.zeros(40, np.float32)
    given = {"x": x, "seed": np.asarray(2**24 + 1), "step": np.asarray(2**25 + 1)}
    exact = interpret(graph, given)
    i = np.arange(40)
    drawn = [uniform(at, seed=2**24 + 1, stream=s, step=2**25 + 1) for at, s in (((i * 5 + 2) // 3, 6), (i, 7))]
    np.testing.assert_array_equal(exact["0"], drawn[0] * drawn[1])
    for found, name in zip(program(x, step=2**25 + 1), ("0", "1")):
        np.testing.assert_allclose(found, exact[name], rtol=2 * 2.0**-24)
    assert any("f32x1_random(" in k.source and "f32x16_random(" in k.source for k in program.kernels)


def test_forward_and_backward_drop_the_same_elements() -> None:
    graph = autodiff(convc.parse_graph(TEXT.format(n=20, p=0.5, stream=1)))
    program = convc.compile(graph, seed=11)
    ones = np.ones((17, 5, 3, 7), np.float32)
    y, dx = program(ones, ones, step=4)
    np.testing.assert_array_equal(y, dx)
    assert set(np.unique(y)) == {0.0, 2.0}
    again, _ = program(ones, ones, step=5)
    other, _ = program(ones, ones, step=4, seed=12)
    agree = [np.mean((y == 0) == (z == 0)) for z in (again, other)]
    assert all(abs(a - 0.5) < 5 * 0.5 / sqrt(y.size) for a in agree)


@pytest.mark.witness
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_statistics_are_those_of_pytorch(p: float) -> None:
    """Of n elements the kept ones number n(1-p), give or take five of sqrt(n p (1-p)); what is kept is scaled alike."""
    import torch

    program = convc.compile(convc.parse_graph(TEXT.format(n=64, p=p, stream=0)))
    x = np.random.default_rng(0).uniform(1, 2, (64, 5, 3, 7)).astype(np.float32)
    torch.manual_seed(0)
    count, spread = 20 * x.size * (1 - p), sqrt(20 * x.size * p * (1 - p))
    ours = np.stack([program(x, step=i) for i in range(20)])
    theirs = np.stack([torch.nn.functional.dropout(torch.from_numpy(x), p).numpy() for _ in range(20)])
    for y in (ours, theirs):
        assert abs(np.count_nonzero(y) - count) < 5 * spread
    both = (ours != 0) & (theirs != 0)
    np.testing.assert_allclose(ours[both], theirs[both], rtol=4 * 2.0**-24)
    places = (ours != 0).mean(0)  # no element is favoured: 20 draws each, five deviations and a half (of 6720 places)
    assert np.abs(places - (1 - p)).max() < 5.5 * sqrt(p * (1 - p) / 20)


def net() -> nn.Sequential:
    return nn.Sequential(
        ("conv", nn.Conv2d(2, 4, 3, padding=1)),
        ("drop1", nn.Dropout(0.25)),
        ("act", nn.LeakyReLU(0.1)),
        ("pool", nn.AdaptiveMaxPool2d((3, 4))),
        ("flat", nn.Flatten()),
        ("fc1", nn.Linear(48, 16)),
        ("act1", nn.ReLU()),
        ("drop2", nn.Dropout()),
        ("fc2", nn.Linear(16, 5)),
        name="net",
    )


def batch(rows: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 2, 7, 6)).astype(np.float32), rng.integers(0, 5, rows)


def trained(threads: int, seed: int = 3, stop: int = 0, optimizer: Any = None, **numbers: Any) -> bytes:
    """Parameters and state after five steps; with `stop`, written out and read back into a new model after so many."""
    convc.set_num_threads(threads)
    rule = optimizer or convc.SGD(lr=0.1, momentum=0.9)
    model = net()
    step = convc.compile(model, (9, 2, 7, 6), mode="train", optimizer=rule, seed=seed)
    for i, rows in enumerate((9, 9, 4, 1, 8)):
        if stop and i == stop:
            saved = model.store.snapshot()
            model = net()
            step = convc.compile(model, (9, 2, 7, 6), mode="train", optimizer=rule, seed=seed)
            model.store.restore(saved)
        step(*batch(rows, i), **numbers)
    return b"".join(model.store[n].tobytes() for n in model.store)


@pytest.mark.parametrize("optimizer", [None, convc.Adam()], ids=["momentum", "adam"])
def test_threads_runs_and_a_resumed_run_give_the_same_bytes(optimizer: Any) -> None:
    whole = trained(1, optimizer=optimizer)
    assert trained(2, optimizer=optimizer) == whole
    assert trained(2, optimizer=optimizer, stop=3) == whole
    assert trained(1, optimizer=optimizer, seed=4) != whole


def test_a_train_step_follows_the_interpreter() -> None:
    model = net()
    step = convc.compile(model, (9, 2, 7, 6), mode="train", optimizer=convc.Adam(eps=1e-3), seed=5)
    graph = step.trace.after("apply_optimizer")
    scalars = {v.name: v.type.dtype for v in graph.inputs_of("scalar")}
    assert scalars.pop("seed") == "i32"
    counts = [v.name for v in graph.inputs_of("state") if v.type.dtype == "i32"]
    assert counts == ["dropout.step", "adam.step"]
    assert scalars == dict.fromkeys(("lr", "beta1", "beta2", "eps", "weight_decay"), "f32")
    state = {k: a.astype(np.float64) for k, a in step.parameters.snapshot().items()}
    numbers = {k: np.asarray(np.float32(v)) for k, v in convc.Adam(eps=1e-3).scalars.items()} | {"seed": np.asarray(5)}
    before = dict(state)
    for i, rows in enumerate((9, 4, 8)):
        x, labels = batch(rows, i)
        given = {"x": x, "labels": labels, **numbers, **state}
        found = interpret(graph, given)
        assert step(x, labels) == pytest.approx(float(found[graph.outputs[0].name]), rel=1e-5)
        state = {k: found[k] for k in state}
    for name in step.parameters.names("parameter"):
        wanted = state[name] - before[name]
        assert np.abs(step.parameters[name] - before[name] - wanted).max() < 1e-4 * np.abs(wanted).max(), name


def test_only_training_drops_and_every_layer_draws_its_own() -> None:
    model = net()
    infer = convc.compile(model, (9, 2, 7, 6))
    step = convc.compile(model, (9, 2, 7, 6), mode="train")
    assert "dropout" not in infer.ir()
    assert not infer.graph.inputs_of("scalar")
    forward = [n.op for n in step.trace.after("input").nodes if n.op.name == "dropout"]
    assert [(op.p, op.stream) for op in forward] == [(0.25, 0), (0.5, 1)]  # type: ignore[attr-defined]
    x, _ = batch(9, 0)
    np.testing.assert_array_equal(infer(x), infer(x))


def test_a_mask_joins_the_product_before_it() -> None:
    head = "graph @g(%x: f32[n<=4,3], %w: f32[5,3], %seed: i32[] scalar, %step: i32[] scalar) {"
    check_rewrite(
        head
        + """
          %0: f32[n<=4,5] = linear(%x, %w)
          %1: f32[n<=4,5] = leaky_relu(%0) {slope=0.5}
          %2: f32[n<=4,5] = dropout(%1, %seed, %step) {stream=2}
          return %2 }""",
        fuse_epilogue,
        head
        + """
          %2: f32[n<=4,5] = fused(%x, %w, %seed, %step)
            {anchor=linear, steps=[leaky_relu($4) {slope=0.5}, dropout($5, $2, $3) {stream=2}]} loc(: fuse_epilogue)
          return %2 }""",
    )


def test_numbers_that_do_not_fit() -> None:
    program = convc.compile(convc.parse_graph(TEXT.format(n=2, p=0.5, stream=0)))
    x = np.ones((2, 5, 3, 7), np.float32)
    for numbers, message in (
        ({}, "the run-time number step was not given; call with step=..."),
        ({"step": 1.5}, "step is a whole number from -2147483648 to 2^31 - 1, not 1.5; give another"),
        ({"step": float("nan")}, "step is a whole number from -2147483648 to 2^31 - 1, not nan"),
        ({"step": 2**31}, "not 2147483648; give another"),
        ({"step": 1, "seed": -1}, "a seed is a whole number from 0 to 2^64 - 1, not -1; give another seed="),
    ):
        with pytest.raises(RunError) as caught:
            program(x, **numbers)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(program(x, step=1), program(x, step=np.int64(1), seed=np.uint64(0)))
