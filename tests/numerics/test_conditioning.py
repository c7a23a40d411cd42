"""Whether an operator's formula is the right one for f32: its error on hard inputs against what the inputs allow.

The derived bounds of `convc.testing.error_bound` judge how a formula is computed, not the formula. This judges the
formula: an operator f may be off by as much as it changes itself where its natural variables (the operands, or for an
operator that a shift leaves alone the differences that it reads) move by a rounding each, times `ROUNDINGS`, and by
`ULPS_OF_RESULT` units of the result. Both are found from the float64 reference alone, with no look at the expression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.ir.core import OPS, Op
from convc.ir.kernels import KernelOp
from convc.ir.ops.adaptive_pool import AdaptiveAvgPool, AdaptiveAvgPoolGrad, AdaptiveMaxPool, AdaptiveMaxPoolGrad
from convc.ir.ops.clip import Norm
from convc.ir.ops.contract import Contract, Linear
from convc.ir.ops.conv import Conv2d, Conv2dDgrad, Conv2dWgrad
from convc.ir.ops.dropout import Dropout
from convc.ir.ops.fused import Fused, Step
from convc.ir.ops.loss import Softmax, SoftmaxGrad
from convc.ir.ops.norm import Lrn, LrnGrad, LrnTerms
from convc.ir.ops.optim import SgdMomentum
from convc.ir.ops.pointwise import BiasAdd, LeakyRelu, LeakyReluGrad, Sigmoid
from convc.ir.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from convc.ir.ops.reduce import Broadcast, Full, Sum
from convc.ir.ops.shape import Relayout, Reshape
from convc.ir.types import TensorType, f32
from tests.numerics.cases import Case
from tests.numerics.helpers import combined

Array = npt.NDArray[Any]
U = 2.0**-24
LEAST_NORMAL = 2.0**-126
LOST = 4 * LEAST_NORMAL
"""What is below the least normal number may be taken for 0, in some terms of a sum, too."""
LARGEST = float(np.finfo(np.float32).max)
ROUNDINGS = 16
"""An expression of a dozen roundings, each worth one of its inputs', functions of 3 units among them; random signs
find about half of the worst case."""
ULPS_OF_RESULT = 8
TRIALS = 24
WITHIN_WITNESS = 4
"""How many times PyTorch's error ours may be, on the same inputs, in the same units."""
Natural = Callable[[Sequence[Array], Sequence[Array]], list[Array]]
"""(operands, for each a factor near 1 for every element) -> the operands with their natural variables moved."""


def each_operand(x: Sequence[Array], by: Sequence[Array]) -> list[Array]:
    return [a * f for a, f in zip(x, by)]


def first(count: int) -> Natural:
    """The first operands only: the numbers behind them are exact."""
    return lambda x, by: [a * f if i < count else a for i, (a, f) in enumerate(zip(x, by))]


def from_the_greatest(operand: int) -> Natural:
    """Logits count as differences from the greatest of their row: a shift changes nothing."""

    def move(x: Sequence[Array], by: Sequence[Array]) -> list[Array]:
        z = x[operand]
        top = z.max(1, keepdims=True)
        moved = [a if a.dtype.kind == "i" else a * f for a, f in zip(x, by)]
        moved[operand] = top + (z - top) * by[operand]
        return moved

    return move


def differences(y: int) -> Natural:
    """Operands y and y + 1 count as their difference."""

    def move(x: Sequence[Array], by: Sequence[Array]) -> list[Array]:
        moved = each_operand(x, by)
        moved[y], moved[y + 1] = x[y + 1] + (x[y] - x[y + 1]) * by[y], x[y + 1]
        return moved

    return move


@dataclass(frozen=True)
class Hard:
    """An operator on inputs that are hard for a careless formula."""

    op: Op
    inputs: tuple[Array, ...]
    natural: Natural = each_operand

    @property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(TensorType("i32" if a.dtype.kind == "i" else "f32", a.shape) for a in self.inputs)


def of(*values: Any) -> Array:
    return np.asarray(values, np.float32)


def spread(*shape: int, low: float = -6, high: float = 6, seed: int = 0) -> Array:
    """Signs and magnitudes over many powers of ten."""
    rng = np.random.default_rng([seed, *shape])
    return (rng.choice([-1.0, 1.0], shape) * 10 ** rng.uniform(low, high, shape)).astype(np.float32)


