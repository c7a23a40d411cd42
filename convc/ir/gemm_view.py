"""A convolution seen as a matrix product: `C[m,n] = epilogue(sum over k of A[m,k] * B[k,n])`.

Each operand is an access: the coordinates of a tensor as expressions of the GEMM axes, with guards. This is
the cuDNN paper's idea (Chetlur et al., 2014, section 3) made data: the matrix is gathered on its way into
the tile and never stored. Forward, data and weight gradients, grouped and dilated convolution and linear
layers are all views; the schedule says how a view is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from convc.ir.core import Array
from convc.ir.evaluate import Evaluator, extent_of, full_grid, grid
from convc.ir.index import Axis, Bound, bounds
from convc.ir.scalar import Local, Scalar, Store, loads
from convc.ir.types import TensorType

ACC = Local("acc")


@dataclass(frozen=True)
class GemmView:
    """Axes of each GEMM dimension (batch: the groups), the two factors, and what is stored of the sum.

    `a` may use the batch, m and k axes, `b` the batch, n and k axes; the stores' values see the sum as `acc`.
    An operand's value outside its tensor, or where a guard fails, is 0.
    """

    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    k: tuple[Axis, ...]
    a: Scalar
    b: Scalar
    stores: tuple[Store, ...]

    @property
    def extents(self) -> tuple[int, int, int, int]:
        """(groups, M, N, K) at full batch capacity."""
        return tuple(prod(int(a.extent) for a in axes) for axes in (self.batch, self.m, self.n, self.k))  # type: ignore[return-value]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return (*self.batch, *self.m, *self.n, *self.k)

    def flops(self, inputs: Sequence[TensorType]) -> int:
        """Two for each product whose two factors lie inside their tensors, at full batch capacity.

        So the data gradient of a convolution counts what its forward pass does, and taps in the padding count
        for nothing.
        """
        guards = [
            g
            for f in (self.a, self.b)
            for e in loads(f)
            for g in (*e.guards, *bounds(e.coords, inputs[e.operand].shape))
        ]
        axes = tuple(dict.fromkeys(a for g in guards for a in g.index.axes()))
        total = 2 * prod(self.extents)
        if not axes or prod(int(a.extent) for a in axes) == 0:
            return total
        for group in _connected(guards):
            own = tuple(dict.fromkeys(a for g in group for a in g.index.axes()))
            evaluator = Evaluator((), 1, {a: np.asarray(v) for a, v in full_grid(own).items()}, {})
            ok = np.asarray(True)
            for g in group:
                ok = ok & evaluator.inside(g)
            points = prod(int(a.extent) for a in own)
            total = total * int(np.count_nonzero(ok)) // points
        return total

    def epilogue(self, stores: Sequence[Store]) -> GemmView:
        return replace(self, stores=tuple(stores))

    def execute(self, arrays: Sequence[Array], rows: int, outputs: Sequence[Array]) -> None:
        """Run the view with NumPy on logical arrays, writing into `outputs`."""
        sizes = [prod(extent_of(a, rows) for a in axes) for axes in (self.batch, self.m, self.n, self.k)]
        g, m, n, k = sizes
        a = _matrix(self.a, (self.batch, self.m, self.k), arrays, rows).reshape(g, m, k)
        b = _matrix(self.b, (self.batch, self.k, self.n), arrays, rows).reshape(g, k, n)
        domain = (*self.batch, *self.m, *self.n)
        acc = (a @ b).reshape([extent_of(x, rows) for x in domain])
        evaluator = Evaluator(arrays, rows, grid(domain, rows), {"acc": acc})
        for s in self.stores:
            evaluator.store(s, outputs[s.output])


def _connected(guards: Sequence[Bound]) -> list[list[Bound]]:
    """The guards in groups that share no axis: each group's points can be counted by themselves."""
    groups: list[list[Bound]] = []
    for g in dict.fromkeys(guards):
        axes = set(g.index.axes())
        touching = [group for group in groups if any(axes & set(o.index.axes()) for o in group)]
        groups = [group for group in groups if group not in touching] + [[g, *(o for t in touching for o in t)]]
    return groups


def _matrix(factor: Scalar, dims: Sequence[tuple[Axis, ...]], arrays: Sequence[Array], rows: int) -> Array:
    axes = [a for d in dims for a in d]
    value = Evaluator(arrays, rows, grid(axes, rows), {})(factor)
    return np.broadcast_to(value, [extent_of(a, rows) for a in axes])
