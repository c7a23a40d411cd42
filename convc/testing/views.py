"""Indices proved on small shapes: every load and store of a kernel is enumerated, in plain Python.

A GEMM view or a loop nest is data, so its gathers can be run without arithmetic: which element of which
tensor meets which. The definition of a convolution says the same in another way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from convc.checks import instance
from convc.ir.core import Op, checked_infer
from convc.ir.evaluate import extent_of
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Bound, Index
from convc.ir.kernels import Gemm, KernelOp, Loops
from convc.ir.loop_nest import LoopNest, Reduce
from convc.ir.ops.contract import Contract, Linear
from convc.ir.ops.conv import Conv, Conv2d, Conv2dDgrad
from convc.ir.ops.fused import ANCHOR_OPERANDS, Fused
from convc.ir.scalar import Load, Scalar, Store, walk
from convc.ir.types import TensorType

Point = Mapping[Axis, int]
Element = tuple[int, ...]
Product = tuple[Element, Element, Element]
"""An output point and the elements of the first and the second operand whose product is added to it."""


def check_view(op: Op, *inputs: TensorType, rows: int | None = None, products: Counter[Product] | None = None) -> None:
    """Enumerate every gather and every store of an operator's lowering, or of a kernel, on these types.

    Asserts that each element of each output (of the first `rows` rows) is stored exactly once, that each
    load proved to be inside is inside, that no load or store touches rows beyond `rows`, that the offsets of
    a layout lie in the tensor's memory, and, where the definition is known (convolutions, linear layers,
    contractions and what is fused to them) or given as `products`, that the products added up are those
    of the definition, each exactly once. Small shapes: it is plain Python. Raises AssertionError.
    """
    instance(op, Op, "a view is that of an operator, such as ops.conv.Conv2d()")
    if isinstance(op, KernelOp):
        kernel, outputs = op, op.results
    else:
        outputs = checked_infer(op, inputs)
        lowered = op.lower(inputs, outputs)
        assert isinstance(lowered, KernelOp), f"{op.name} lowers to {lowered.name}, which is no kernel"
        kernel = lowered
    capacity = next((int(t.rows) for t in (*inputs, *outputs) if t.rows is not None), 1)
    run = _Run(inputs, outputs, capacity if rows is None else rows)
    if isinstance(kernel, Gemm):
        for view in kernel.phases:
            run.view(view)
    else:
        assert isinstance(kernel, Loops)
        run.nest(kernel.nest)
    run.check_stores()
    wanted = definition(op, inputs, outputs, run.rows) if products is None else products
    if wanted is not None:
        _check_products(wanted, run.products)


def definition(
    op: Op, inputs: Sequence[TensorType], outputs: Sequence[TensorType], rows: int
) -> Counter[Product] | None:
    """The products that an operator's equation adds up, or None where it is no sum of products."""
    if isinstance(op, Fused):
        return definition(op.anchor, inputs[:ANCHOR_OPERANDS], checked_infer(op.anchor, inputs[:ANCHOR_OPERANDS]), rows)
    if isinstance(op, Conv):
        return Counter(_convolution(op, inputs, outputs, rows))
    if isinstance(op, Linear | Contract):
        return Counter(_contraction("nc,kc->nk" if isinstance(op, Linear) else op.spec, inputs, rows))
    return None


def _convolution(op: Conv, inputs: Sequence[TensorType], outputs: Sequence[TensorType], rows: int) -> Iterator[Product]:
    """Equation 1 of the cuDNN paper with all its attributes: the pairs (x, w) that make up each y."""
    if isinstance(op, Conv2d):
        (x, w), y = inputs, outputs[0]
    elif isinstance(op, Conv2dDgrad):
        (y, w), x = inputs, outputs[0]
    else:
        (y, x), w = inputs, outputs[0]
    n_extent = rows if x.rows is not None else x.shape[0]
    (filters, channels, taps_r, taps_s), (top, left, _, _) = w.shape, op.pads
    for n, k, p, q in product(*map(range, (n_extent, *y.shape[1:]))):
        group = k // (filters // op.groups)
        for c, r, s in product(range(channels), range(taps_r), range(taps_s)):
            h = p * op.stride[0] + r * op.dilation[0] - top
            v = q * op.stride[1] + s * op.dilation[1] - left
            if 0 <= h < x.shape[2] and 0 <= v < x.shape[3]:
                at_y, at_w, at_x = (n, k, p, q), (k, c, r, s), (n, group * channels + c, h, v)
                if isinstance(op, Conv2d):
                    yield at_y, at_x, at_w
                elif isinstance(op, Conv2dDgrad):
                    yield at_x, at_y, at_w
                else:
                    yield at_w, at_y, at_x


def _contraction(spec: str, inputs: Sequence[TensorType], rows: int) -> Iterator[Product]:
    left, _, out = spec.partition("->")
    x, _, y = left.partition(",")
    extents: dict[str, int] = {}
    for term, t in zip((x, y), inputs):
        extents.update((a, rows if i == 0 and t.rows is not None else int(t.shape[i])) for i, a in enumerate(term))
    for point in product(*map(range, extents.values())):
        at = dict(zip(extents, point))
        yield tuple(at[a] for a in out), tuple(at[a] for a in x), tuple(at[a] for a in y)


def _check_products(wanted: Counter[Product], found: Counter[Product]) -> None:
    for what, difference in (("is missing", wanted - found), ("is one too many", found - wanted)):
        if difference:
            at, first, second = min(difference)
            raise AssertionError(
                f"the product of elements {list(first)} and {list(second)} for output {list(at)} {what};"
                f" {difference.total()} such"
            )


