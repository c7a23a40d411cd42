import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made_runs import CHANCE_LOSS, first, noisy, outcome, run, shape

from convc.report.history import EpochRecord, RunHistory, Setting
from convc.report.run_curves import chance_bound, levels
from convc.report.thresholds import MIN_EPOCHS
from convc.report.verdict import Outcome, judge

SHAPES = {
    "converges": Outcome.CONVERGED,
    "overfits": Outcome.OVERFITS,
    "improves": Outcome.IMPROVING,
    "collapses": Outcome.COLLAPSED,
    "at chance": Outcome.DIVERGED,
}
shares = st.floats(0, 1)
losses = st.floats(0, 1e6)


@st.composite
def improving_runs(draw: st.DrawFn) -> RunHistory:
    """Losses that never rise and an accuracy that never falls, in steps of any size."""
    steps = draw(st.lists(st.tuples(shares, shares, shares), min_size=MIN_EPOCHS, max_size=60))
    train, validation, misread = np.cumprod(np.array(steps), axis=0).T
    return run(3 * train, 3 * validation, 1 - 0.9 * misread)


@st.composite
def any_runs(draw: st.DrawFn) -> RunHistory:
    rows = draw(st.lists(st.tuples(losses, losses, shares), min_size=1, max_size=40))
    return run(*zip(*rows))


@given(improving_runs())
def test_a_curve_that_only_improves_never_fluctuates_collapses_or_overfits(made: RunHistory) -> None:
    for epochs in range(MIN_EPOCHS, len(made.epochs) + 1):
        assert outcome(first(made, epochs)) in (Outcome.IMPROVING, Outcome.CONVERGED, Outcome.DIVERGED)


@given(any_runs(), st.floats(0.3, 1), st.floats(0, 0.1), st.integers(0, 3))
def test_what_falls_to_chance_at_the_end_has_collapsed(made: RunHistory, best: float, end: float, more: int) -> None:
    good, bad = EpochRecord(1, 0.5, 0.5, best, best), EpochRecord(1, 0.5, CHANCE_LOSS, end, end)
    records = (*made.epochs, good, *(bad for _ in range(more + 1)))
    assume(len(records) >= MIN_EPOCHS)
    fallen = replace(made, epochs=tuple(replace(r, epoch=i) for i, r in enumerate(records, start=1)))
    assert outcome(fallen) is Outcome.COLLAPSED


@given(any_runs())
def test_a_reason_has_no_negative_fall_and_no_nan(made: RunHistory) -> None:
    verdict = judge(made, 10)
    assert verdict.rule
    assert not re.search(r"-\d|nan|inf", verdict.because), verdict.because
    assert "epoch k" not in verdict.words
    assert verdict.outcome.learned == math.isfinite(verdict.loss)


@given(any_runs(), shares)
def test_the_test_accuracy_takes_no_part(made: RunHistory, accuracy: float) -> None:
    other = replace(made, epochs=tuple(replace(r, test_accuracy=accuracy) for r in made.epochs))
    assert judge(made, 10) == judge(other, 10)


@pytest.mark.parametrize("name", SHAPES)
@given(epochs=st.integers(12, 120))
def test_the_verdict_does_not_depend_on_how_long_an_epoch_is(name: str, epochs: int) -> None:
    short, long = judge(shape(name, 12), 10), judge(shape(name, epochs), 10)
    assert short.outcome is long.outcome is SHAPES[name]
    if short.epoch and long.epoch:  # to the grid of the shorter, and half a window
        assert abs(short.epoch / 12 - long.epoch / epochs) < 2.5 / 12


@pytest.mark.parametrize("name", SHAPES)
@given(delay=st.integers(0, 6))
def test_a_later_start_moves_the_epoch_and_nothing_else(name: str, delay: int) -> None:
    early, late = judge(shape(name, 40), 10), judge(shape(name, 40 + delay, delay), 10)
    assert early.outcome is late.outcome
    if early.epoch and late.epoch:
        assert abs(late.epoch - early.epoch - delay) <= 1


@pytest.mark.parametrize("images", [200, 500, 10_000])
@pytest.mark.parametrize("epochs", [12, 20, 30, 60])
@pytest.mark.parametrize("name", SHAPES)
def test_the_verdict_is_the_same_in_95_percent_of_redraws(name: str, epochs: int, images: int) -> None:
    """With the noise of the settled runs that were recorded: a swing of 5 %, which noise of 6 % has."""
    rng = np.random.default_rng(epochs)
    made = shape(name, epochs)
    found = [judge(noisy(made, rng, images, loss=0.06), 10, images).outcome for _ in range(200)]
    assert found.count(SHAPES[name]) >= 0.95 * len(found)


@pytest.mark.parametrize("accuracy", [0.3, 0.6, 0.9, 0.97, 0.99])
@pytest.mark.parametrize(("epochs", "noise"), [(12, 0.06), (20, 0.08), (30, 0.1), (60, 0.1)])
def test_a_noisy_plateau_is_not_called_by_its_luck(accuracy: float, epochs: int, noise: float) -> None:
    rng = np.random.default_rng(epochs)
    plateau = run(np.full(epochs, 0.1), np.full(epochs, 0.2), np.full(epochs, accuracy))
    found = [outcome(noisy(plateau, rng, loss=noise)) for _ in range(200)]
    assert found.count(Outcome.CONVERGED) >= 0.95 * len(found)