X = of(0, 1e-38, -1e-30, 1e-20, -1e-8, 3e-4, 0.1, 0.3, -0.55, 0.9, 1, -1.0001, 3, -8, 17, -30, 60, -86, 88, 100, -1e3,
       1e8, -1e20, 1e30, 3e38, -3e38)  # fmt: skip
DY = np.resize(of(1, -1e-20, 3e10, 1e-3), X.shape)
UNIT = of(1e-38, 1e-20, 1e-6, 0.1, 0.5, 0.9, 0.999, 1 - 2.0**-20, 1 - 2.0**-23, 1 - 2.0**-24, 1)
"""Values of an activation, up to where it saturates."""
DY_UNIT = np.resize(of(1, -1e-20, 3e10), UNIT.shape)
CANCELS = of(1, 1e8, 1e-20, -3.3333, 1.7e38)
LOGITS = of([0, 0, 0], [1e3, 1e3, -1e9], [1e7, 1e7, -1e8], [1e8, 1e8, 1e7], [3e38, 3e38, -3e38], [20, 0, -5],
            [0, -16, -17], [0, -40, -80], [88, 1e-3, -1e-3], [-1e8, -1e8 + 16, -1e8 + 8], [1e-30, -1e-30, 0],
            [5, 4.9999, -1], [-90, 0, 1])  # fmt: skip
LABELS = np.resize(np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 2, 1, 1, 0], np.int32), len(LOGITS))
NORMS = np.stack([X[1:], X[1:] * 1e-30, np.resize(of(1.5e19), 25), np.resize(of(-1e-25, 1e-30), 25), np.zeros(25)])
"""Rows whose squares overflow or vanish in f32, and one of zeros."""
DLOSS = spread(len(LOGITS), low=-3, high=3)
IMAGE = spread(2, 3, 5, 4)
FILTERS = spread(4, 3, 3, 3)
MAPS = spread(2, 4, 5, 4)
SAME = {"padding": (1, 1)}
WIDE = spread(2, 7, 3, 2, low=-18, high=15)
WIDE_DY = spread(2, 7, 3, 2, low=-3, high=3, seed=1)
WINNERS = np.random.default_rng(0).integers(0, 4, (2, 3, 2, 2)).astype(np.int32)
NUMBERS = {"paper": Lrn(5, 5e-4, 0.75, 2.0), "odd": Lrn(4, 0.3, 0.61, 1e-3), "two": Lrn(3, 1.0, 2.25, 1.0)}
STEP = {"first": 1, "late": 100_000}
WEIGHTS, GRADIENTS = spread(40, low=-6, high=2), spread(40, low=-12, high=9, seed=2)
VELOCITY, SQUARES = spread(40, low=-12, high=9, seed=3), np.abs(spread(40, low=-20, high=18, seed=4))


def adam(name: str, step: int) -> Hard:
    numbers = [np.float32(n) for n in (0.001, 0.9, 0.999, 1e-8, 0.01)]
    inputs = (WEIGHTS, GRADIENTS, VELOCITY, SQUARES, *[np.asarray(n) for n in numbers], np.asarray(step, np.int32))
    return Hard(OPS[name](), inputs, first(4))


def rmsprop(*numbers: float) -> Hard:
    """Without momentum: lr, alpha, eps, weight decay; with it: lr, alpha, eps, momentum, weight decay."""
    state = (SQUARES,) if len(numbers) == 4 else (SQUARES, VELOCITY)
    name = "rmsprop" if len(numbers) == 4 else "rmsprop_momentum"
    inputs = (WEIGHTS, GRADIENTS, *state, *[np.float32(n) for n in numbers])
    return Hard(OPS[name](), tuple(map(np.asarray, inputs)), first(2 + len(state)))


