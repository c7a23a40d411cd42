import math
from dataclasses import replace

import numpy as np
import pytest
import report_shapes as shapes

from convc.report import recommend as recommend_module
from convc.report import verdict as verdict_module
from convc.report.history import RunHistory
from convc.report.recommend import recommend
from convc.report.rules import rules
from convc.report.verdict import MIN_EPOCHS, Outcome, Verdict, chance_bound, judge


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("epochs", [20, 30, 60])
def test_the_five_shapes_of_the_usual_study(seed: int, epochs: int) -> None:
    verdicts = [judge(run, 10) for run in shapes.study(seed, epochs)]
    assert [verdict.outcome for verdict in verdicts[:4]] == [
        Outcome.DIVERGED,
        Outcome.FLUCTUATES,
        Outcome.CONVERGED,
        Outcome.CONVERGED,
    ]
    assert verdicts[2].epoch is not None
    assert verdicts[3].epoch is not None
    assert 6 <= verdicts[2].epoch <= 12 <= verdicts[3].epoch + 3 <= 20
    if epochs <= 30:  # in 60, the slowest rate arrives too
        assert verdicts[4].outcome is Outcome.IMPROVING
    assert recommend(verdicts).lr in (0.01, 0.005)


def test_the_real_shape_of_overfitting_is_converged() -> None:
    """Validation loss of LeNet-5 at 0.01 on 500 digits: flat, then up by a third; training goes to 0."""
    run = shapes.overfitting()
    rising = [replace(r, validation_loss=r.validation_loss * (1 + 0.02 * max(0, r.epoch - 10))) for r in run.epochs]
    assert judge(RunHistory(0.01, tuple(rising)), 10).outcome is Outcome.CONVERGED


def test_sampling_noise_of_the_validation_loss_alone_is_no_fluctuation() -> None:
    run = shapes.overfitting()
    noise = np.random.default_rng(1).normal(size=30)
    noisy = [replace(r, validation_loss=r.validation_loss * math.exp(0.15 * n)) for r, n in zip(run.epochs, noise)]
    assert judge(RunHistory(0.01, tuple(noisy)), 10).outcome is not Outcome.FLUCTUATES


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("at", [1, 3, 12])
def test_a_non_finite_loss_is_divergence_however_short(value: float, at: int) -> None:
    verdict = judge(shapes.exploded(at=at, value=value), 10)
    assert verdict.words == "diverged or at chance"
    assert verdict.because == f"the loss became {'NaN' if math.isnan(value) else 'infinite'} at epoch {at}"


@pytest.mark.parametrize("epochs", range(1, MIN_EPOCHS))
def test_few_epochs_are_too_short_to_tell(epochs: int) -> None:
    for run in (*shapes.study(epochs=epochs), RunHistory(0.1, ())):
        assert judge(run, 10).words == "too short to tell"


@pytest.mark.parametrize("epochs", [6, 7, 8, 10, 13])
def test_short_runs_get_a_verdict_and_chance_is_seen(epochs: int) -> None:
    verdicts = [judge(run, 10) for run in shapes.study(epochs=epochs)]
    assert verdicts[0].outcome is Outcome.DIVERGED
    assert all(verdict.outcome is not Outcome.TOO_SHORT for verdict in verdicts)
    assert verdicts[4].outcome is Outcome.IMPROVING


@pytest.mark.parametrize("classes", [2, 3, 100, 1000])
def test_chance_depends_on_the_classes(classes: int) -> None:
    assert judge(shapes.at_chance(classes=classes), classes).outcome is Outcome.DIVERGED
    assert 1 / classes < chance_bound(classes) < 1


def test_a_slow_start_is_improving_not_at_chance() -> None:
    assert judge(shapes.slow_start(), 10).outcome is Outcome.IMPROVING


def test_a_run_that_loses_its_accuracy_has_not_settled() -> None:
    run = shapes.overfitting()
    lost = [replace(r, test_accuracy=r.test_accuracy - 0.02 * max(0, r.epoch - 25)) for r in run.epochs]
    verdict = judge(RunHistory(0.01, tuple(lost)), 10)
    assert verdict.outcome is Outcome.FLUCTUATES
    assert "below its best" in verdict.because


