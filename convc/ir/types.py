"""Tensor types: dtype, logical shape with typed batch rows, and an optional layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral

import numpy as np

from convc.errors import IRError
from convc.ir.index import Index, IndexLike


class Rows(int):
    """The rows of a batch, `n<=64`: a program planned for this capacity runs any 1 <= n <= capacity.

    Arithmetic uses the capacity. It equals another `Rows` of the same capacity and no plain integer, so a
    shape rule that mixes the two does not pass unseen.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and int(self) == int(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(("n", int(self)))

    def __str__(self) -> str:
        return f"n<={int(self)}"

    __repr__ = __str__


@dataclass(frozen=True)
class Layout:
    """Where a logical coordinate lies: the axes in storage order, one of them optionally cut in blocks.

    `Layout((0, 1, 2, 3), 0, 16)` stores axis 0 in blocks of 16 whose lanes lie innermost: coordinate
    (n, c, h, w) is at `((n/16 * C + c) * H + h) * W + w) * 16 + n%16`. The last block is padded.
    Text form: the order's digits, then the blocked axis and its width: `0123.0x16`.
    """

    order: tuple[int, ...]
    blocked: int | None = None
    width: int = 1

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise IRError(f"a layout must name each axis once, but it is {list(self.order)}")
        if self.width < 1 or (self.blocked is not None and self.blocked not in self.order):
            raise IRError(f"a layout blocks one of its axes by at least 1, not axis {self.blocked} by {self.width}")

    def __str__(self) -> str:
        text = "".join(map(str, self.order))
        return text if self.blocked is None else f"{text}.{self.blocked}x{self.width}"

    def extents(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Storage extents, outermost first."""
        outer = [-(-int(shape[a]) // self.width) if a == self.blocked else int(shape[a]) for a in self.order]
        return (*outer, self.width) if self.blocked is not None else tuple(outer)

    def offset(self, coords: Sequence[IndexLike], shape: Sequence[int]) -> Index:
        """The element offset of logical `coords`."""
        c = [Index.of(i) for i in coords]
        stored = [c[a] // self.width if a == self.blocked else c[a] for a in self.order]
        if self.blocked is not None:
            stored.append(c[self.blocked] % self.width)
        total = Index()
        for coordinate, extent in zip(stored, self.extents(shape), strict=True):
            total = total * extent + coordinate
        return total.linear()


def row_major(rank: int) -> Layout:
    return Layout(tuple(range(rank)))


DTYPES: dict[str, np.dtype[np.generic]] = {
    "f32": np.dtype(np.float32),
    "i32": np.dtype(np.int32),
}


MAX_EXTENT = 2**31
"""Coordinates are 32-bit integers on some targets."""


def _extent(value: object) -> int:
    """An extent from Python: NumPy's integers become Python's."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise IRError(f"an extent must be an integer, not {value!r}")
    return value if isinstance(value, Rows) else int(value)


@dataclass(frozen=True)
class TensorType:
    """`f32[n<=64,1,28,28]`: dtype, logical shape, and the layout where it is not row-major."""

    dtype: str
    shape: tuple[int, ...]
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise IRError(f"unknown dtype '{self.dtype}'; known are {', '.join(DTYPES)}")
        if any(type(e) is not int and type(e) is not Rows for e in self.shape):
            object.__setattr__(self, "shape", tuple(map(_extent, self.shape)))
        for i, extent in enumerate(self.shape):
            if extent < 1:
                raise IRError(f"an extent must be at least 1, but axis {i} of {self} is {int(extent)}")
            if extent >= MAX_EXTENT:
                raise IRError(f"an extent must be below 2^31, but axis {i} of {self} is {int(extent)}")
            if isinstance(extent, Rows) and i != 0:
                raise IRError(f"only axis 0 can be batch rows, but axis {i} of {self} is {extent}")
        if self.layout is not None and len(self.layout.order) != len(self.shape):
            raise IRError(f"layout {self.layout} orders {len(self.layout.order)} axes, but there are {len(self.shape)}")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Logical elements at full batch capacity."""
        return prod(int(e) for e in self.shape)

    @property
    def itemsize(self) -> int:
        return int(DTYPES[self.dtype].itemsize)

    @property
    def storage_elements(self) -> int:
        """Elements in memory, padding lanes included."""
        return self.elements if self.layout is None else prod(self.layout.extents(self.shape))

    @property
    def nbytes(self) -> int:
        return self.storage_elements * self.itemsize

    @property
    def rows(self) -> Rows | None:
        """The typed batch rows of axis 0, if it has them."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], Rows) else None

    def offset(self, coords: Sequence[IndexLike]) -> Index:
        return (self.layout or row_major(self.rank)).offset(coords, self.shape)

    def with_layout(self, layout: Layout | None) -> TensorType:
        return TensorType(self.dtype, self.shape, layout)

    def logical(self) -> TensorType:
        """The same type without its layout: what shape rules compare."""
        return self if self.layout is None else TensorType(self.dtype, self.shape)

    def __str__(self) -> str:
        layout = "" if self.layout is None else f"|{self.layout}"
        return f"{self.dtype}[{','.join(str(e) for e in self.shape)}{layout}]"


def f32(*shape: int) -> TensorType:
    return TensorType("f32", tuple(shape))