def table() -> dict[str, list[Hard]]:
    """The hard inputs of every operator."""
    scalars = [np.float32(0.1), np.float32(0.9), np.float32(0.01)]
    pooled = spread(2, 3, 2, 2)
    found: list[Hard] = [
        Hard(Conv2d(**SAME), (IMAGE, FILTERS)),
        Hard(Conv2dDgrad(**SAME, result=f32(2, 3, 5, 4)), (MAPS, FILTERS)),
        Hard(Conv2dWgrad(**SAME, result=f32(4, 3, 3, 3)), (MAPS, IMAGE)),
        Hard(Linear(), (spread(5, 33), spread(7, 33))),
        Hard(Contract("nk,kc->nc"), (spread(5, 33), spread(33, 7))),
        Hard(
            Fused(Linear(), (Step(BiasAdd(), (3, 2)), Step(Sigmoid(), (4,)))),
            (spread(5, 9, high=2), spread(7, 9, high=0), spread(7, high=1)),
        ),
        Hard(BiasAdd(), (np.stack([CANCELS, 2 * CANCELS]) / 2, -CANCELS * np.float32(1 + 1e-6))),
        Hard(OPS["add"](), (CANCELS, -CANCELS * np.float32(1 + 1e-6))),
        Hard(OPS["mul"](), (X, np.resize(of(1, 1e-10, -1e10), X.shape))),
        Hard(OPS["relu"](), (X,)),
        Hard(OPS["relu_grad"](), (DY, X)),
        Hard(LeakyRelu(0.01), (X,)),
        Hard(LeakyReluGrad(0.01), (DY, X)),
        Hard(OPS["sigmoid"](), (X,)),
        Hard(OPS["sigmoid_grad"](), (DY_UNIT, UNIT)),
        Hard(OPS["tanh"](), (X,)),
        Hard(OPS["tanh_grad"](), (DY_UNIT, -UNIT)),
        Hard(Dropout(0.3), (X, np.asarray(7, np.int32), np.asarray(3, np.int32)), first(1)),
        Hard(Dropout(1 - 2.0**-20), (spread(1000), np.asarray(7, np.int32), np.asarray(3, np.int32)), first(1)),
        Hard(Softmax(), (LOGITS,), from_the_greatest(0)),
        Hard(SoftmaxGrad(), (spread(4, 5), np.abs(spread(4, 5, low=-7, high=0)))),
        Hard(OPS["cross_entropy"](), (LOGITS, LABELS), from_the_greatest(0)),
        Hard(OPS["cross_entropy_grad"](), (DLOSS, LOGITS, LABELS), from_the_greatest(1)),
        Hard(OPS["correct"](), (LOGITS, LABELS), from_the_greatest(0)),
        Hard(OPS["mse"](), (of(1e8 + 8, -3, 1e-10), of(1e8, -3.0001, -1e-10)), differences(0)),
        Hard(OPS["mse"](), (of(1e-20, 1e10), of(1e-15, -1e10)), differences(0)),
        Hard(
            OPS["mse_grad"](),
            (np.float32(0.7), of(1e8 + 8, -3, 1e-10, 2e38, 1e-37), of(1e8, -3.0001, -1e-10, 0, 0)),
            differences(1),
        ),
        Hard(Sum((0,)), (spread(64, 3, low=-3, high=3),)),
        Hard(Sum((0,), mean=True), (of([1e8], [1], [-1e8], [1e-30]),)),
        Hard(Broadcast((0,), mean=True, result=f32(7, 26)), (X,)),
        Hard(Full(0.1, result=f32(3)), ()),
        Hard(Reshape(result=f32(13, 2)), (X,)),
        Hard(OPS["flatten"](), (IMAGE,)),
        *(Hard(OPS["count"](), (np.int32(n),)) for n in (0, 2**24, 2**31 - 1)),
        Hard(Relayout(result=f32(26)), (X,)),
        Hard(MaxPool(), (IMAGE,)),
        Hard(MaxPoolGrad(result=f32(2, 3, 5, 4)), (pooled, WINNERS)),
        Hard(AvgPool((3, 3), (1, 1), (1, 1), False), (IMAGE,)),
        Hard(AvgPoolGrad((3, 3), (1, 1), (1, 1), False, result=f32(2, 4, 5, 4)), (MAPS,)),
        Hard(AdaptiveAvgPool((2, 3)), (IMAGE,)),
        Hard(AdaptiveAvgPoolGrad((2, 2), result=f32(2, 3, 5, 4)), (pooled,)),
        Hard(AdaptiveMaxPool((2, 3)), (IMAGE,)),
        Hard(AdaptiveMaxPoolGrad((2, 2), result=f32(2, 3, 5, 4)), (pooled, WINNERS)),
        Hard(OPS["sgd"](), (WEIGHTS, GRADIENTS, scalars[0], scalars[2]), first(2)),
        *(Hard(SgdMomentum(n), (WEIGHTS, GRADIENTS, VELOCITY, *scalars), first(3)) for n in (False, True)),
        *(adam(name, step) for name in ("adam", "adamw") for step in STEP.values()),
        rmsprop(0.01, 0.99, 1e-8, 0.01),
        rmsprop(0.01, 0.99, 1e-8, 0.9, 0.01),
        Hard(Norm((1,)), (NORMS,)),
        Hard(OPS["hypot"](), (X, np.resize(of(1, -1e-20, 3e10, 1e-3, 3e38), X.shape))),
        Hard(OPS["clip_scale"](), (of(0, 1e-30, 1e-6, 0.3, 1, 1.0001, 7, 1e20, 3e38), np.asarray(np.float32(1)))),
    ]
    for lrn in NUMBERS.values():
        terms = LrnTerms(**lrn.shared).reference(WIDE_DY.astype(np.float64), WIDE.astype(np.float64))[0]
        found += [
            Hard(lrn, (WIDE,)),
            Hard(LrnTerms(**lrn.shared), (WIDE_DY, WIDE)),
            Hard(LrnGrad(**lrn.shared), (WIDE_DY, WIDE, terms.astype(np.float32))),
        ]
    by_name: dict[str, list[Hard]] = {}
    for hard in found:
        hard = Hard(hard.op, tuple(np.asarray(a) for a in hard.inputs), hard.natural)
        by_name.setdefault(hard.op.name, []).append(hard)
    return by_name


