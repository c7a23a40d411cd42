"""Linear layers and their gradients: contractions of two tensors, each letter an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convc.errors import IRError
from convc.ir.core import Array, Builder, Node, Op, Value
from convc.ir.gemm_view import ACC, GemmView
from convc.ir.index import Axis
from convc.ir.kernels import Gemm
from convc.ir.scalar import load, store
from convc.ir.types import TensorType


@dataclass(frozen=True)
class Contract(Op, name="contract"):
    """z = contract(x, y) {spec="nk,kc->nc"}: Einstein's sum over the letters that the result lacks."""

    traits = frozenset({"matmul"})

    spec: str = ""

    @property
    def label(self) -> str:
        return {"nk,kc->nc": "dgrad", "nk,nc->kc": "wgrad"}.get(self.spec, self.name)

    @property
    def terms(self) -> tuple[str, str, str]:
        left, arrow, out = self.spec.partition("->")
        x, comma, y = left.partition(",")
        if not (arrow and comma) or not (x + y + out).isalpha() or not self.spec.isascii():
            raise IRError(f"spec must read like 'nk,kc->nc', not '{self.spec}'")
        for term in (x, y, out):
            if len(set(term)) != len(term):
                raise IRError(f"a letter may occur once in a term of the spec, but '{term}' repeats one")
        if missing := set(out) - set(x + y):
            raise IRError(f"spec '{self.spec}' asks for axis '{min(missing)}' that no operand has")
        if lone := (set(x) ^ set(y)) - set(out):
            raise IRError(f"axis '{min(lone)}' of spec '{self.spec}' is summed, so both operands must have it")
        return x, y, out

    def extents(self, *inputs: TensorType) -> dict[str, int]:
        extents: dict[str, int] = {}
        for term, t in zip(self.terms, inputs):
            if len(term) != t.rank:
                raise IRError(f"spec term '{term}' names {len(term)} axes, but {t} has {t.rank}")
            for letter, extent in zip(term, t.shape):
                if extents.setdefault(letter, extent) != extent:
                    raise IRError(f"axis '{letter}' must have one extent, but it is {extents[letter]} and {extent}")
        return extents

    def infer(self, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        if x.dtype != y.dtype:
            raise IRError(f"operands must have one dtype, but they are {x.dtype} and {y.dtype}")
        extents = self.extents(x, y)
        return (TensorType(x.dtype, tuple(extents[letter] for letter in self.terms[2])),)

    def reference(self, x: Array, y: Array) -> tuple[Array, ...]:
        return (np.einsum(self.spec, x, y),)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        x, y, out = self.terms
        dz = grads[0]
        assert dz is not None
        a, c = node.inputs
        return b(Contract(f"{out},{y}->{x}"), dz, c), b(Contract(f"{out},{x}->{y}"), dz, a)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        x, y, out = self.terms
        axes = {letter: Axis(letter, extent) for letter, extent in self.extents(*inputs).items()}

        def pick(letters: str) -> tuple[Axis, ...]:
            return tuple(axes[c] for c in letters)

        shared = "".join(c for c in out if c in x and c in y)
        view = GemmView(
            batch=pick(shared),
            m=pick("".join(c for c in out if c in y and c not in x)),
            n=pick("".join(c for c in out if c in x and c not in y)),
            k=pick("".join(c for c in x if c not in out)),
            a=load(1, *pick(y)),
            b=load(0, *pick(x)),
            stores=(store(0, pick(out), ACC),),
        )
        return Gemm((view,), results=tuple(outputs))


@dataclass(frozen=True)
class Linear(Op, name="linear"):
    """y[n,k] = sum over c of x[n,c] * w[k,c]: a linear layer without its bias."""

    traits = frozenset({"matmul"})

    @property
    def label(self) -> str:
        return "fprop"

    def infer(self, x: TensorType, w: TensorType) -> tuple[TensorType, ...]:
        if x.rank != 2 or w.rank != 2:
            raise IRError(f"x must be [N,C] and w [K,C], but their ranks are {x.rank} and {w.rank}")
        if x.shape[1] != w.shape[1]:
            raise IRError(f"x has C={x.shape[1]} features, but w [K,C] expects C={w.shape[1]}")
        return CONTRACT_LINEAR.infer(x, w)

    def reference(self, x: Array, w: Array) -> tuple[Array, ...]:
        return (x @ w.T,)

    def vjp(self, b: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        return CONTRACT_LINEAR.vjp(b, node, grads)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        return CONTRACT_LINEAR.lower(inputs, outputs)


CONTRACT_LINEAR = Contract("nc,kc->nk")
