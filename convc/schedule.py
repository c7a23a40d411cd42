"""Learning rates that change from epoch to epoch. The rate is a run-time number: no schedule recompiles."""

from __future__ import annotations

import math
from collections.abc import Callable

from convc.checks import instance, real
from convc.errors import RunError

Schedule = Callable[[int], float]
"""From the epoch, counted from 1, to its learning rate."""

FORMS = "constant, cosine or step:EPOCHS,FACTOR"


def check_rate(lr: float) -> float:
    """Raises RunError unless `lr` is a positive number."""
    return real(lr, "a learning rate", 0.0, above=True, remedy="give another --lr")


def schedule(text: str, lr: float, epochs: int) -> Schedule:
    """The schedule that `text` names, beginning at `lr`.

    `constant` stays there; `cosine` falls along half a cosine to nearly 0 in the last of `epochs`;
    `step:10,0.1` multiplies by 0.1 after every 10 epochs. Raises RunError for any other text.
    """
    lr = check_rate(lr)
    instance(text, str, f"a schedule is {FORMS}")
    if text == "constant":
        return lambda epoch: lr
    if text == "cosine":
        return lambda epoch: lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
    every, factor = _step(text)
    return lambda epoch: lr * factor ** ((epoch - 1) // every)


def _step(text: str) -> tuple[int, float]:
    kind, _, numbers = text.partition(":")
    every, _, factor = numbers.partition(",")
    try:
        parsed = int(every), float(factor)
    except ValueError:
        raise RunError(f"a schedule is {FORMS}, as in step:10,0.1, not {text!r}") from None
    if kind != "step" or parsed[0] < 1 or not (math.isfinite(parsed[1]) and parsed[1] > 0):
        raise RunError(f"a schedule is {FORMS} with EPOCHS >= 1 and FACTOR > 0, not {text!r}")
    return parsed