@dataclass
class _Run:
    """One enumeration: what was stored and which products were met.

    Bounds and offsets are kept by the identity of the load or store that they belong to: hashing an
    expression at every point would take longer than all the rest.
    """

    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    rows: int
    stored: list[Counter[Element]] = field(init=False)
    products: Counter[Product] = field(default_factory=Counter)
    _limits: dict[int, tuple[Bound, ...]] = field(default_factory=dict)
    _offsets: dict[tuple[int, int], Index] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stored = [Counter() for _ in self.outputs]

    def points(self, axes: Sequence[Axis]) -> Iterator[Point]:
        for values in product(*(range(extent_of(a, self.rows)) for a in axes)):
            yield dict(zip(axes, values))

    def view(self, view: GemmView) -> None:
        for outer in self.points((*view.batch, *view.m, *view.n)):
            targets = [self.store(s, outer) for s in view.stores]
            for inner in self.points(view.k):
                a, b = (self._factor(e, {**outer, **inner}) for e in (view.a, view.b))
                if a is not None and b is not None and targets:
                    first, second = (a, b) if a[0] <= b[0] else (b, a)
                    self.products[targets[0], first[1], second[1]] += 1

    def nest(self, nest: LoopNest) -> None:
        for outer in self.points(nest.axes):
            for stage in nest.stages:
                for inner in self.points(stage.axes):
                    at = {**outer, **inner}
                    if isinstance(stage, Reduce):
                        for value in stage.values:
                            self.loads(value, at)
                    else:
                        for s in stage.stores:
                            self.store(s, at)

    def _factor(self, e: Scalar, at: Point) -> tuple[int, Element] | None:
        """The operand's number and element, or None where it is filled with zero."""
        assert isinstance(e, Load), f"a GEMM's factor must be a load, not {type(e).__name__}"
        assert e.fill == 0, f"a GEMM's factor must be 0 outside, not {e.fill}"
        element = self.load(e, at)
        return None if element is None else (e.operand, element)

    def loads(self, root: Scalar, at: Point) -> None:
        for e in walk(root):
            if isinstance(e, Load):
                self.load(e, at)

    def load(self, e: Load, at: Point) -> Element | None:
        """The element that is read, None where a guard or a bound says that nothing is."""
        t = self.inputs[e.operand]
        for bound in self.limits(e, t):
            value = evaluate(bound.index, at)
            inside = bound.lo <= value < bound.hi
            assert inside or not bound.always, f"{bound} is taken for granted, but it is {value} at {_shown(at)}"
            assert not inside or not bound.never, f"{bound} is ruled out, but it is {value} at {_shown(at)}"
            if not inside:
                return None
        return self._element(t, e.coords, at, "load from operand", e.operand)

    def limits(self, e: Load, t: TensorType) -> tuple[Bound, ...]:
        if id(e) not in self._limits:
            inside = (Bound(c, 0, int(extent)) for c, extent in zip(e.coords, t.shape, strict=True))
            self._limits[id(e)] = (*e.guards, *inside)
        return self._limits[id(e)]

    def store(self, s: Store, at: Point) -> Element:
        self.loads(s.value, at)
        t = self.outputs[s.output]
        for c, extent in zip(s.coords, t.shape, strict=True):
            assert 0 <= evaluate(c, at) < int(extent), f"store at {c}, beyond {int(extent)}, at {_shown(at)}"
        element = self._element(t, s.coords, at, "store to output", s.output)
        self.stored[s.output][element] += 1
        return element

    def _element(self, t: TensorType, coords: Sequence[Index], at: Point, what: str, number: int) -> Element:
        element = tuple(evaluate(c, at) for c in coords)
        if t.rows is not None:
            assert element[0] < self.rows, f"{what} {number}: row {element[0]}, and there are {self.rows}"
        key = id(coords), id(t)
        if key not in self._offsets:
            self._offsets[key] = t.offset(coords)
        offset = evaluate(self._offsets[key], at)
        assert offset == memory_offset(t, element), f"{what} {number}: {list(element)} is not at {offset} in {t}"
        return element

    def check_stores(self) -> None:
        for number, (t, stored) in enumerate(zip(self.outputs, self.stored)):
            shape = [self.rows if i == 0 and t.rows is not None else int(e) for i, e in enumerate(t.shape)]
            for element in product(*map(range, shape)):
                times = stored[element]
                assert times == 1, f"element {list(element)} of output {number} is stored {times} times, not once"
            offsets = {memory_offset(t, e) for e in stored}
            assert len(offsets) == len(stored), f"two elements of output {number} share memory in {t}"


def evaluate(index: Index, at: Point) -> int:
    """The index' value at a point, by Python's own integers."""
    return index.fold(lambda a: at[a], int)


def memory_offset(t: TensorType, element: Element) -> int:
    """Where an element lies, counted in elements: the layout's definition, in plain integers."""
    if t.layout is None:
        order, blocked, width = tuple(range(t.rank)), None, 1
    else:
        order, blocked, width = t.layout.order, t.layout.blocked, t.layout.width
    offset = 0
    for a in order:
        size, at = (
            (-(-int(t.shape[a]) // width), element[a] // width) if a == blocked else (int(t.shape[a]), element[a])
        )
        offset = offset * size + at
    return offset if blocked is None else offset * width + element[blocked] % width


def _shown(at: Point) -> str:
    return ", ".join(f"{a.name}={value}" for a, value in at.items())
