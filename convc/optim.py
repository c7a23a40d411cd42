"""Optimizers: which update rule is compiled in, and the defaults of its run-time numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from convc.checks import flag, instance
from convc.errors import RunError
from convc.ir.ops.clip import ClipScale
from convc.ir.ops.optim import Adam as AdamOp
from convc.ir.ops.optim import AdamW as AdamWOp
from convc.ir.ops.optim import RmsProp, RmsPropMomentum, Sgd, SgdMomentum, Update
from convc.runtime.numbers import CHECKS, optimizer_number


@dataclass(frozen=True)
class Optimizer:
    """What `compile(mode="train")` takes. Every number can be given anew at each step, as in `step(x, y, lr=0.1)`.

    `clip_norm`: where it is a number, gradients are scaled by min(1, clip_norm / (norm + 1e-6)) before the update, norm
    being that of all of them together (Pascanu et al., 2013; as PyTorch's clip_grad_norm_). Where the norm is NaN, so
    is every gradient. Whether it is None is compiled in, the number is a run-time one; it is positive.

    A subclass is a frozen dataclass whose fields have the names of its rule's numbers; they are checked where it is
    made. Raises RunError.
    """

    clip_norm: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.name in CHECKS and (f.name != "clip_norm" or self.clip_norm is not None):
                number = optimizer_number(f.name, getattr(self, f.name), f"{type(self).__name__}: ")
                object.__setattr__(self, f.name, number)

    @property
    def rule(self) -> Update:
        raise RunError(f"an optimizer names its update rule, and {type(self).__name__} defines none; give it `rule`")

    @property
    def scalars(self) -> dict[str, float]:
        """The run-time numbers, by the names that the program has for them."""
        rule = self.rule
        names = [n for n in rule.scalars if n not in rule.counts]
        return {n: getattr(self, n) for n in (*names, *(ClipScale.scalars if self.clip_norm is not None else ()))}


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


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): w' = w - lr * (direction + weight_decay * w).

    Numbers as Adam's. Its moments and its count of steps, `adamw.step`, are not Adam's.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01

    @property
    def rule(self) -> Update:
        return AdamWOp()


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012) as in PyTorch: not centred, eps outside the root; the rate is Hinton's.

    With momentum 0 no velocity is kept. `alpha` is the part of the mean square that is kept. lr >= 0, 0 <= alpha < 1,
    eps >= 0, 0 <= momentum < 1, weight_decay >= 0. Raises RunError for others.
    """

    lr: float = 0.001
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0

    @property
    def rule(self) -> Update:
        return RmsPropMomentum() if self.momentum else RmsProp()


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
"""By the names that the command line has for them."""
DEFAULT_MOMENTUM = {"sgd": 0.9}
"""What the momentum of a command or a study is where none is given, if not the optimizer's own default."""