def test_the_epoch_of_convergence_is_near_the_true_one_in_95_percent_of_redraws() -> None:
    rng = np.random.default_rng(30)
    made = shape("converges", 30)
    found = [judge(noisy(made, rng, loss=0.08), 10).arrival for _ in range(200)]
    true = judge(made, 10).arrival
    assert true
    assert sum(arrival is not None and abs(arrival - true) <= 30 / 5 for arrival in found) >= 0.95 * len(found)


def test_losses_that_fall_but_are_worse_than_a_guess_are_no_slow_start() -> None:
    loss = np.linspace(5, 2.4, 12)
    assert outcome(run(loss, loss, np.full(12, 0.1))) is Outcome.DIVERGED


@pytest.mark.parametrize("epochs", range(6, 31))
def test_a_slow_start_is_still_improving_at_every_horizon(epochs: int) -> None:
    """Ever faster, as SGD leaves chance at a small rate; the accuracy is at chance to the end, or nearly."""
    loss = CHANCE_LOSS - 0.001 * 1.15 ** np.arange(epochs)
    for accuracy in (np.full(epochs, 0.1), np.linspace(0.1, 0.3, epochs)):
        assert outcome(run(loss, loss, accuracy)) is Outcome.IMPROVING


def test_a_run_at_a_loss_of_nothing_has_converged() -> None:
    loss = [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.008, 0.0005, 4e-5, 4e-6]
    for made in (run(loss, loss, np.linspace(0.9, 1, 10)), run([0.0] * 10, [0.0] * 10, [1.0] * 10)):
        assert outcome(made) is Outcome.CONVERGED


def test_what_was_lost_on_the_way_is_no_convergence() -> None:
    """90 % at epoch 10, 12.6 % at 15, 90 % at 30."""
    accuracy = np.full(30, 0.9)
    accuracy[13:16] = 0.3, 0.126, 0.4
    loss = np.where(accuracy < 0.8, 2.2, 0.3)
    verdict = judge(run(loss, loss, accuracy), 10)
    assert verdict.rule == "dip"
    assert verdict.outcome is Outcome.FLUCTUATES
    assert verdict.because == "validation accuracy reached 90.0%, was 30.0% at epoch 14 and ended at 90.0%"


def test_a_lasting_loss_of_accuracy_is_collapse() -> None:
    made = shape("converges", 30)
    lost = [replace(r, validation_accuracy=0.85) if r.epoch > 18 else r for r in made.epochs]
    verdict = judge(replace(made, epochs=tuple(lost)), 10)
    assert (verdict.outcome, verdict.rule) == (Outcome.COLLAPSED, "lost")
    assert verdict.because == "validation accuracy over the last 10 epochs, 85.0%, is below the best 10, 96.9%"


def test_accuracy_lost_at_the_very_end_is_no_convergence() -> None:
    made = shape("converges", 30)
    lost = [replace(r, validation_accuracy=0.8) if r.epoch > 27 else r for r in made.epochs]
    assert judge(replace(made, epochs=tuple(lost)), 10).rule == "fell back"


def test_levels_are_compared_over_windows_of_one_length() -> None:
    """The best 3 epochs of a rising curve lie far above its last third, and nothing was lost."""
    accuracy = np.linspace(0.1, 0.9, 30)
    loss = np.linspace(2.3, 0.3, 30)
    assert max(levels(accuracy.tolist(), 3)) - levels(accuracy.tolist(), 10)[-1] > 0.05
    assert outcome(run(loss, loss, accuracy)) is Outcome.IMPROVING


def test_a_rate_that_is_too_high_fluctuates_and_says_by_how_much() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        train, validation = (level * np.exp(0.3 * rng.normal(size=30)) for level in (0.15, 0.35))
        verdict = judge(run(train, validation, 0.93 + 0.015 * rng.normal(size=30)), 10)
        assert verdict.outcome is Outcome.FLUCTUATES
        assert re.fullmatch(
            r"over the last 15 epochs validation loss swings by \d+% and training loss by \d+%, which rose in \d+ of "
            r"them",
            verdict.because,
        )


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("at", [1, 3, 12])
def test_a_non_finite_loss_is_divergence_however_short(value: float, at: int) -> None:
    last = EpochRecord(at, value, value, 0.1, 0.1)
    verdict = judge(RunHistory(Setting(1.0), 0, (*shape("at chance", 20).epochs[: at - 1], last)), 10)
    assert verdict.words == "diverged or at chance"
    assert verdict.because == f"the loss became {'NaN' if math.isnan(value) else 'infinite'} at epoch {at}"


@pytest.mark.parametrize("epochs", range(MIN_EPOCHS))
@pytest.mark.parametrize("name", SHAPES)
def test_few_epochs_are_too_short_to_tell(name: str, epochs: int) -> None:
    verdict = judge(first(shape(name, 20), epochs), 10)
    assert verdict.words == "too short to tell"
    assert verdict.because == f"{epochs} of the 6 epochs that a verdict needs"


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
@pytest.mark.parametrize("images", [500, 10_000])
def test_chance_depends_on_the_classes_and_the_images(classes: int, images: int) -> None:
    rng = np.random.default_rng(classes)
    for _ in range(50):
        accuracy = rng.binomial(images, 1 / classes, size=30) / images
        loss = math.log(classes) + 0.01 * rng.normal(size=30)
        assert judge(run(loss, loss, accuracy), classes, images).outcome is Outcome.DIVERGED
    assert 1 / classes < chance_bound(classes, images) < 1


def test_the_words_name_the_epoch() -> None:
    assert judge(shape("converges", 30), 10).words == "converged at about epoch 11"
    assert judge(shape("overfits", 30), 10).words == "overfits from epoch 10"
    assert judge(shape("improves", 30), 10).words == "still improving"
