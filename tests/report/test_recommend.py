import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import first, recorded, run

from convc.report.candidates import Candidate, candidates_of
from convc.report.history import RunHistory, Setting
from convc.report.recommend import choose, compare, recommend
from convc.report.summary import Recommendation, Summary, summarise

EPOCHS = 20


def settled(lr: float, seed: int, loss: float, start: float = 3, test: float = 0.97) -> RunHistory:
    """Falls to `loss` in about `start` epochs, and stays there."""
    fall = np.exp(-np.arange(EPOCHS) / start * 3)
    made = run(loss / 2 + 2 * fall, loss + 2 * fall, 0.97 - 0.87 * fall, lr, seed)
    return replace(made, epochs=tuple(replace(r, test_accuracy=test) for r in made.epochs))


def fluctuating(lr: float, seed: int, loss: float) -> RunHistory:
    rng = np.random.default_rng(seed)
    train, validation = (level * np.exp(0.4 * rng.normal(size=EPOCHS)) for level in (loss, loss))
    return run(train, validation, 0.93 + 0.01 * rng.normal(size=EPOCHS), lr, seed)


def at_chance(lr: float, seed: int) -> RunHistory:
    return run([2.31] * EPOCHS, [2.31] * EPOCHS, [0.1] * EPOCHS, lr, seed)


def study(*by_rate: list[RunHistory]) -> list[Summary]:
    return [summarise(runs[0].setting, runs, 10) for runs in by_rate]


def advise(*by_rate: list[RunHistory], complete: bool = True) -> Recommendation:
    return recommend(study(*by_rate), validation_images=500, complete=complete)


def seeds(lr: float, losses: list[float], start: float = 3) -> list[RunHistory]:
    return [settled(lr, seed, loss, start) for seed, loss in enumerate(losses)]


def test_the_lowest_loss_is_taken_and_the_others_are_told_apart() -> None:
    found = advise(seeds(0.1, [0.30, 0.32, 0.29]), seeds(0.01, [0.10, 0.11, 0.09]))
    assert found.setting == Setting(0.01)
    assert found.level == ()
    (other,) = found.comparisons
    assert (other.setting, other.seeds, other.apart) == (Setting(0.1), 3, True)
    assert other.low < other.difference < other.high
    assert other.difference == pytest.approx(0.61 / 3, abs=1e-3)


def test_of_equals_the_first_to_converge_is_taken() -> None:
    found = advise(seeds(0.02, [0.101, 0.099, 0.102], 2), seeds(0.01, [0.100, 0.101, 0.100], 9))
    assert found.setting == Setting(0.02)
    assert found.level == (Setting(0.01),)
    assert "0.02 and 0.01 cannot be told apart; 0.02 is taken because it comes near its lowest first" in found.why


def test_what_is_told_apart_is_no_equal_however_cheap() -> None:
    found = advise(seeds(0.02, [0.105, 0.106, 0.105], 2), seeds(0.01, [0.100, 0.101, 0.100], 9))
    assert found.setting == Setting(0.01)


def test_a_wide_interval_makes_no_equal() -> None:
    """Fast, and on average twice the loss: three seeds cannot tell it apart, and it is not recommended."""
    wild = [settled(0.1, seed, loss, 1) for seed, loss in enumerate([0.08, 0.12, 0.45])]
    found = advise(wild, seeds(0.01, [0.10, 0.11, 0.09], 9))
    assert not found.comparisons[0].apart
    assert found.setting == Setting(0.01)
    assert found.level == ()
    assert "The loss of 0.1 is higher by more than 10%, but 3 seeds do not prove it." in found.why


def test_a_rate_that_fluctuates_wins_only_where_none_settles() -> None:
    noisy = [fluctuating(0.1, seed, 0.13) for seed in range(3)]
    lowest = [verdict.loss for verdict in study(noisy)[0].judged.values()]
    calm = seeds(0.01, [loss + more for loss, more in zip(lowest, (0.003, -0.002, 0.004))])
    assert advise(noisy, calm).setting == Setting(0.01)
    alone = advise(noisy)
    assert alone.setting == Setting(0.1)
    assert "It never settled: try lower rates" in alone.why


def test_the_lowest_epoch_alone_does_not_count() -> None:
    lucky = [first(r, EPOCHS) for r in seeds(0.05, [0.12, 0.13, 0.12])]
    lucky = [
        replace(r, epochs=tuple(replace(e, validation_loss=0.02) if e.epoch == 15 else e for e in r.epochs))
        for r in lucky
    ]
    assert advise(lucky, seeds(0.01, [0.10, 0.11, 0.10])).setting == Setting(0.01)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_the_test_accuracy_selects_nothing(accuracies: list[float]) -> None:
    losses = {0.02: [0.101, 0.099], 0.01: [0.100, 0.101]}
    made = {lr: [settled(lr, s, loss) for s, loss in enumerate(of_rate)] for lr, of_rate in losses.items()}
    values = iter(accuracies)
    changed = [
        [replace(r, epochs=tuple(replace(e, test_accuracy=value) for e in r.epochs)) for r, value in zip(runs, values)]
        for runs in made.values()
    ]
    assert advise(*changed) == advise(*made.values())


