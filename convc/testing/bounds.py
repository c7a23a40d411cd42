"""How far the numbers of a compiled kernel may be from exact ones: derived, never tuned.

The model of floating point is the usual one (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
section 2.2): fl(a op b) = (a op b)(1 + d) with |d| <= u, the unit roundoff, 2^-24 for f32; a fused
multiply-add rounds once where the model rounds twice. `error_bound` sends a bound along with every number
of a lowered graph (running error analysis, section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from convc.checks import choice, instance, shown, whole
from convc.errors import IRError
from convc.ir.core import Array, Graph
from convc.ir.evaluate import BINARY_FN, COMPARE_FN, Evaluator, extent_of, grid
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis
from convc.ir.interp import batch_rows, run_shape
from convc.ir.kernels import Gemm, Loops
from convc.ir.loop_nest import LoopNest, Map, Reduce
from convc.ir.scalar import Binary, Const, Load, Local, Scalar, Select, Store, Unary, walk

UNIT = {"f32": 2.0**-24, "f64": 2.0**-53}
ULPS = {"exp": 2, "log": 3, "tanh": 3, "expm1": 2, "log1p": 2, "sqrt": 1}
"""Errors of the C target's functions in units in the last place, each at most 2u; tests measure them."""
FLUSHED = 2.0**-126
"""Results below f32's least normal number may be lost."""
LARGEST = float(np.finfo(np.float32).max)
"""What may pass f32's largest number on the way to a result may be an infinity: there is no bound."""


def tolerance(dtype: str, terms: int) -> float:
    """The factor c in |computed - exact| <= c * (sum of |a_i * b_i|), for a sum of `terms` products.

    Whatever the order of the additions, each product is rounded once and meets at most terms - 1 additions:
    `terms` factors (1 + d), |d| <= u, so c = terms * u / (1 - terms * u) (Higham, section 3.1). It holds
    with fused multiply-adds, with partial sums in vector lanes, and for plain sums. Dtypes: f32, f64.
    """
    u = UNIT[choice(dtype, "dtype", UNIT, error=IRError)]
    terms = whole(terms, "the length of a sum", 1, error=IRError)
    if terms >= 1 / u:
        raise IRError(
            f"a sum must have fewer than {int(1 / u)} terms for a bound in {dtype}, not {shown(terms)}; cut it in parts"
        )
    return terms * u / (1 - terms * u)


@dataclass(frozen=True)
class Bounded:
    """Numbers and, for each, how far the computed one may be off."""

    value: Array
    error: Array


