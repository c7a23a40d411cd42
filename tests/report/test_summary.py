from dataclasses import replace
from itertools import permutations

import pytest
from made_runs import first, run, shape

from convc.errors import DataError
from convc.report.history import RunHistory, Setting
from convc.report.summary import summarise
from convc.report.verdict import Outcome

SETTING = Setting(0.01)


def runs(*names: str, epochs: int = 30) -> list[RunHistory]:
    return [replace(shape(name, epochs), seed=seed) for seed, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["converges"], "converged at about epoch 11 (one seed)"),
        (["at chance"], "diverged or at chance (one seed)"),
        (["converges"] * 3, "converged at about epoch 11 (3 of 3 seeds)"),
        (["overfits", "overfits", "converges"], "overfits from epoch 10 (2 of 3 seeds)"),
        (["converges", "overfits"], "mixed: 1 of 2 converged, 1 overfits"),
        (["overfits", "collapses", "overfits", "improves"], "mixed: 2 of 4 overfit, 1 collapsed, 1 still improving"),
    ],
)
def test_the_majority_speaks_or_it_is_mixed(names: list[str], words: str) -> None:
    assert summarise(SETTING, runs(*names), 10).words == words


def test_the_order_of_the_runs_does_not_matter() -> None:
    made = runs("overfits", "collapses", "overfits")
    first_, *others = (summarise(SETTING, list(order), 10) for order in permutations(made))
    assert all(other == first_ for other in others)
    assert [r.seed for r in first_.runs] == [0, 1, 2]
    assert first_.failed == 1


def test_a_stopped_run_gets_no_verdict() -> None:
    stopped = [replace(first(r, epochs), stopped=True) for r, epochs in zip(runs(*["converges"] * 3), (7, 9, 7))]
    assert summarise(SETTING, stopped[:1], 10, asked=False).words == "stopped at epoch 7"
    summary = summarise(SETTING, stopped, 10, asked=False)
    assert (summary.words, summary.outcome, summary.judged) == ("stopped at epoch 7 to 9", None, {})
    some = summarise(SETTING, [runs("converges")[0], stopped[1]], 10, asked=False)
    assert some.verdicts[1] is None
    assert some.words == "converged at about epoch 11 (one seed)"


def test_nothing_was_run() -> None:
    summary = summarise(SETTING, [], 10)
    assert (summary.words, summary.outcome, summary.epoch) == ("not run", None, None)


def test_every_outcome_has_a_headline() -> None:
    short = first(shape("converges", 30), 3)
    assert summarise(SETTING, [short], 10).words == "too short to tell (one seed)"
    assert summarise(SETTING, [short], 10).outcome is Outcome.TOO_SHORT


@pytest.mark.parametrize("wrong", [run([1], [1], [0.1], lr=0.02, seed=5), shape("converges", 30)])
def test_a_summary_takes_one_run_of_its_setting_for_each_seed(wrong: RunHistory) -> None:
    with pytest.raises(DataError, match=r"the summary of 0\.01 takes one run of it for each seed, not lr_0\.0"):
        summarise(SETTING, [*runs("converges"), wrong], 10)
