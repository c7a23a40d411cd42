"""Learning rates that change from epoch to epoch, or batch to batch. They are run-time numbers: none recompiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convc.checks import instance, real
from convc.errors import RunError

Rate = Callable[[int, int, int], float]
"""From the epoch, counted from 1, its batch, from 0, and the batches of an epoch, to the learning rate."""
UP, FIRST, LAST = 0.3, 1 / 25, 1 / 25e4
"""Of one-cycle: the part of the batches in which the rate rises, and which parts of it are the first and the last."""


@dataclass(frozen=True)
class Schedule:
    """`rate(epoch)` is the learning rate of an epoch, counted from 1; `rate(epoch, batch, batches)` that of a batch."""

    rate: Rate

    def __call__(self, epoch: int, batch: int = 0, batches: int = 1) -> float:
        return self.rate(epoch, batch, batches)


@dataclass(frozen=True)
class Kind:
    """One kind of schedule: how it is written, its function, and whether what it gives depends on all `epochs`."""

    form: str
    make: Callable[..., Rate]
    """Called with the rate, the epochs and the numbers of the form."""
    depends: bool = False


def _constant(lr: float, epochs: int) -> Rate:
    return lambda epoch, batch, batches: lr


def _cosine(lr: float, epochs: int) -> Rate:
    return lambda epoch, batch, batches: lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2


def _linear(lr: float, epochs: int) -> Rate:
    return lambda epoch, batch, batches: lr * (1 - (epoch - 1) / epochs)


def _exponential(lr: float, epochs: int, factor: float) -> Rate:
    return lambda epoch, batch, batches: lr * factor ** (epoch - 1)


def _step(lr: float, epochs: int, every: int, factor: float) -> Rate:
    return lambda epoch, batch, batches: lr * factor ** ((epoch - 1) // every)


def _onecycle(lr: float, epochs: int) -> Rate:
    def rate(epoch: int, batch: int, batches: int) -> float:
        step, last = (epoch - 1) * batches + batch, epochs * batches - 1
        top = UP * epochs * batches - 1
        if step <= top:
            return _along_cosine(lr * FIRST, lr, step / top)
        return _along_cosine(lr, lr * LAST, (step - top) / (last - top))

    return rate


def _along_cosine(first: float, last: float, part: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2


KINDS = {
    kind.form.partition(":")[0]: kind
    for kind in (
        Kind("constant", _constant),
        Kind("cosine", _cosine, depends=True),
        Kind("linear", _linear, depends=True),
        Kind("exponential:FACTOR", _exponential),
        Kind("step:EPOCHS,FACTOR", _step),
        Kind("onecycle", _onecycle, depends=True),
    )
}
FORMS = f"{', '.join(k.form for k in KINDS.values())}, or warmup:EPOCHS+ and one of these"
READ: dict[str, tuple[Callable[[str], float], str, Callable[[float], bool]]] = {
    "EPOCHS": (int, "EPOCHS >= 1", lambda n: n >= 1),
    "FACTOR": (float, "0 < FACTOR <= 1", lambda n: 0 < n <= 1),
}
"""How a number of a form is read, its rule, and whether it is kept."""


def check_rate(lr: float) -> float:
    """Raises RunError unless `lr` is a positive number."""
    return real(lr, "a learning rate", 0.0, above=True, remedy="give another --lr")


def schedule(text: str, lr: float, epochs: int) -> Schedule:
    """The schedule that `text` names, of which `lr` is the greatest rate, over `epochs`.

    From epoch to epoch: `constant`; `cosine` falls along half a cosine, and `linear` along a line, to nearly 0 in the
    last of `epochs`; `exponential:0.9` multiplies by 0.9 after every epoch, `step:10,0.1` by 0.1 after every 10.
    From batch to batch: `onecycle` rises from lr/25 to lr over the first 30 % of all batches and falls to lr/250000
    by the last, both along half a cosine (Smith and Topin, 2018, in PyTorch's form, without cycling the momentum);
    `warmup:3+cosine` rises along a line over the batches of the first 3 epochs, to lr in their last, and is then a
    cosine over the other epochs (Goyal et al., 2017, section 2.2). Raises RunError for any other text.
    """
    lr = check_rate(lr)
    warm, main, numbers = _parsed(text)
    kind = KINDS[main]
    if warm and kind.depends and epochs <= warm:
        raise RunError(
            f"a warm-up of {warm} epochs leaves nothing of {epochs} epochs for {main}; give more --epochs, or a "
            "shorter warm-up"
        )
    after = kind.make(lr, epochs - warm, *numbers)

    def rate(epoch: int, batch: int, batches: int) -> float:
        if epoch <= warm:
            return lr * ((epoch - 1) * batches + batch + 1) / (warm * batches)
        return after(epoch - warm, batch, batches)

    return Schedule(rate)


def rates(lr: float | Schedule | Callable[[int], float]) -> Schedule:
    """The schedule of a number, or of a function of the epoch. Raises RunError for a number that is not positive."""
    if isinstance(lr, Schedule):
        return lr
    if callable(lr):
        of_epoch = lr
        return Schedule(lambda epoch, batch, batches: of_epoch(epoch))
    return Schedule(_constant(check_rate(lr), 0))


def depends_on_epochs(text: str) -> bool:
    """Whether the rates of the first epochs change with the number of all. Raises RunError for an unknown text."""
    return KINDS[_parsed(text)[1]].depends


def _parsed(text: str) -> tuple[int, str, Sequence[float]]:
    """The epochs of warm-up, the kind, and its numbers."""
    instance(text, str, f"a schedule is {FORMS}")
    before, plus, main = text.rpartition("+")
    warm = _numbers(text, before, "warmup:EPOCHS")[0] if plus else 0
    kind = KINDS.get(main.partition(":")[0])
    if kind is None:
        raise RunError(f"a schedule is {FORMS}, not {text!r}")
    if warm and kind is KINDS["onecycle"]:
        raise RunError(f"onecycle rises by itself, but the schedule is {text!r}; leave out the warm-up")
    return int(warm), main.partition(":")[0], _numbers(text, main, kind.form)


def _numbers(text: str, given: str, form: str) -> Sequence[float]:
    """The numbers of `given`, a part of `text`, which is to be of that form."""
    name, _, wanted = form.partition(":")
    kind, _, parts = given.partition(":")
    names = wanted.split(",") if wanted else []
    found = parts.split(",") if parts else []
    try:
        if kind != name or len(found) != len(names) or given.endswith(":"):
            raise ValueError
        numbers = [READ[n][0](part) for n, part in zip(names, found)]
    except ValueError:
        raise RunError(f"a schedule is {FORMS}, not {text!r}") from None
    for n, number in zip(names, numbers):
        if not READ[n][2](number):
            raise RunError(f"{form} in a schedule has {READ[n][1]}, but it is {text!r}; give another")
    return numbers
