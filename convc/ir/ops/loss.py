"""Softmax, losses and the count of right answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Builder, Node, Op, Value
from convc.ir.index import Axis, Index
from convc.ir.kernel_rules import EXACT_BELOW
from convc.ir.kernels import Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, Stage, axes_of
from convc.ir.ops.reduce import count
from convc.ir.scalar import IndexValue, Local, Scalar, ScalarLike, Unary, exp, load, select, store
from convc.ir.types import TensorType


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def _exp_stages(j: Axis, z: Scalar) -> tuple[Reduce, Reduce]:
    """top = max over j of z, then total = sum over j of exp(z - top): no exponent overflows."""
    return (
        Reduce((j,), "max", ("top",), (z,)),
        Reduce((j,), "sum", ("total",), (exp(z - Local("top")),)),
    )


def _against(z: Array, labels: Array) -> tuple[Array, Array, Array]:
    """For each row: z - top, the chosen logit's, and the sum over all others of exp(z - top)."""
    below = z - z.max(1)[:, None]
    one_hot = labels[:, None] == np.arange(z.shape[1])
    others = np.where(one_hot, 0, np.exp(below)).sum(1)
    return below, np.where(one_hot, below, 0).sum(1), others


def _against_stages(j: Axis, z: Scalar, hit: Callable[[ScalarLike, ScalarLike], Scalar]) -> tuple[Reduce, ...]:
    """top, the chosen logit, and the sum over all others of exp(z - top)."""
    return (
        Reduce((j,), "max", ("top",), (z,)),
        Reduce((j,), "sum", ("chosen",), (hit(z, 0.0),)),
        Reduce((j,), "sum", ("others",), (hit(0.0, exp(z - Local("top"))),)),
    )


