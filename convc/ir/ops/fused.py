"""`fused`: an anchor operator and the pointwise steps that follow it, as data.

    fused(%x, %w, %b) {anchor=conv2d {padding=[2, 2]}, steps=[bias_add($3, $2), relu($4)]}

The anchor takes the first two operands. `$i` numbers the node's operands, then the anchor's result, then
the result of each step in turn; the last is the node's result. In the kernel the steps are the epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from convc.errors import IRError
from convc.ir.core import Array, Op, checked_infer
from convc.ir.kernels import Gemm
from convc.ir.ops.pointwise import Pointwise
from convc.ir.scalar import Load, Scalar, Store
from convc.ir.types import TensorType

ANCHOR_OPERANDS = 2


@dataclass(frozen=True)
class Step:
    """A pointwise operator inside a fused node and the numbers of its operands."""

    op: Op
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Fused(Op, name="fused"):
    """The anchor's result sent through pointwise steps."""

    anchor: Op = field(default_factory=Op)
    steps: tuple[Step, ...] = ()

    @property
    def label(self) -> str:
        return "_".join((self.anchor.label, *(s.op.label.removesuffix("_add") for s in self.steps)))

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self._types(inputs)[-1],)

    def dtypes(self, operand: int) -> tuple[str, ...]:
        said = [self.anchor.dtypes(operand)] if operand < ANCHOR_OPERANDS else []
        said += [s.op.dtypes(p) for s in self.steps for p, number in enumerate(s.operands) if number == operand]
        return tuple(t for t in ("f32", "i32") if all(t in dtypes for dtypes in said))

    def whole_below(self, operand: int, inputs: Sequence[TensorType]) -> int | None:
        types = self._types(inputs)
        reads = [(s, place) for s in self.steps for place, number in enumerate(s.operands) if number == operand]
        said = [s.op.whole_below(place, [types[i] for i in s.operands]) for s, place in reads]
        return min((limit for limit in said if limit is not None), default=None)

    def _types(self, inputs: Sequence[TensorType]) -> list[TensorType]:
        """Of everything that `$i` numbers."""
        if "matmul" not in self.anchor.traits:
            raise IRError(f"the anchor must lower to a gemm, but {self.anchor.name or 'none'} does not")
        types = [*inputs, *checked_infer(self.anchor, inputs[:ANCHOR_OPERANDS])]
        for step in self.steps:
            if not isinstance(step.op, Pointwise):
                raise IRError(f"a step must be a pointwise operator, but {step.op.name} is not")
            if (last := max(step.operands, default=0)) >= len(types):
                raise IRError(f"{step.op.name} reads ${last}, but only $0 to ${len(types) - 1} are defined there")
            types += checked_infer(step.op, [types[i] for i in step.operands])
        return types

    def execute(self, arrays: Sequence[Array], rows: int) -> tuple[Array, ...]:
        values = [*arrays, *self.anchor.execute(arrays[:ANCHOR_OPERANDS], rows)]
        for step in self.steps:
            values += step.op.execute([values[i] for i in step.operands], rows)
        return (values[-1],)

    def lower(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> Op:
        anchor = self.anchor.lower(inputs[:ANCHOR_OPERANDS], outputs)
        assert isinstance(anchor, Gemm)
        types = [*inputs, *[outputs[0]] * (1 + len(self.steps))]
        phases = tuple(v.epilogue([self._epilogue(s, types, len(inputs)) for s in v.stores]) for v in anchor.phases)
        return replace(anchor, phases=phases)

    def _epilogue(self, s: Store, types: Sequence[TensorType], operands: int) -> Store:
        """The anchor's store with every step applied to the value, at the stored point."""
        values: dict[int, Scalar] = {operands: s.value}
        for number, step in enumerate(self.steps, operands + 1):
            op = step.op
            assert isinstance(op, Pointwise)
            step_types = [types[i] for i in step.operands]
            values[number] = op.scalar_at(
                s.coords,
                types[-1].shape,
                *[
                    values[i] if i in values else Load(i, op.coords(place, step_types, s.coords))
                    for place, i in enumerate(step.operands)
                ],
            )
        return replace(s, value=values[operands + len(self.steps)])