HARD = table()
CASES = [(name, number) for name, cases in HARD.items() for number in range(len(cases))]
TARGETS = [
    "cpu",
    pytest.param("emulator", marks=pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed")),
]


def test_every_operator_has_hard_inputs() -> None:
    assert set(HARD) == {name for name, cls in OPS.items() if not issubclass(cls, KernelOp)}


def exact(hard: Hard, inputs: Sequence[Array]) -> list[Array]:
    with np.errstate(all="ignore"):
        return [np.asarray(a, np.float64) for a in hard.op.execute(inputs, 1)]


def wide(hard: Hard) -> list[Array]:
    return [a.astype(np.int64 if a.dtype.kind == "i" else np.float64) for a in hard.inputs]


@cache
def allowed(name: str, number: int) -> list[Array]:
    """For each result how far f32 may be off, from the float64 reference on inputs moved by a rounding each."""
    hard, rng = HARD[name][number], np.random.default_rng(0)
    inputs = wide(hard)
    results = exact(hard, inputs)
    moves = [np.zeros_like(r) for r in results]
    for _ in range(TRIALS):
        factors = [
            1 + U * rng.choice([-1.0, 1.0], a.shape) if a.dtype.kind == "f" else np.ones(a.shape, int) for a in inputs
        ]
        moved = exact(hard, hard.natural(inputs, factors))
        with np.errstate(invalid="ignore"):
            moves = [np.fmax(m, np.abs(a - b)) for m, a, b in zip(moves, moved, results)]
    return [ROUNDINGS * m + ULPS_OF_RESULT * U * np.abs(r) + LOST for m, r in zip(moves, results)]


def shares(name: str, number: int, found: Sequence[Array]) -> list[Array]:
    """Errors as parts of what is allowed: 0 for infinity where the result is beyond f32, and for what may be lost."""
    result = []
    right = exact(HARD[name][number], wide(HARD[name][number]))
    for a, b, bound in zip(found, right, allowed(name, number), strict=True):
        with np.errstate(invalid="ignore"):
            off = np.where(a == b, 0, np.abs(a - b)) / bound
        lost = (np.abs(b) < LOST) & (np.abs(a - b) <= LOST)
        beyond = (np.abs(b) > LARGEST) & (a == np.copysign(np.inf, b))
        result.append(np.where(lost | beyond, 0, np.where(np.isnan(off), np.inf, off)))
    return result


@cache
def run_all(target: str) -> dict[tuple[str, int], list[Array]]:
    """All hard cases as one program of the target."""
    cases = [Case(f"{name}_{number}", HARD[name][number].op, HARD[name][number].types) for name, number in CASES]
    graph = combined(cases)
    program = convc.compile(graph, target=target)
    arrays = [a for name, number in CASES for a in HARD[name][number].inputs]
    given = dict(zip([v.name for v in graph.inputs], arrays, strict=True))
    for v in graph.inputs_of("state"):
        program.parameters[v.name][...] = given[v.name]
    scalars = {v.name: given[v.name].item() for v in graph.inputs_of("scalar")}
    outputs = iter(program(*[given[v.name] for v in graph.inputs_of("data")], **scalars))
    found = {}
    for case, key in zip(cases, CASES):
        found[key] = [np.asarray(next(outputs), np.float64) for _ in case.outputs]
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_the_formula_is_as_good_as_its_inputs(name: str, number: int, target: str) -> None:
    found = run_all(target)[name, number]
    for k, share in enumerate(shares(name, number, found)):
        at = np.unravel_index(int(np.argmax(share)), share.shape) if share.size else ()
        right = exact(HARD[name][number], wide(HARD[name][number]))[k]
        assert (share <= 1).all(), (
            f"result {k} of {HARD[name][number].op} at {[int(i) for i in at]} is {found[k][at]!r},"
            f" {share[at]:.3g} times what is allowed from {right[at]!r}"
        )


@pytest.mark.witness
@pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_no_worse_than_pytorch_in_f32(name: str, number: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the second witness: install the extra `witness`")
    from convc.testing.witness import run_operator

    hard = HARD[name][number]
    tensors = [torch.from_numpy(np.array(a)) for a in hard.inputs]
    seen = run_operator(hard.op, tensors, next((len(a) for a in hard.inputs if np.ndim(a)), 1))
    theirs = shares(name, number, [a.detach().double().numpy() for a in seen])
    ours = shares(name, number, run_all("cpu")[name, number])
    for a, b in zip(ours, theirs):
        least = 1 / ULPS_OF_RESULT  # a unit of the result: nobody is asked for better
        assert a.max(initial=0) <= WITHIN_WITNESS * max(float(b.max(initial=0)), least), f"{a.max()} against {b.max()}"


def decimals(z: Array, label: int) -> tuple[Decimal, list[Decimal]]:
    """Cross-entropy and its gradient in 60 digits, by the definition."""
    with localcontext() as context:
        context.prec = 60
        powers = [(Decimal(float(v)) - Decimal(float(z.max()))).exp() for v in z]
        total = sum(powers)
        loss = total.ln() - (Decimal(float(z[label])) - Decimal(float(z.max())))
        others = [p for j, p in enumerate(powers) if j != label]
        return loss, [-sum(others, Decimal(0)) / total if j == label else p / total for j, p in enumerate(powers)]


@pytest.mark.parametrize("target", TARGETS)
def test_cross_entropy_against_sixty_digits(target: str) -> None:
    """Equal logits of any size give log 2, and a loss or a gradient near 0 keeps its digits."""
    program = convc.compile(
        convc.parse_graph("""graph @g(%z: f32[n<=16,3], %l: i32[n<=16], %d: f32[n<=16]) {
          %0: f32[n<=16] = cross_entropy(%z, %l)
          %1: f32[n<=16,3] = cross_entropy_grad(%d, %z, %l)
          return %0, %1 }"""),
        target=target,
    )
    loss, gradient = program(LOGITS, LABELS, np.ones(len(LOGITS), np.float32))
    np.testing.assert_array_equal(loss[1:3], np.float32(0.6931472))
    for row, (z, label) in enumerate(zip(LOGITS, LABELS)):
        right, slopes = decimals(z, int(label))
        for found, number in ((loss[row], right), *zip(gradient[row], slopes)):
            # a rounding of each difference moves the result by up to |z - top| of them where exp is not yet 0
            reach = min(float(z.max()) - float(z.min()), 104.0)
            wanted = float(number)
            bound = ROUNDINGS * U * (1 + reach) * abs(wanted) + LOST
            assert abs(float(found) - wanted) <= bound or wanted > LARGEST, f"row {row}: {found!r}, not {wanted!r}"


def test_nothing_is_kept_of_a_dropout_that_drops_all() -> None:
    with pytest.raises(
        convc.IRError, match=r"p may be at most 1 - 2\^-24, for any element to be kept, not 0\.99999999"
    ):
        Dropout(0.99999999)
