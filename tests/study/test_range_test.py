"""The range test: its rule on made-up losses, its runs, and its answer against that of the study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given

import convc.models
from convc import nn
from convc.cli import main
from convc.data import Dataset, epoch_order, load
from convc.errors import RunError
from convc.optim import SGD, Adam
from convc.range_test import BACK, FELL, RangeRun, RangeTest, find_rate
from convc.rows import read_rows
from convc.runtime.program import Program

STUDY_BEST = (0.005, 0.02)
"""The learning rates that a study of LeNet-5 on mnist5k with momentum 0.9 and batches of 128 cannot tell apart."""


def made(smoothed: Sequence[float], diverged: bool = True, seed: int = 0) -> RangeRun:
    rates = tuple(10.0 ** (i - 5) for i in range(len(smoothed)))
    return RangeRun(seed, rates, tuple(smoothed), tuple(smoothed), rates[-1] if diverged else None)


@pytest.mark.parametrize(
    ("smoothed", "diverged", "suggestion"),
    [
        ([2, 1.9, 1, 0.5, 0.7, 1.9], True, 1e-3),
        ([2, 1, 0.5], False, None),  # falls to the end
        ([2, 1.98, 1.91, 3.1], True, None),  # never fell
        ([2, 1, math.nan], True, 1e-5),
        ([math.nan], True, None),
        ([2, 1, 1, 1.9], True, 1e-5),  # the first of two
    ],
)
def test_the_rule(smoothed: list[float], diverged: bool, suggestion: float | None) -> None:
    assert made(smoothed, diverged).suggestion == (suggestion if suggestion is None else pytest.approx(suggestion))


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=30), st.floats(0.01, 100))
def test_the_scale_of_the_losses_and_what_comes_after_the_lowest_change_nothing(
    smoothed: list[float], scale: float
) -> None:
    run = made(smoothed)
    scaled = made([s * 2.0 ** round(math.log2(scale)) for s in smoothed])
    assert run.suggestion == scaled.suggestion
    assert made([*smoothed, max(smoothed) + 1]).suggestion == run.suggestion


def test_seeds_are_summed_up_by_the_median_where_most_have_a_suggestion() -> None:
    fell, late, never = made([2, 1, 3]), made([2, 1.5, 0.5, 3]), made([2, 3])
    assert RangeTest((fell, late, late)).suggestion == late.suggestion
    assert RangeTest((fell, fell, never)).suggestion == fell.suggestion
    assert RangeTest((fell, never)).suggestion is None
    rates, losses, smoothed = RangeTest((fell, late)).curve
    assert len(rates) == len(losses) == len(smoothed) == 3
    assert losses[1] == 1.25


def by_hand(step: Program, data: Dataset, rates: Sequence[float], seed: int) -> list[float]:
    losses: list[float] = []
    for epoch in (1, 2, 3):
        order = epoch_order(44, seed=seed, epoch=epoch)
        for rows in (order[:16], order[16:32], order[32:]):
            if len(losses) < len(rates):
                losses.append(step(data.train.images[rows], data.train.labels[rows], lr=rates[len(losses)]))
    return losses


def test_each_batch_has_its_rate_and_the_average_is_not_biased(tiny: Callable[..., nn.Module], bands: Dataset) -> None:
    module, other = tiny(), tiny()
    found = find_rate(module, bands, batch=16, lowest=1e-4, highest=1e-2, steps=7, seed=5, seeds=2)
    data = bands.normalized()
    step = convc.compile(other, (16, 1, 6, 6), mode="train", optimizer=SGD(momentum=0.9))
    for run, seed in zip(found.runs, (5, 6)):
        assert run.seed == seed
        np.testing.assert_allclose(run.rates, np.geomspace(1e-4, 1e-2, 7), rtol=1e-12)
        other.reset(seed)
        assert list(run.losses) == by_hand(step, data, run.rates, seed)
        weights = [0.9 ** (6 - i) for i in range(7)]
        assert run.smoothed[-1] == pytest.approx(np.average(run.losses, weights=weights))
    other.reset(5)
    assert all((module.store[name] == other.store[name]).all() for name in module.store.names("parameter"))


def test_a_run_ends_where_the_loss_is_back(tiny: Callable[..., nn.Module], bands: Dataset) -> None:
    numbers = {"batch": 16, "lowest": 1e-3, "highest": 1e30, "steps": 60, "seeds": 2}
    found = find_rate(tiny(), bands, **numbers)  # type: ignore[arg-type]
    for run in found.runs:
        assert run.diverged_at == run.rates[-1] < 1e30
        first, *_, last = run.smoothed
        fell = [s < FELL * first for s in run.smoothed]
        assert not last <= BACK * first
        assert all(s <= BACK * first for s in run.smoothed[fell.index(True) : -1])
        assert run.suggestion is not None
        assert run.suggestion < run.diverged_at
    again = find_rate(tiny(), bands, **numbers)  # type: ignore[arg-type]
    assert repr(again) == repr(found), "the same again"  # a loss that is no number is not equal to itself


def test_its_answer_for_lenet_is_within_a_factor_of_three_of_the_studys() -> None:
    """For every one of six seeds, and their median within the range itself."""
    found = find_rate(convc.models.lenet5(), load("mnist5k"), seeds=6)
    low, high = STUDY_BEST
    for run in found.runs:
        assert run.suggestion is not None
        assert low / 3 <= run.suggestion <= 3 * high, run.seed
    assert found.suggestion is not None
    assert low <= found.suggestion <= high


def test_the_table_has_every_batch_of_every_seed(
    tiny: Callable[..., nn.Module], bands: Dataset, tmp_path: Path
) -> None:
    found = find_rate(tiny(), bands, batch=16, steps=9, seeds=2, optimizer=Adam())
    table, picture = found.write(tmp_path / "new" / "folder")
    assert picture.stat().st_size > 0
    rows = [row for _, row in read_rows(table, ["seed", "batch", "learning_rate", "loss", "smoothed_loss"], "")]
    assert len(rows) == sum(len(run.rates) for run in found.runs)
    assert [int(row[0]) for row in rows] == [run.seed for run in found.runs for _ in run.rates]
    assert [float(row[3]) for row in rows] == [loss for run in found.runs for loss in run.losses]


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ({"lowest": 1.0, "highest": 0.1}, "the rates of a range test grow, but 1 to 0.1 do not; give a higher --high"),
        ({"lowest": 0.0}, "a learning rate is a positive number, not 0.0"),
        ({"steps": 1}, "the batches of a range test is a whole number of at least 2, not 1; give another --steps"),
        ({"seeds": 0}, "the number of seeds is a whole number of at least 1, not 0; give another --seeds"),
        ({"seed": 2**64 - 1}, "a seed is a whole number from 0 to 2^64 - 1"),
    ],
)
def test_numbers_out_of_range_are_one_line(
    tiny: Callable[..., nn.Module], bands: Dataset, numbers: dict[str, float], line: str
) -> None:
    with pytest.raises(RunError) as caught:
        find_rate(tiny(), bands, **numbers)  # type: ignore[arg-type]
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def command(*args: str) -> Result:
    return CliRunner().invoke(main, ["lr-find", "model.py:tiny", "--data", "bands.npz", "--batch", "16", *args])


def test_the_command(files: Path) -> None:
    result = command("--seeds", "2", "--steps", "60", "--lowest", "1e-3", "--highest", "1e30")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["seed 0", "seed 1", "suggestion", "rule", "picture", "table"]
    assert lines[3] == "rule: the median over seeds of a tenth of the rate at which the smoothed loss is lowest"
    assert Path("out/lr-find/range_test.png").exists()
    short = command("--seeds", "1", "--steps", "12", "--highest", "1e-4", "--optimizer", "adam", "--out", "short")
    assert short.exit_code == 0, short.output
    assert short.stdout.splitlines()[1] == "no suggestion: the loss did not fall; give more --steps"
    wrong = command("--steps", "0")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    help = CliRunner().invoke(main, ["lr-find", "--help"]).stdout
    assert "\n    convc lr-find lenet5" in help
