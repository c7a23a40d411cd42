"""What a study compares: learning rates, perhaps momenta, each with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from convc.checks import choice, instance, seed_of, whole
from convc.data.augment import augmentation_text
from convc.errors import DataError, RunError
from convc.optim import DEFAULT_MOMENTUM, OPTIMIZERS, Optimizer
from convc.report.history import Setting, rate_text
from convc.runtime.numbers import optimizer_number
from convc.runtime.targets import kind_of, resolve_target
from convc.schedule import check_rate, depends_on_epochs, schedule
from convc.train import check_count

RATES = (1.0, 0.1, 0.01, 0.005, 0.001)
SEEDS = (0, 1, 2)
FORMAT = 2
"""Of study.json."""
FACTORS = ("momentum",)
"""What a study may compare besides rates."""
GROWS = ("rates", "momenta", "seeds")
"""What a study in a folder may be given more of; epochs too."""
REFINED_SHARE = 3
"""Without a budget, rates are added for one run to this many of those asked for."""


@dataclass(frozen=True)
class StudyPlan:
    """What to study; `model` and `data` are names for the report.

    Every rate is trained with every one of `momenta`, and each of these settings with every seed: a seed gives the
    first weights, the order of the images and dropout, the same for all settings. `optimizer` is one of
    convc.optim.OPTIMIZERS, at its defaults; `momenta` are for one that has a momentum: where none is given, (0.9,) for
    sgd and (0.0,) for rmsprop. `schedule`: see convc.schedule; `augment`: see convc.data.augment. `refine`: add rates
    beside the best, within so many epochs of training; True: as many as a third of those asked for. Raises RunError on
    what is out of range, or comes twice, and DataError on another augmentation.
    """

    model: str = "lenet5"
    data: str = "mnist5k"
    rates: tuple[float, ...] = RATES
    seeds: tuple[int, ...] = SEEDS
    epochs: int = 30
    batch: int = 128
    momenta: tuple[float, ...] = ()
    optimizer: str = "sgd"
    schedule: str = "constant"
    augment: str = ""
    target: str = "auto"
    refine: bool | int = False

    def __post_init__(self) -> None:
        numbers: dict[str, Any] = {name: check_count(name, getattr(self, name)) for name in ("epochs", "batch")}
        numbers["rates"] = _several(self.rates, "learning rates", check_rate, rate_text)
        numbers["rates"] = numbers["rates"][::-1]
        numbers["seeds"] = _several(self.seeds, "seeds", seed_of, str)
        numbers["momenta"] = self._momenta()
        if not isinstance(self.refine, bool):
            remedy = "leave out --refine, or give another budget"
            numbers["refine"] = whole(self.refine, "the budget of --refine, in epochs,", 1, remedy=remedy)
        numbers["augment"] = augmentation_text(self.augment)
        for name, value in numbers.items():
            object.__setattr__(self, name, value)
        for lr in self.rates:
            schedule(self.schedule, lr, self.epochs)

    def _momenta(self) -> tuple[float, ...]:
        instance(self.momenta, (tuple, list), "the momenta of a study are a tuple, such as (0.0, 0.9)")
        known = {field.name for field in fields(self._rule)}
        if "momentum" not in known:
            if self.momenta:
                raise RunError(f"{self.optimizer} has no momentum; leave out --momentum, or choose --optimizer sgd")
            return ()
        given = self.momenta or (DEFAULT_MOMENTUM.get(self.optimizer, 0.0),)
        return _several(given, "momenta", lambda value: optimizer_number("momentum", value), str)

    @property
    def _rule(self) -> type[Optimizer]:
        return OPTIMIZERS[choice(self.optimizer, "optimizer", OPTIMIZERS)]

    def compiled_optimizer(self) -> Optimizer:
        """For the one program of all runs: its numbers are given anew at each step.

        With a momentum, even where that is 0 in every run: a study that grows by another one goes on with its bits.
        """
        return self._rule(momentum=0.9) if self.momenta else self._rule()  # type: ignore[call-arg]

    @property
    def optimizer_text(self) -> str:
        """For the report: `SGD, momentum 0.9`, or `Adam`."""
        own = f", momentum {self.momenta[0]:g}" if len(self.momenta) == 1 else ""
        return f"{self._rule.__name__}{own}"

    @property
    def settings(self) -> tuple[Setting, ...]:
        """In the order of their rows: rates falling, then momenta rising."""
        factors = [(("momentum", m),) for m in self.momenta] if len(self.momenta) > 1 else [()]
        return tuple(Setting(lr, tuple(own)) for lr, own in product(self.rates, factors))

    def numbers(self, setting: Setting) -> dict[str, float]:
        """The run-time numbers of a setting, but for the learning rate and the seed."""
        own = {"momentum": self.momenta[0]} if len(self.momenta) == 1 else {}
        return own | dict(setting.factors)

    @property
    def budget(self) -> int:
        """How many epochs may be trained with rates that were not asked for."""
        if self.refine is True:
            runs = len(self.settings) * len(self.seeds)
            return max(runs // REFINED_SHARE, len(self.seeds)) * self.epochs
        return int(self.refine)

    def fixed(self) -> dict[str, Any]:
        """The settings that no run of the folder may differ in."""
        names = ("model", "data", "optimizer", "schedule", "augment", "batch")
        return {name: getattr(self, name) for name in names} | {"target": kind_of(resolve_target(self.target))}

    def growing(self) -> dict[str, Any]:
        """The settings that there may be more of later."""
        return {**{name: list(getattr(self, name)) for name in GROWS}, "epochs": self.epochs}

    def marks(self, setting: Setting, seed: int) -> dict[str, Any]:
        """What the numbers of one run depend on, but for the model and the data; not what the others do."""
        own = {"learning_rate": setting.lr, "seed": seed, **self.numbers(setting)}
        return own | ({"epochs": self.epochs} if depends_on_epochs(self.schedule) else {})

    def grown(self, held: Mapping[str, Any]) -> StudyPlan:
        """The plan with all that the folder of a study was asked for before: what `growing` wrote.

        Raises DataError where it gives more epochs, and the schedule's earlier rates depend on that.
        """
        more: dict[str, Any] = {name: tuple({*getattr(self, name), *held[name]}) for name in GROWS}
        plan = replace(self, **more, epochs=max(self.epochs, held["epochs"]))
        if plan.epochs != held["epochs"] and depends_on_epochs(self.schedule):
            raise DataError(
                f"the rates of the schedule {self.schedule} depend on the number of epochs, and this study was made "
                f"with {held['epochs']}, not {plan.epochs}; choose another --out"
            )
        return plan


def _several(given: Sequence[Any], what: str, check: Any, text: Any) -> tuple[Any, ...]:
    """The numbers, ascending, of which there is one at least and none twice. Raises RunError."""
    instance(given, (tuple, list), f"the {what} of a study are a tuple of numbers")
    numbers = tuple(map(check, given))
    if not numbers or len(set(numbers)) < len(numbers):
        raise RunError(f"a study needs {what} that differ, not {' '.join(map(text, numbers)) or 'none'}")
    return tuple(sorted(numbers))


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """`first`, `first` + 1 ...: as `--seed` and `--seeds` say it. Raises RunError."""
    first = seed_of(first)
    count = whole(count, "the number of seeds", 1, remedy="give another --seeds")
    seed_of(first + count - 1, remedy="give a smaller --seed or --seeds")
    return tuple(range(first, first + count))
