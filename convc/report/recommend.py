"""Which learning rate to take, from the verdicts on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convc.report.verdict import LOSS_FLOOR, MIN_EPOCHS, Outcome, Verdict, rate_text

# Relative, and its cap in nats: about one standard error of a mean over 500 images.
LOSS_TIE, LOSS_TIE_CAP = 0.15, 0.05


@dataclass(frozen=True)
class Recommendation:
    """The rate to take, or None where the study supports none; `why` is a few sentences."""

    lr: float | None
    why: str


def recommend(verdicts: Sequence[Verdict]) -> Recommendation:
    """The rate to take among `verdicts`, by validation loss: the test accuracy takes no part."""
    learned = [verdict for verdict in verdicts if verdict.outcome.learned]
    if not learned:
        return Recommendation(None, _which_way_to_go(verdicts))

    lowest = min(_standing(verdict) for verdict in learned)
    bound = lowest + max(min(LOSS_TIE * lowest, LOSS_TIE_CAP), LOSS_FLOOR)
    ties = [verdict for verdict in learned if _standing(verdict) <= bound]
    preference = list(Outcome)
    best = min(ties, key=lambda v: (preference.index(v.outcome), v.epoch or 0, _standing(v)))

    why = f"{best.words[0].upper()}{best.words[1:]}; its validation loss reached {_standing(best):.3f}, "
    why += "the lowest of all." if _standing(best) == lowest else "the lowest within noise."
    others = ", ".join(rate_text(verdict.lr) for verdict in ties if verdict is not best)
    if others:
        why += f" Level with it, but settled later or not at all: {others}."
    return Recommendation(best.lr, why + _next_step(best, [verdict.lr for verdict in verdicts]))


def _standing(verdict: Verdict) -> float:
    """The loss by which runs are compared; the lowest of a run that never settled is luck, so its usual."""
    return verdict.loss if verdict.outcome is Outcome.FLUCTUATES else verdict.best_loss


def _next_step(best: Verdict, rates: Sequence[float]) -> str:
    if best.outcome is Outcome.IMPROVING:
        return " Train it for longer, or try a rate a little higher."
    if best.outcome is Outcome.FLUCTUATES:
        return " It never settled: try lower rates, or lower the rate as training goes on."
    if len(rates) > 1 and best.lr == min(rates):
        return " It is the lowest rate tried: a lower one may do better."
    if len(rates) > 1 and best.lr == max(rates):
        return " It is the highest rate tried: a higher one may do as well in fewer epochs."
    return ""


def _which_way_to_go(verdicts: Sequence[Verdict]) -> str:
    diverged = [verdict.lr for verdict in verdicts if verdict.outcome is Outcome.DIVERGED]
    if not diverged:
        return f"No rate can be recommended: a verdict needs {MIN_EPOCHS} epochs. Train for longer."
    lowest = min(diverged)
    unknown = [rate_text(v.lr) for v in verdicts if v.outcome is Outcome.TOO_SHORT and v.lr < lowest]
    if unknown:
        return (
            f"No rate can be recommended: none learned from {rate_text(lowest)} upwards, and those below "
            f"({', '.join(unknown)}) had too few epochs to tell. Train those for {MIN_EPOCHS} or more."
        )
    return (
        f"No rate can be recommended: none learned. Go below {rate_text(lowest)}: try {lowest / 10:g} or "
        "less. If that stays at chance too, the data or the model is at fault."
    )