@dataclass(frozen=True)
class Softmax(Op, name="softmax"):
    """y = exp(x) / sum over `axis` of exp(x)."""

    axis: int = 1

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if not 0 <= self.axis < x.rank:
            raise IRError(f"axis must be one of x's {x.rank}, not {self.axis}")
        if self.axis == 0 and x.rows:
            raise IRError(f"softmax may not mix batch rows: axis 0 of {x} is {x.rows}; use a fixed batch")
        return (x,)

    def reference(self, x: Array) -> tuple[Array, ...]:
        return (_softmax(x, self.axis),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return (b(SoftmaxGrad(self.axis), grads[0], node.out),)  # type: ignore[arg-type]

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        j = axes[self.axis]
        z = load(0, *axes)
        y = exp(z - Local("top")) / Local("total")
        nest = LoopNest(_without(axes, j), (*_exp_stages(j, z), Map((j,), (store(0, axes, y),))))
        return Loops(nest, results=tuple(outputs))


@dataclass(frozen=True)
class SoftmaxGrad(Op, name="softmax_grad"):
    """dx = y * (dy - sum over `axis` of dy * y)."""

    axis: int = 1

    def infer(self, dy: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        if dy.logical() != y.logical():
            raise IRError(f"dy and y must have one type, but they are {dy} and {y}")
        return Softmax(self.axis).infer(dy)

    def reference(self, dy: Array, y: Array) -> tuple[Array, ...]:
        return (y * (dy - (dy * y).sum(self.axis, keepdims=True)),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(outputs[0])
        j = axes[self.axis]
        dy, y = load(0, *axes), load(1, *axes)
        stages = (
            Reduce((j,), "sum", ("dot",), (dy * y,)),
            Map((j,), (store(0, axes, y * (dy - Local("dot"))),)),
        )
        return Loops(LoopNest(_without(axes, j), stages), results=tuple(outputs))


def _without(axes: Sequence[Axis], j: Axis) -> tuple[Axis, ...]:
    return tuple(a for a in axes if a is not j)


def _hit(label: Scalar, j: Axis, then: ScalarLike, otherwise: ScalarLike) -> Scalar:
    return select("eq", label, IndexValue(Index.of(j)), then, otherwise)


@dataclass(frozen=True)
class Labelled(Op):
    """Base of operators on logits z [N,K] and labels i32 [N], 0 <= label < K."""

    traits = frozenset({"labelled"})
    label_operand: ClassVar[int] = 1

    def dtypes(self, operand: int) -> tuple[str, ...]:
        return ("i32",) if operand == self.label_operand else ("f32",)

    def whole_below(self, operand: int, inputs: Sequence[TensorType]) -> int | None:
        return int(inputs[operand - 1].shape[1]) if operand == self.label_operand else None

    def check(self, z: TensorType, labels: TensorType) -> None:
        """Raises IRError where they do not fit; a label is compared in f32, which holds numbers to 2^24."""
        if z.rank != 2:
            raise IRError(f"logits must be [N,K], but {z} has rank {z.rank}")
        if labels.dtype != "i32" or labels.shape != (z.shape[0],):
            raise IRError(f"labels must be {TensorType('i32', (z.shape[0],))}, one for each row of {z}, not {labels}")
        if z.shape[1] > EXACT_BELOW:
            raise IRError(
                f"there may be at most {EXACT_BELOW} classes, for labels to be exact in f32, not {z.shape[1]}"
            )


@dataclass(frozen=True)
class CrossEntropy(Labelled, name="cross_entropy"):
    """loss[n] = log(sum over j of exp(z[n,j])) - z[n, labels[n]], one number a row.

    With c = z[n, label] - max over j and S the sum over the other classes of exp(z - max), it is computed as
    log1p(S + expm1(c)) - c. No large numbers cancel, whatever the logits' size, and a loss near 0 keeps its digits:
    where the label has the greatest logit, c is 0 and the loss log1p(S); elsewhere S is at least 1, c below 0.
    """

    def infer(self, z: TensorType, labels: TensorType) -> tuple[TensorType, ...]:
        self.check(z, labels)
        return (TensorType(z.dtype, z.shape[:1]),)

    def reference(self, z: Array, labels: Array) -> tuple[Array, ...]:
        _, chosen, others = _against(z, labels)
        return (np.log1p(others + np.expm1(chosen)) - chosen,)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        z, labels = node.inputs
        return b(CrossEntropyGrad(), grads[0], z, labels), None  # type: ignore[arg-type]

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        n, j = axes_of(inputs[0], "nj")
        z = load(0, n, j)
        below = Local("chosen") - Local("top")
        loss = Unary("log1p", Local("others") + Unary("expm1", below)) - below
        stages: list[Stage] = [*_against_stages(j, z, partial(_hit, load(1, n), j)), Map((), (store(0, (n,), loss),))]
        return Loops(LoopNest((n,), tuple(stages)), results=tuple(outputs))


@dataclass(frozen=True)
class CrossEntropyGrad(Labelled, name="cross_entropy_grad"):
    """dz[n,j] = dloss[n] * (softmax(z)[n,j] - (1 where j = labels[n])), from (dloss, z, labels).

    At the label, softmax - 1 is computed as minus the sum of the other classes' parts: it keeps its digits near 0.
    """

    label_operand: ClassVar[int] = 2

    def infer(self, dloss: TensorType, z: TensorType, labels: TensorType) -> tuple[TensorType, ...]:
        self.check(z, labels)
        if dloss.shape != z.shape[:1]:
            raise IRError(f"dloss must have one number for each row of {z}, but it is {dloss}")
        return (z,)

    def reference(self, dloss: Array, z: Array, labels: Array) -> tuple[Array, ...]:
        below, chosen, others = _against(z, labels)
        one_hot = labels[:, None] == np.arange(z.shape[1])
        parts = np.where(one_hot, -others[:, None], np.exp(below)) / (others + np.exp(chosen))[:, None]
        return (dloss[:, None] * parts,)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        n, j = axes_of(inputs[1], "nj")
        z = load(1, n, j)
        hit = partial(_hit, load(2, n), j)
        total = Local("others") + exp(Local("chosen") - Local("top"))
        dz = load(0, n) * (hit(-Local("others"), exp(z - Local("top"))) / total)
        nest = LoopNest((n,), (*_against_stages(j, z, hit), Map((j,), (store(0, (n, j), dz),))))
        return Loops(nest, results=tuple(outputs))


@dataclass(frozen=True)
class Correct(Labelled, name="correct"):
    """hit[n] = 1 where the first greatest logit of row n is at labels[n], else 0."""

    def infer(self, z: TensorType, labels: TensorType) -> tuple[TensorType, ...]:
        self.check(z, labels)
        return (TensorType(z.dtype, z.shape[:1]),)

    def reference(self, z: Array, labels: Array) -> tuple[Array, ...]:
        return ((z.argmax(1) == labels).astype(z.dtype),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        n, j = axes_of(inputs[0], "nj")
        stages = (
            Reduce((j,), "argmax", ("top", "at"), (load(0, n, j), IndexValue(Index.of(j)))),
            Map((), (store(0, (n,), select("eq", Local("at"), load(1, n), 1.0, 0.0)),)),
        )
        return Loops(LoopNest((n,), stages), results=tuple(outputs))


@dataclass(frozen=True)
class Mse(Op, name="mse"):
    """loss = mean over all elements of (y - target)^2."""

    traits = frozenset({"reduction"})

    def infer(self, y: TensorType, target: TensorType) -> tuple[TensorType, ...]:
        if y.logical() != target.logical():
            raise IRError(f"y and target must have one type, but they are {y} and {target}")
        return (TensorType(y.dtype, ()),)

    def reference(self, y: Array, target: Array) -> tuple[Array, ...]:
        return (np.asarray(((y - target) ** 2).mean()),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        y, target = node.inputs
        dloss = grads[0]
        assert dloss is not None
        return b(MseGrad(), dloss, y, target), b(MseGrad(), dloss, target, y)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(inputs[0])
        delta = load(0, *axes) - load(1, *axes)
        stages = (
            Reduce(axes, "sum", ("total",), (delta * delta,)),
            Map((), (store(0, (), Local("total") / count(axes)),)),
        )
        return Loops(LoopNest((), stages), results=tuple(outputs))


@dataclass(frozen=True)
class MseGrad(Op, name="mse_grad"):
    """dy = dloss * 2 * (y - target) / elements, from (dloss, y, target)."""

    def infer(self, dloss: TensorType, y: TensorType, target: TensorType) -> tuple[TensorType, ...]:
        if dloss.rank != 0:
            raise IRError(f"dloss must be a scalar, not {dloss}")
        Mse().infer(y, target)
        return (y,)

    def reference(self, dloss: Array, y: Array, target: Array) -> tuple[Array, ...]:
        return (dloss * (2 / y.size) * (y - target),)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        axes = axes_of(inputs[1])
        value = load(0) * (2.0 / count(axes)) * (load(1, *axes) - load(2, *axes))  # twice a large difference overflows
        return Loops(LoopNest(axes, (Map((), (store(0, axes, value),)),)), results=tuple(outputs))
