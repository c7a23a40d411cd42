"""Optimizers: which update rule is compiled in, and the defaults of its run-time numbers."""

from __future__ import annotations

from dataclasses import dataclass

from convc.ir.ops.optim import Adam as AdamOp
from convc.ir.ops.optim import Sgd, SgdMomentum, Update


class Optimizer:
    """What `compile(mode="train")` takes. Every number can be given anew at each step, as in `step(x, y, lr=0.1)`."""

    @property
    def rule(self) -> Update:
        raise TypeError("an optimizer names its update rule")

    @property
    def scalars(self) -> dict[str, float]:
        raise TypeError("an optimizer gives its numbers")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent; with momentum 0 no velocity is kept."""

    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    @property
    def rule(self) -> Update:
        return SgdMomentum(self.nesterov) if self.momentum else Sgd()

    @property
    def scalars(self) -> dict[str, float]:
        numbers = {"lr": self.lr, "weight_decay": self.weight_decay}
        return numbers | ({"momentum": self.momentum} if self.momentum else {})


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015). `step` counts from 1 and is kept by the program."""

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