def test_losses_of_zero_are_a_settled_run() -> None:
    zeros = np.zeros(10)
    verdict = judge(shapes.run(0.1, zeros, zeros, zeros + 1), 10)
    assert verdict.words == "converged at about epoch 1, then flat"


def made(lr: float, outcome: Outcome, loss: float, epoch: int | None = None) -> Verdict:
    return Verdict(lr, outcome, "", epoch, loss, 0.9, loss)


def test_a_tie_goes_to_the_sooner_converged() -> None:
    verdicts = [
        made(0.1, Outcome.FLUCTUATES, 0.10),
        made(0.01, Outcome.CONVERGED, 0.11, 8),
        made(0.005, Outcome.CONVERGED, 0.105, 15),
        made(0.001, Outcome.IMPROVING, 0.10),
    ]
    found = recommend(verdicts)
    assert found.lr == 0.01
    assert "Level with it, but settled later or not at all: 0.1, 0.005, 0.001." in found.why


def test_a_clearly_lower_loss_beats_a_settled_run() -> None:
    found = recommend([made(0.1, Outcome.CONVERGED, 0.5, 4), made(0.01, Outcome.IMPROVING, 0.2)])
    assert found.lr == 0.01
    assert "Train it for longer" in found.why


def test_a_lucky_dip_of_a_fluctuating_run_does_not_count() -> None:
    dip = replace(made(0.1, Outcome.FLUCTUATES, 0.3), best_loss=0.05)
    assert recommend([dip, made(0.01, Outcome.CONVERGED, 0.15, 9)]).lr == 0.01
    assert "try lower rates" in recommend([dip]).why


def test_the_edge_of_the_range_is_pointed_out() -> None:
    low, high = made(0.01, Outcome.CONVERGED, 0.1, 9), made(0.1, Outcome.CONVERGED, 0.3, 9)
    assert "lowest rate tried" in recommend([low, high]).why
    assert "highest rate tried" in recommend([replace(low, lr=1.0), high]).why


def test_nothing_learned_recommends_nothing_and_says_which_way_to_go() -> None:
    chance = [judge(shapes.at_chance(lr), 10) for lr in (1.0, 0.5)]
    short = Verdict(0.1, Outcome.TOO_SHORT, "")
    assert recommend(chance).lr is None
    assert "Go below 0.5: try 0.05 or less" in recommend(chance).why
    assert "had too few epochs to tell" in recommend([*chance, short]).why
    assert recommend([short]).why.endswith("a verdict needs 6 epochs. Train for longer.")
    assert recommend([]).lr is None


@pytest.mark.parametrize(
    ("module", "name", "value", "shown"),
    [
        (verdict_module, "MIN_EPOCHS", 41, "41 epochs"),
        (verdict_module, "CHANCE_MARGIN", 0.47, "47% of the way"),
        (verdict_module, "SLOW_START_SHARE", 0.83, "83% of the epochs"),
        (verdict_module, "SLOW_START_FALL", 0.43, "by 43% or more"),
        (verdict_module, "LOSS_SWING", 0.37, "more than 37%"),
        (verdict_module, "TRAIN_SWING", 0.53, "more than 53%"),
        (verdict_module, "ACCURACY_SWING", 0.31, "more than 31 points"),
        (verdict_module, "LOST_ACCURACY", 0.29, "more than 29 points"),
        (verdict_module, "ARRIVED", 0.61, "within 61%"),
        (verdict_module, "LEARNED_BY_HEART", 0.77, "above 77%"),
        (verdict_module, "LOSS_FLOOR", 0.0123, "0.0123"),
        (recommend_module, "LOSS_TIE", 0.59, "within 59%"),
        (recommend_module, "LOSS_TIE_CAP", 0.71, "at most 0.71"),
    ],
)
def test_the_stated_rules_follow_the_constants(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: float, shown: str
) -> None:
    before = " ".join(text for _, text in rules(10))
    assert shown not in before
    monkeypatch.setattr(module, name, value)
    assert shown in " ".join(text for _, text in rules(10))


def test_every_outcome_has_its_rule() -> None:
    names = [name for name, _ in rules(10)]
    for outcome in Outcome:
        stated = "converged at about epoch k, then flat" if outcome is Outcome.CONVERGED else outcome.value
        assert stated in names
