"""Which learning rates to try next, and when one of them need not be trained to its end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from convc.report.candidates import candidates_of, near_best
from convc.report.history import RunHistory
from convc.report.run_curves import levels, lowest_level
from convc.report.summary import Summary
from convc.report.thresholds import IMAGES, LOSS_FLOOR, MIN_EPOCHS
from convc.report.verdict import judge

# Of the best setting's validation loss: a run that is heading for more than this above it is stopped.
HOPELESS = 0.20
STEPS = (1.0, 2.0, 5.0)
FINER_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
ALL_STEPS = tuple(i / 10 for i in range(10, 100))
"""Two significant digits."""


def next_rates(summaries: Sequence[Summary], count: int) -> tuple[float, ...]:
    """Up to `count` rates to try next, the most useful first; none that was tried with the best setting's factors.

    The widest gap on the log scale is halved, again and again, among the rates near the best (`near_best`) and one on
    either side of them; where one of these is the lowest or the highest rate of all, the first to try lies beyond it.
    Where no setting can be recommended, rates go down from the lowest. They are round: 1, 2, 5, 10 ..., where these are
    taken 1.5, 3, 7 too, and then any of two significant digits.
    """
    candidates = candidates_of([summary for summary in summaries if summary.judged])
    if not candidates:
        return _below(min((s.setting.lr for s in summaries), default=1.0), count)
    near = near_best(candidates)
    factors = near[0].setting.factors
    tried = sorted({s.setting.lr for s in summaries if s.setting.factors == factors})
    good = [tried.index(c.setting.lr) for c in near if c.setting.factors == factors]
    bracket = tried[max(0, min(good) - 1) : max(good) + 2]
    found = [step_down(tried[0])] if min(good) == 0 else []
    found += [step_up(tried[-1])] if max(good) == len(tried) - 1 else []
    while len(found) < count:
        inside = _halve(sorted({*bracket, *found}))
        if inside is None:
            break
        found.append(inside)
    return tuple(found[:count])


def beside(lr: float, tried: Iterable[float]) -> tuple[float, ...]:
    """The rates that a study which chose `lr` says nothing about, ascending: where its grid is coarse, or ends.

    Rates 1, 2, 5, 10 ... between `lr` and its neighbours among `tried`, and one beside it at the edge.
    """
    lower = max((rate for rate in tried if rate < lr), default=None)
    higher = min((rate for rate in tried if rate > lr), default=None)
    found = [step_down(lr)] if lower is None else _round_between(lower, lr, STEPS)
    found += [step_up(lr)] if higher is None else _round_between(lr, higher, STEPS)
    return tuple(found)


def should_stop(run: RunHistory, best: Sequence[RunHistory], classes: int, images: int = IMAGES) -> bool:
    """Whether `run`, of a rate that the study added, cannot catch up with `best`, the runs of the best setting.

    Not before a third of the epochs that `best` has. Then a run that diverged or collapsed is stopped; and one whose
    validation loss would end above the lowest levels of all of `best`, by 20 %, if it went on to fall as it did from
    the second to the last third of its epochs so far. `docs/study-statistics.md` says how often that is wrong.
    """
    count, planned = len(run.epochs), max((len(other.epochs) for other in best), default=0)
    if run.ended_early or count < max(MIN_EPOCHS, planned // 3) or count >= planned:
        return False
    if not judge(run, classes, images).outcome.learned:
        return True
    third = count // 3
    thirds = levels([math.log(record.validation_loss + LOSS_FLOOR) for record in run.epochs], third)
    fall = max(0.0, thirds[-1 - third] - thirds[-1]) / third
    reach = math.exp(thirds[-1] - fall * (planned - count)) - LOSS_FLOOR
    bar = max(lowest_level(other) for other in best)
    return min(reach, lowest_level(run)) > bar + max(HOPELESS * bar, LOSS_FLOOR)


def step_down(lr: float) -> float:
    """The next of ... 0.1, 0.2, 0.5, 1 ... below `lr`."""
    return max(rate for rate in _round_rates(lr / 10, lr, STEPS) if rate < lr)


def step_up(lr: float) -> float:
    """The next of ... 0.1, 0.2, 0.5, 1 ... above `lr`."""
    return min(rate for rate in _round_rates(lr, lr * 10, STEPS) if rate > lr)


def _below(lr: float, count: int) -> tuple[float, ...]:
    found: list[float] = []
    for _ in range(count):
        found.append(step_down(found[-1] if found else lr))
    return tuple(found)


def _halve(rates: Sequence[float]) -> float | None:
    """The round rate nearest the middle of the widest gap that has one, on the log scale."""
    for low, high in sorted(pairwise(rates), key=lambda pair: pair[0] / pair[1]):
        middle = math.sqrt(low * high)
        for steps in (STEPS, FINER_STEPS, ALL_STEPS):
            inside = _round_between(low, high, steps)
            if inside:
                return min(inside, key=lambda rate: abs(math.log(rate / middle)))
    return None


def _round_between(low: float, high: float, steps: Sequence[float]) -> list[float]:
    return [rate for rate in _round_rates(low, high, steps) if low < rate < high]


def _round_rates(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """Ascending, a decade more than asked at either end; by decimal text, so that 0.3 is 0.3."""
    exponents = range(math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 2)
    return [float(f"{step}e{exponent}") for exponent in exponents for step in steps]
