from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import first, recorded, run

from convc.report.history import RunHistory, Setting
from convc.report.refine import next_rates, should_stop, step_down, step_up
from convc.report.run_curves import lowest_level
from convc.report.summary import Summary, summarise
from convc.report.thresholds import NEAR


def settled(lr: float, loss: float) -> Summary:
    fall = np.exp(-np.arange(20) / 2)
    made = run(loss / 2 + 2 * fall, loss + 2 * fall, 0.97 - 0.87 * fall, lr)
    return summarise(made.setting, [made], 10)


def at_chance(lr: float) -> Summary:
    return summarise(Setting(lr), [run([2.31] * 9, [2.31] * 9, [0.1] * 9, lr)], 10)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0.1: 0.5, 0.01: 0.1, 0.001: 0.5}, (0.02, 0.002, 0.05, 0.005)),
        ({0.1: 0.5, 0.01: 0.1, 0.005: 0.3}, (0.02, 0.05, 0.03)),
        ({0.02: 0.5, 0.01: 0.1, 0.005: 0.3}, (0.007, 0.015)),
        ({0.1: 0.1, 0.01: 0.5}, (0.2, 0.02, 0.05)),
        ({0.1: 0.5, 0.01: 0.1}, (0.005, 0.02, 0.05)),
        ({0.01: 0.1}, (0.005, 0.02, 0.007, 0.015)),
        ({0.1: 0.5, 0.01: 0.1, 0.005: 0.101, 0.001: 0.5}, (0.02, 0.05, 0.002)),
    ],
)
def test_rates_lie_between_and_beside_the_best(losses: dict[float, float], expected: tuple[float, ...]) -> None:
    assert next_rates([settled(*pair) for pair in losses.items()], len(expected)) == expected


def test_a_rate_above_the_best_that_failed_is_a_neighbour() -> None:
    assert next_rates([at_chance(0.1), settled(0.01, 0.1), settled(0.005, 0.2)], 2) == (0.02, 0.05)


def test_where_nothing_learned_rates_go_down() -> None:
    assert next_rates([at_chance(1.0), at_chance(0.1)], 3) == (0.05, 0.02, 0.01)


@given(
    st.dictionaries(st.floats(1e-6, 10), st.floats(0.01, 1), min_size=1, max_size=6),
    st.integers(0, 12),
)
def test_new_rates_are_new_round_and_positive(losses: dict[float, float], count: int) -> None:
    found = next_rates([settled(*pair) for pair in losses.items()], count)
    assert len(found) == len(set(found)) <= count
    assert not set(found) & set(losses)
    assert all(rate > 0 and float(f"{rate:.1e}") == rate for rate in found)


@given(st.floats(1e-6, 100))
def test_a_step_is_at_most_two_and_a_half_times(lr: float) -> None:
    assert lr / 2.5 * 0.999 <= step_down(lr) < lr < step_up(lr) <= lr * 2.5 * 1.001


BEST = [recorded()[0.02, seed] for seed in range(3)]


def stopped_at(made: RunHistory) -> int | None:
    return next((n for n in range(1, 61) if should_stop(first(made, n), BEST, 10)), None)


@pytest.mark.parametrize("epochs", [30, 60])
def test_a_run_that_catches_up_is_not_stopped(epochs: int) -> None:
    """Those whose lowest level comes within 10 % of the best setting's: all but one, which dips late."""
    best = [first(r, epochs) for r in BEST]
    bar = (1 + NEAR) * max(map(lowest_level, best))
    runs = [first(recorded()[lr, seed], epochs) for lr in (0.05, 0.02, 0.01, 0.005, 0.002) for seed in range(6)]
    good = [made for made in runs if lowest_level(made) <= bar]
    stopped = [made for made in good if any(should_stop(first(made, n), best, 10) for n in range(1, epochs + 1))]
    assert len(good) > 12
    assert len(stopped) <= 1, stopped


def test_a_run_that_cannot_catch_up_is_stopped() -> None:
    assert all(stopped_at(recorded()[1.0, seed]) == 20 for seed in range(6))
    at = [stopped_at(recorded()[0.1, seed]) for seed in range(6)]
    assert all(epoch is not None and 20 <= epoch <= 40 for epoch in at), at


def test_no_run_is_stopped_early_on_or_at_its_end() -> None:
    made = recorded()[1.0, 0]
    assert not any(should_stop(first(made, n), BEST, 10) for n in range(20))
    assert not should_stop(made, BEST, 10)
    lost = replace(made.epochs[0], validation_loss=float("nan"), validation_accuracy=float("nan"))
    assert not should_stop(replace(made, epochs=(lost,)), BEST, 10)


def test_with_nothing_to_catch_up_with_no_run_is_stopped() -> None:
    assert not should_stop(recorded()[1.0, 0], [], 10)
