"""Optimizers: which update rule is compiled in, and the defaults of its run-time numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from convc.checks import flag, instance
from convc.errors import RunError
from convc.ir.ops.optim import Adam as AdamOp
from convc.ir.ops.optim import Sgd, SgdMomentum, Update
from convc.runtime.numbers import CHECKS, optimizer_number


class Optimizer:
    """What `compile(mode="train")` takes. Every number can be given anew at each step, as in `step(x, y, lr=0.1)`.

    A subclass is a frozen dataclass; its numbers are checked where it is made. Raises RunError.
    """

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            if f.name in CHECKS:
                number = optimizer_number(f.name, getattr(self, f.name), f"{type(self).__name__}: ")
                object.__setattr__(self, f.name, number)

    @property
    def rule(self) -> Update:
        raise RunError(f"an optimizer names its update rule, and {type(self).__name__} defines none; give it `rule`")

    @property
    def scalars(self) -> dict[str, float]:
        raise RunError(f"an optimizer gives its numbers, and {type(self).__name__} gives none; give it `scalars`")


def optimizer_of(value: Any) -> Optimizer:
    """The optimizer that was given, None standing for SGD with momentum 0.9. Raises RunError for anything else."""
    if value is None:
        return SGD(momentum=0.9)
    rule = "an optimizer is an object, such as convc.SGD(momentum=0.9) or convc.Adam(lr=0.001)"
    found: Optimizer = instance(value, Optimizer, rule)
    return found


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent; with momentum 0 no velocity is kept.

    lr >= 0, 0 <= momentum < 1, weight_decay >= 0. Raises RunError for others, and for nesterov without momentum.
    """

    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "nesterov", flag(self.nesterov, "SGD: nesterov"))
        if self.nesterov and not self.momentum:
            raise RunError("SGD: nesterov looks ahead along the momentum, and momentum is 0; give momentum=0.9")

    @property
    def rule(self) -> Update:
        return SgdMomentum(self.nesterov) if self.momentum else Sgd()

    @property
    def scalars(self) -> dict[str, float]:
        numbers = {"lr": self.lr, "weight_decay": self.weight_decay}
        return numbers | ({"momentum": self.momentum} if self.momentum else {})


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015). Its steps are counted in the state `adam.step`, which is saved with the moments.

    lr >= 0, 0 <= beta1 < 1, 0 <= beta2 < 1, eps >= 0, weight_decay >= 0. Raises RunError for others.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    @property
    def rule(self) -> Update:
        return AdamOp()

    @property
    def scalars(self) -> dict[str, float]:
        names = ("lr", "beta1", "beta2", "eps", "weight_decay")
        return {n: getattr(self, n) for n in names}
