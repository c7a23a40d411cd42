"""Schedules of the learning rate: their forms, by property, and what a training step gets of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from convc.data import Dataset
from convc.errors import RunError
from convc.nn import Module
from convc.schedule import FORMS, depends_on_epochs, schedule
from convc.train import Trainer, fit

FALLING = st.sampled_from(["constant", "cosine", "linear", "exponential:0.9", "step:2,0.5", "step:7,1"])
WARM = st.integers(1, 5)
RATES = st.floats(1e-6, 1e3)
EPOCHS, BATCHES = st.integers(1, 40), st.integers(1, 50)


def of_batches(text: str, lr: float, epochs: int, batches: int) -> list[float]:
    rate = schedule(text, lr, epochs)
    return [rate(epoch, batch, batches) for epoch in range(1, epochs + 1) for batch in range(batches)]


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4]),
        ("cosine", [0.4, 0.2 * (1 + math.sqrt(0.5)), 0.2, 0.2 * (1 - math.sqrt(0.5))]),
        ("linear", [0.4, 0.3, 0.2, 0.1]),
        ("exponential:0.5", [0.4, 0.2, 0.1, 0.05]),
        ("step:2,0.5", [0.4, 0.4, 0.2, 0.2]),
        ("step:1,0.1", [0.4, 0.04, 0.004, 0.0004]),
        ("warmup:2+constant", [0.2, 0.4, 0.4, 0.4]),
        ("warmup:1+step:1,0.5", [0.4, 0.4, 0.2, 0.1]),
        ("warmup:2+cosine", [0.2, 0.4, 0.4, 0.2]),
        ("warmup:2+linear", [0.2, 0.4, 0.4, 0.2]),
    ],
)
def test_rates_of_epochs(text: str, rates: list[float]) -> None:
    rate = schedule(text, 0.4, 4)
    assert [rate(epoch) for epoch in range(1, 5)] == pytest.approx(rates)


@given(FALLING, RATES, EPOCHS, BATCHES)
def test_without_warm_up_rates_begin_at_lr_never_rise_and_change_between_epochs(
    text: str, lr: float, epochs: int, batches: int
) -> None:
    rates = of_batches(text, lr, epochs, batches)
    assert rates[0] == pytest.approx(lr)
    assert all(0 <= b <= a for a, b in pairwise(rates))
    rate = schedule(text, lr, epochs)
    for epoch in range(1, epochs + 1):
        assert set(rates[(epoch - 1) * batches : epoch * batches]) == {rate(epoch)}


@given(FALLING, WARM, RATES, EPOCHS, BATCHES)
def test_a_warm_up_rises_evenly_to_lr_and_then_the_rest_is_the_schedule_of_the_other_epochs(
    text: str, warm: int, lr: float, epochs: int, batches: int
) -> None:
    rates = of_batches(f"warmup:{warm}+{text}", lr, warm + epochs, batches)
    rising = rates[: warm * batches]
    assert rising[-1] == pytest.approx(lr)
    assert rising == pytest.approx([lr * (i + 1) / len(rising) for i in range(len(rising))])
    assert rates[warm * batches :] == of_batches(text, lr, epochs, batches)


@given(RATES, EPOCHS, BATCHES)
def test_one_cycle_rises_once_and_falls_once(lr: float, epochs: int, batches: int) -> None:
    rates = of_batches("onecycle", lr, epochs, batches)
    top = rates.index(max(rates))
    assert all(0 < r <= lr * (1 + 1e-12) for r in rates)
    assert all(a <= b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in pairwise(rates[top:]))
    assert rates[-1] == pytest.approx(lr / 25e4)
    if len(rates) >= 10:
        assert rates[0] == pytest.approx(lr / 25)
        assert max(rates) > 0.8 * lr


@given(st.sampled_from(["constant", "exponential:0.9", "step:3,0.1", "warmup:3+constant", "warmup:2+step:1,0.5"]))
def test_rates_that_do_not_depend_on_the_epochs_stay_when_there_are_more(text: str) -> None:
    assert not depends_on_epochs(text)
    assert of_batches(text, 0.1, 20, 3)[: 3 * 7] == of_batches(text, 0.1, 7, 3)


@pytest.mark.parametrize("text", ["cosine", "linear", "onecycle", "warmup:3+cosine", "warmup:1+linear"])
def test_rates_that_depend_on_the_epochs_say_so(text: str) -> None:
    assert depends_on_epochs(text)
    assert of_batches(text, 0.1, 20, 3)[: 3 * 7] != of_batches(text, 0.1, 7, 3)


@pytest.mark.witness
@pytest.mark.parametrize(("epochs", "batches"), [(10, 5), (3, 32), (7, 1), (1, 4)])
def test_one_cycle_is_pytorchs(epochs: int, batches: int) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, epochs=epochs, steps_per_epoch=batches, cycle_momentum=False
    )
    seen = []
    for _ in range(epochs * batches):
        seen.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert of_batches("onecycle", 0.1, epochs, batches) == pytest.approx(seen, rel=1e-9)


@pytest.mark.parametrize(
    "text",
    ["", "lin", "step", "step:2", "step:x,0.1", "step:2,0.1,3", "cosine:3", "constant:", "exponential", "+cosine",
     "warmup+cosine", "warmup:2", "warmup:2+", "warmup:2+warmup:2+cosine", "warmup:1.5+cosine", "cosine+warmup:2"],
)  # fmt: skip
def test_an_unknown_schedule_is_refused(text: str) -> None:
    for function in (depends_on_epochs, lambda t: schedule(t, 0.1, 4)):
        with pytest.raises(RunError) as caught:
            function(text)  # type: ignore[operator]
        assert str(caught.value) == f"a schedule is {FORMS}, not {text!r}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("step:0,0.1", "step:EPOCHS,FACTOR in a schedule has EPOCHS >= 1, but it is 'step:0,0.1'; give another"),
        ("step:2,0", "step:EPOCHS,FACTOR in a schedule has 0 < FACTOR <= 1, but it is 'step:2,0'; give another"),
        ("exponential:1.5", "exponential:FACTOR in a schedule has 0 < FACTOR <= 1"),
        ("exponential:nan", "exponential:FACTOR in a schedule has 0 < FACTOR <= 1"),
        ("warmup:0+cosine", "warmup:EPOCHS in a schedule has EPOCHS >= 1"),
        ("warmup:2+onecycle", "onecycle rises by itself, but the schedule is 'warmup:2+onecycle'; leave out the"),
        ("warmup:4+cosine", "a warm-up of 4 epochs leaves nothing of 4 epochs for cosine; give more --epochs, or a"),
    ],
)
def test_numbers_out_of_range_are_refused(text: str, line: str) -> None:
    with pytest.raises(RunError) as caught:
        schedule(text, 0.1, 4)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_batch_gets_its_rate_and_a_run_goes_on_within_the_warm_up(
    sgd: tuple[Module, Trainer], bands: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, trainer = sgd
    seen: list[float] = []
    call: Callable[..., object] = type(trainer.step).__call__

    def spied(self: object, *inputs: object, **named: float) -> object:
        if "lr" in named:
            seen.append(named["lr"])
        return call(self, *inputs, **named)

    monkeypatch.setattr(type(trainer.step), "__call__", spied)
    rate = schedule("warmup:2+step:1,0.5", 0.06, 4)
    module.reset(0)
    results = fit(trainer.step, trainer.evaluation, bands, lr=rate, epochs=4)
    assert seen == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, *[0.06] * 3, *[0.03] * 3])
    assert [r.lr for r in results] == pytest.approx([0.03, 0.06, 0.06, 0.03])
    whole = module.store.snapshot()
    module.reset(0)
    fit(trainer.step, trainer.evaluation, bands, lr=rate, epochs=1)
    fit(trainer.step, trainer.evaluation, bands, lr=rate, epochs=4, start=1)
    assert all((module.store[name] == array).all() for name, array in whole.items())