def test_one_seed_says_what_cannot_be_concluded() -> None:
    found = advise(seeds(0.1, [0.3]), seeds(0.01, [0.1]))
    assert found.setting == Setting(0.01)
    assert "One seed: how much of a difference is chance cannot be said" in found.why
    assert "told apart" not in found.why
    (other,) = found.comparisons
    assert not other.apart
    assert all(map(math.isnan, (other.low, other.high, other.p)))
    assert "nan" not in found.why


def test_an_incomplete_study_recommends_nothing() -> None:
    made = seeds(0.1, [0.3, 0.3]), seeds(0.01, [0.1, 0.1])
    for found in (advise(*made, complete=False), advise(made[0], made[1][:1]), advise(made[0], made[1][1:])):
        assert found.setting is None
        assert found.why.startswith("No setting can be recommended: the study is not complete")


def test_a_setting_that_fails_with_one_seed_is_not_recommended() -> None:
    unsure = [settled(0.1, 0, 0.05), settled(0.1, 1, 0.05), at_chance(0.1, 2)]
    found = advise(unsure, seeds(0.01, [0.1, 0.1, 0.11]))
    assert found.setting == Setting(0.01)
    assert "Not compared, because runs failed: 0.1 (1 of 3)." in found.why


def test_where_nothing_learned_it_says_which_way_to_go() -> None:
    chance = [[at_chance(lr, 0)] for lr in (1.0, 0.5)]
    short = [first(settled(0.1, 0, 0.1), 3)]
    assert "Go below: try 0.2 or less" in advise(*chance).why
    assert "those below (0.1) had too few epochs to tell" in advise(*chance, short).why
    assert advise(short).why == ("No setting can be recommended: a verdict needs 6 epochs. Train for longer.")
    assert advise().why == "No setting can be recommended: nothing was run."
    assert all(advise(*made).setting is None for made in (chance, [short], []))


@pytest.mark.parametrize(
    ("rates", "look"),
    [
        ([0.1, 0.01, 0.001], (0.002, 0.005, 0.02, 0.05)),
        ([0.1, 0.01, 0.005], (0.02, 0.05)),
        ([0.02, 0.01, 0.005], ()),
        ([0.1, 0.01], (0.005, 0.02, 0.05)),
        ([0.01, 0.001], (0.002, 0.005, 0.02)),
        ([0.01], (0.005, 0.02)),
    ],
)
def test_it_says_where_to_look_next(rates: list[float], look: tuple[float, ...]) -> None:
    """0.01 is the best of each."""
    found = advise(*(seeds(lr, [0.1 if lr == 0.01 else 0.3] * 2) for lr in rates))
    assert found.setting == Setting(0.01)
    assert found.look == look
    assert all(str(rate) in found.why for rate in look)


@pytest.mark.parametrize("epochs", [12, 20, 30, 60])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_recorded_runs_recommend_a_rate_near_the_best(epochs: int, count: int) -> None:
    rates = sorted({lr for lr, _ in recorded()}, reverse=True)
    found = advise(*([first(recorded()[lr, seed], epochs) for seed in range(count)] for lr in rates))
    assert found.setting in [Setting(0.02), Setting(0.01)]
    assert Setting(0.1) not in found.level
    assert found.look == ()
    assert "1.0 (" in found.why
    assert not re.search("nan|None|  ", found.why)


def test_holm_keeps_a_study_of_equals_from_finding_differences() -> None:
    """Ten settings of one mean, five seeds, 400 studies: at most 5 % may tell one apart, to three standard errors
    (3 %). Without the correction it is a third of them."""
    rng = np.random.default_rng(0)
    summary = study(seeds(0.01, [0.1] * 5))[0]
    found = 0
    for _ in range(400):
        settings = [Candidate(summary, tuple(rng.normal(0.1, 0.01, 5).tolist())) for _ in range(10)]
        found += any(comparison.apart for comparison in compare(settings[0], settings[1:], 500))
    assert found / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_peers_are_those_that_the_comparisons_leave() -> None:
    candidates = candidates_of(study(seeds(0.02, [0.10, 0.11]), seeds(0.01, [0.11, 0.10]), seeds(0.1, [0.3, 0.31])))
    chosen, level, comparisons = choose(candidates, 500)
    assert {c.setting for c in comparisons} == {c.setting for c in candidates} - {chosen.setting}
    assert {c.setting for c in level} <= {c.setting for c in comparisons if not c.apart}
    assert all(comparison.images > 0 for comparison in comparisons)
