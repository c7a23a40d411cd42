"""The verdicts on runs that were trained: LeNet-5 on mnist5k, eight rates, six seeds, at every horizon from 6 to 60."""

import re
from collections import Counter

import pytest
from made_runs import first, recorded

from convc.report.history import Setting
from convc.report.summary import summarise
from convc.report.thresholds import MIN_EPOCHS
from convc.report.verdict import Outcome, Verdict, judge

C, O, I, F, X, D = list(Outcome)[:6]
SEEDS = range(6)
HORIZONS = range(MIN_EPOCHS, 61)


def verdicts(lr: float, epochs: int) -> list[Verdict]:
    return [judge(first(recorded()[lr, seed], epochs), 10) for seed in SEEDS]


def outcomes(lr: float, epochs: int) -> list[Outcome]:
    return [verdict.outcome for verdict in verdicts(lr, epochs)]


@pytest.mark.parametrize("epochs", HORIZONS)
def test_a_rate_of_1_is_at_chance(epochs: int) -> None:
    assert set(outcomes(1.0, epochs)) == {D}


@pytest.mark.parametrize("epochs", HORIZONS)
def test_the_lowest_rates_do_not_fluctuate(epochs: int) -> None:
    """0.001, at 10 epochs, learns every epoch with every seed."""
    assert set(outcomes(0.001, epochs)) == {I}
    assert set(outcomes(0.002, epochs)) <= {I, C}
    assert set(outcomes(0.005, epochs)) <= {I, C, O}


@pytest.mark.parametrize("epochs", HORIZONS)
def test_a_rate_that_is_too_high_has_not_converged(epochs: int) -> None:
    """Two of six seeds never leave chance; of the others, one may look settled for a while."""
    found = Counter(outcomes(0.1, epochs))
    assert found[D] == 2
    assert found[C] <= (1 if epochs >= 18 else 2)
    assert found[F] >= 3 or epochs < 40


def test_a_run_that_collapsed_has_not_converged() -> None:
    for epochs in HORIZONS:
        for seed in SEEDS:
            made = first(recorded()[0.1, seed], epochs)
            accuracy = [record.validation_accuracy for record in made.epochs]
            if accuracy[-1] < max(accuracy) - 0.3:
                assert judge(made, 10).outcome in (X, D)


@pytest.mark.parametrize("epochs", [30, 45, 60])
@pytest.mark.parametrize("lr", [0.02, 0.01])
def test_the_best_rates_converge_or_overfit(lr: float, epochs: int) -> None:
    found = Counter(outcomes(lr, epochs))
    assert found[C] + found[O] == 6


@pytest.mark.parametrize("lr", [0.02, 0.01])
def test_they_overfit_in_the_end(lr: float) -> None:
    """As validation loss rises by half while training loss goes to nothing."""
    assert Counter(outcomes(lr, 60))[O] >= 5


def test_a_lower_rate_takes_longer() -> None:
    """0.005 is still improving where 0.01 has converged, at 20 epochs; it has converged at 30, and overfits by 60."""
    assert Counter(outcomes(0.005, 15))[I] >= 5
    assert Counter(outcomes(0.005, 20))[I] >= 4
    assert Counter(outcomes(0.005, 45))[C] == 6
    assert Counter(outcomes(0.005, 60))[O] >= 4


def test_a_reason_never_speaks_of_a_negative_fall() -> None:
    """`--epochs 12 --lr 0.1` was "still improving: validation loss fell by -28 %"."""
    for lr, seed in recorded():
        for epochs in HORIZONS:
            verdict = judge(first(recorded()[lr, seed], epochs), 10)
            assert not re.search(r"-\d|nan", verdict.because), verdict
            assert "improving" not in verdict.words or verdict.rule in ("slow start", "unsettled", "late")


@pytest.mark.parametrize("lr", [1.0, 0.02, 0.01, 0.002, 0.001])
def test_more_than_half_of_the_seeds_agree_at_30_and_60(lr: float) -> None:
    for epochs in (30, 60):
        runs = [first(recorded()[lr, seed], epochs) for seed in SEEDS]
        assert summarise(Setting(lr), runs, 10).outcome is not None
