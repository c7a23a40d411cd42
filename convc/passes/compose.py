"""Helpers of loop fusion: operands of two kernels joined, loads replaced by the expression behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from convc.ir.core import Node
from convc.ir.gemm_view import GemmView
from convc.ir.index import Index
from convc.ir.kernels import Gemm, KernelOp, Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce, Stage
from convc.ir.scalar import Load, Next, Scalar, Store, loads, rewrite

Change = Callable[[Scalar], Scalar]

FUSED_DEPTH = 48
"""Operations that an expression may nest to be joined with another: its text nests brackets, which parse to 64."""
FUSED_WEIGHT = 256
"""Operations of such an expression, one that is used twice counted twice: an operand used twice at each of many joints
would grow with the power of two. The largest that a model of the zoo comes to has 58, in Adam's update."""


def moderate(e: Scalar) -> bool:
    """Whether an expression that was joined is not too large to be read, parsed and compiled."""
    return e.depth <= FUSED_DEPTH and e.weight <= FUSED_WEIGHT


def map_store(s: Store, change: Change) -> Store:
    return replace(s, value=rewrite(s.value, change))


def map_stage(stage: Stage, change: Change) -> Stage:
    if isinstance(stage, Reduce):
        return replace(stage, values=tuple(rewrite(v, change) for v in stage.values))
    return Map(stage.axes, tuple(map_store(s, change) for s in stage.stores))


def map_nest(nest: LoopNest, change: Change) -> LoopNest:
    return replace(nest, stages=tuple(map_stage(s, change) for s in nest.stages))


def map_view(view: GemmView, change: Change) -> GemmView:
    stores = tuple(map_store(s, change) for s in view.stores)
    return replace(view, a=rewrite(view.a, change), b=rewrite(view.b, change), stores=stores)


def map_kernel(op: KernelOp, change: Change) -> KernelOp:
    """The kernel with every scalar expression rewritten bottom-up."""
    if isinstance(op, Loops):
        return replace(op, nest=map_nest(op.nest, change))
    assert isinstance(op, Gemm)
    return replace(op, phases=tuple(map_view(v, change) for v in op.phases))


def kernel_loads(op: KernelOp) -> list[Load]:
    """Every load of the kernel, in every expression."""
    return [e for root in op.roots() for e in loads(root)]


def renumber(numbers: Sequence[int]) -> Change:
    """Operand i becomes operand numbers[i]."""

    def change(e: Scalar) -> Scalar:
        if not isinstance(e, Load) or numbers[e.operand] == e.operand:
            return e
        return replace(e, operand=numbers[e.operand])

    return change


def compact(node: Node) -> Node:
    """The node with operands that no load reads dropped, and equal ones joined."""
    assert isinstance(node.op, KernelOp)
    used = {e.operand for e in kernel_loads(node.op)}
    inputs = tuple(dict.fromkeys(node.inputs[i] for i in sorted(used)))
    numbers = [inputs.index(v) if v in inputs else 0 for v in node.inputs]
    return replace(node, op=map_kernel(node.op, renumber(numbers)), inputs=inputs)


def is_point(coords: Sequence[Index], nest: LoopNest) -> bool:
    """Whether the coordinates are the nest's outer axes, in order."""
    return tuple(coords) == tuple(Index.of(a) for a in nest.axes)


def pointwise_stores(node: Node) -> tuple[Store, ...] | None:
    """The stores of a kernel that maps every point of its results to a value, or None for any other."""
    if not isinstance(node.op, Loops) or len(node.op.nest.stages) != 1:
        return None
    (stage,) = node.op.nest.stages
    if not isinstance(stage, Map) or stage.axes or not all(is_point(s.coords, node.op.nest) for s in stage.stores):
        return None
    # An i32 that is counted up stays a kernel of its own: spliced into another it would be an f32.
    return None if any(isinstance(s.value, Next) for s in stage.stores) else stage.stores