def error_bound(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """For each output and update of a lowered graph (as `interpret` names them) the bounds, in f32.

    `inputs` are exact. A bound is infinite where a rounding may change which of two things is chosen without
    limit: an index among near-equal ones. Raises IRError where a node is not lowered.
    """
    instance(graph, Graph, "bounds are those of a lowered graph, such as program.graph", error=IRError)
    rows = batch_rows(graph, {k: np.shape(a) for k, a in inputs.items()})
    known = {
        v: Bounded(np.asarray(inputs[v.name], np.float64), np.zeros(np.shape(inputs[v.name]))) for v in graph.inputs
    }
    for node in graph.nodes:
        if not isinstance(node.op, Gemm | Loops):
            raise IRError(f"bounds follow kernels, but {node.op.name} is none; run the pass lower first")
        operands = [known[v] for v in node.inputs]
        outputs = [Bounded(*(np.full(run_shape(v.type, rows), np.nan) for _ in range(2))) for v in node.outputs]
        if isinstance(node.op, Loops):
            _nest(node.op.nest, operands, rows, outputs)
        else:
            for view in node.op.phases:
                _gemm(view, operands, rows, outputs)
        known.update(zip(node.outputs, outputs))
    found = {v.name: known[v].error for v in graph.outputs}
    return found | {name: known[v].error for name, v in graph.updates.items()}


class _Bounder:
    """Evaluates scalar expressions to numbers with bounds, over one grid."""

    def __init__(
        self, operands: Sequence[Bounded], rows: int, axes: Sequence[Axis], locals_: Mapping[str, Bounded]
    ) -> None:
        self.shape = [extent_of(a, rows) for a in axes]
        axes_grid = grid(axes, rows)
        self.locals = locals_
        self.values = Evaluator([o.value for o in operands], rows, axes_grid, {})
        self.errors = Evaluator([o.error for o in operands], rows, axes_grid, {})

    def __call__(self, root: Scalar) -> Bounded:
        done: dict[Scalar, Bounded] = {}
        with np.errstate(all="ignore"):
            for e in walk(root):
                done[e] = self._one(e, [done[c] for c in e.children()])
        return done[root]

    def store(self, s: Store, output: Bounded) -> None:
        result = self(s.value)
        for array, computed in ((output.value, result.value), (output.error, result.error)):
            plain = Evaluator([], self.values.rows, self.values.axes, {"computed": computed})
            plain.store(replace(s, value=Local("computed")), array)

    def _one(self, e: Scalar, x: list[Bounded]) -> Bounded:
        match e:
            case Load():
                return Bounded(self.values(e), self.errors(replace(e, fill=0.0)))
            case Local(name):
                return self.locals[name]
            case Const(value):
                exact = np.isinf(value) or float(np.float32(value)) == value
                off = np.asarray(0.0 if exact else abs(value) * UNIT["f32"])
                return (
                    Bounded(np.asarray(value), off)
                    if exact
                    else _within_range(np.asarray(value), off, abs(off + value))
                )
            case Unary(fn):
                return _unary(fn, x[0])
            case Binary(fn):
                return _binary(fn, *x)
            case Select(fn):
                return _select(fn, *x)
        return Bounded(self.values(e), np.asarray(0.0))


def _rounded(value: Array, carried: Array, units: float = 1.0) -> Bounded:
    """The carried error and that of a result off by `units` * u."""
    off = carried + units * UNIT["f32"] * (np.abs(value) + carried) + 2.0**-149
    return _within_range(value, off, np.abs(value) + off)


def _within_range(value: Array, error: Array, reached: Array) -> Bounded:
    """No bound where an error is none, or where numbers as large as `reached` do not fit f32."""
    return Bounded(value, np.where(np.isnan(error) | ~(reached <= LARGEST), np.inf, error))


def _unary(fn: str, x: Bounded) -> Bounded:
    v, e = x.value, x.error
    if fn in ("neg", "abs"):
        return Bounded(-v if fn == "neg" else np.abs(v), e)
    units = 2.0 * ULPS[fn]
    if fn == "exp":
        result = _rounded(np.exp(v), np.exp(v) * np.expm1(e), units)
        return Bounded(result.value, result.error + FLUSHED)
    if fn == "expm1":
        return _rounded(np.expm1(v), np.exp(v) * np.expm1(e), units)
    if fn == "log":
        return _rounded(np.log(v), np.where(v > e, np.log1p(e / (v - e)), np.where(e > 0, np.inf, 0)), units)
    if fn == "log1p":
        return _rounded(np.log1p(v), np.where(1 + v > e, np.log1p(e / (1 + v - e)), np.where(e > 0, np.inf, 0)), units)
    if fn == "sqrt":
        return _rounded(np.sqrt(v), np.minimum(np.sqrt(e), np.where(e > 0, e / np.sqrt(v), 0)), units)
    return _rounded(np.tanh(v), e, units)


def _binary(fn: str, x: Bounded, y: Bounded) -> Bounded:
    value = BINARY_FN[fn](x.value, y.value)
    if fn in ("max", "min"):
        return Bounded(value, np.maximum(x.error, y.error))
    if fn in ("add", "sub"):
        return _rounded(value, x.error + y.error)
    if fn == "mul":
        return _rounded(value, _product_error(x, y))
    room = np.abs(y.value) - y.error
    carried = (x.error + np.abs(value) * y.error) / np.where(room > 0, room, np.nan)
    return _rounded(value, carried)


def _product_error(x: Bounded, y: Bounded) -> Array:
    return np.asarray(np.abs(x.value) * y.error + np.abs(y.value) * x.error + x.error * y.error)


def _select(fn: str, a: Bounded, b: Bounded, then: Bounded, otherwise: Bounded) -> Bounded:
    holds = COMPARE_FN[fn](a.value, b.value)
    either = np.maximum(then.error, otherwise.error) + np.abs(then.value - otherwise.value)
    certain = (np.abs(a.value - b.value) > a.error + b.error) | (a.error + b.error == 0)
    chosen = np.where(holds, then.error, otherwise.error)
    return Bounded(np.where(holds, then.value, otherwise.value), np.where(certain, chosen, either))


def _sum(terms: Bounded, axis: int) -> Bounded:
    count = terms.value.shape[axis]
    magnitudes = (np.abs(terms.value) + terms.error).sum(axis)
    return _within_range(
        terms.value.sum(axis), terms.error.sum(axis) + tolerance("f32", count) * magnitudes, magnitudes
    )


def _nest(nest: LoopNest, operands: Sequence[Bounded], rows: int, outputs: Sequence[Bounded]) -> None:
    locals_: dict[str, Bounded] = {}
    outer = [extent_of(a, rows) for a in nest.axes]
    for stage in nest.stages:
        point = [*outer, *[1] * len(stage.axes)]
        seen = {k: Bounded(v.value.reshape(point), v.error.reshape(point)) for k, v in locals_.items()}
        bounder = _Bounder(operands, rows, (*nest.axes, *stage.axes), seen)
        if isinstance(stage, Map):
            for s in stage.stores:
                bounder.store(s, outputs[s.output])
            continue
        flat = [
            Bounded(*(np.broadcast_to(a, bounder.shape).reshape([*outer, -1]) for a in (x.value, x.error)))
            for x in map(bounder, stage.values)
        ]
        locals_.update(zip(stage.results, _reduced(stage, flat)))


def _reduced(stage: Reduce, x: Sequence[Bounded]) -> list[Bounded]:
    if stage.monoid == "sum":
        return [_sum(x[0], -1)]
    best, error = x[0].value.max(-1), x[0].error.max(-1)
    if stage.monoid == "max":
        return [Bounded(best, error)]
    at = np.argmax(x[0].value, -1)[..., None]
    index = np.take_along_axis(x[1].value, at, -1)[..., 0]
    rivals = (x[0].value + x[0].error >= (best - error)[..., None]) & (x[0].error.max(-1, keepdims=True) > 0)
    certain = rivals.sum(-1) <= 1
    return [Bounded(best, error), Bounded(index, np.where(certain, 0.0, np.inf))]


def _gemm(view: GemmView, operands: Sequence[Bounded], rows: int, outputs: Sequence[Bounded]) -> None:
    a = _matrix(view.a, (view.batch, view.m, view.k), operands, rows)
    b = _matrix(view.b, (view.batch, view.k, view.n), operands, rows)
    domain = (*view.batch, *view.m, *view.n)
    bounder = _Bounder(operands, rows, domain, {})
    value = a.value @ b.value
    magnitude_a, magnitude_b = np.abs(a.value) + a.error, np.abs(b.value) + b.error
    with np.errstate(invalid="ignore"):  # inf * 0: no bound
        largest = magnitude_a @ magnitude_b
        carried = largest - np.abs(a.value) @ np.abs(b.value)
        error = np.maximum(carried, 0) + tolerance("f32", max(1, a.value.shape[2])) * largest
    acc = _within_range(value, error, largest)
    bounder.locals = {"acc": Bounded(acc.value.reshape(bounder.shape), acc.error.reshape(bounder.shape))}
    for s in view.stores:
        bounder.store(s, outputs[s.output])


def _matrix(factor: Scalar, dims: Sequence[tuple[Axis, ...]], operands: Sequence[Bounded], rows: int) -> Bounded:
    axes = [a for d in dims for a in d]
    bounder = _Bounder(operands, rows, axes, {})
    found = bounder(factor)
    shape = [prod(extent_of(a, rows) for a in d) for d in dims]
    return Bounded(*(np.broadcast_to(x, bounder.shape).reshape(shape) for x in (found.value, found.error)))
