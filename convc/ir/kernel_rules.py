"""What holds of a kernel that every target computes right: accesses in bounds, rows kept apart, whole numbers exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convc.errors import IRError
from convc.ir.index import Bound, Index
from convc.ir.scalar import Const, IndexValue, Load, Local, Next, Random, Scalar, Select, Store, walk
from convc.ir.types import Rows, TensorType

EXACT_BELOW = 2**24
"""Whole numbers that f32 holds exactly, with their neighbours."""


def check_load(e: Load, inputs: Sequence[TensorType]) -> None:
    """A load outside its tensor is its fill, but no row beyond n may be read: rows are counted by an axis of rows."""
    if e.operand >= len(inputs):
        raise IRError(f"reads ${e.operand}, but there are only {len(inputs)}")
    t = inputs[e.operand]
    if len(e.coords) != t.rank:
        raise IRError(f"reads ${e.operand} at {len(e.coords)} coordinates, but it is {t}")
    if t.rows is not None and not _counts_rows(e.coords[0], t.rows):
        raise IRError(f"reads row {e.coords[0]} of ${e.operand}: {t}, but rows are read by an axis of {t.rows} alone")


def check_store(s: Store, results: Sequence[TensorType]) -> None:
    if s.output >= len(results):
        raise IRError(f"stores {s.output}, but there are only {len(results)}")
    t = results[s.output]
    if len(s.coords) != t.rank:
        raise IRError(f"stores {s.output} at {len(s.coords)} coordinates, but it is {t}")
    for number, (c, extent) in enumerate(zip(s.coords, t.shape)):
        if not Bound(c, 0, int(extent)).always:
            low, high = c.range()
            raise IRError(f"stores {s.output} at {c}, which goes from {low} to {high}, but axis {number} of {t} has"
                          f" {int(extent)}")  # fmt: skip
        rows = isinstance(extent, Rows)
        if rows != any(isinstance(a.extent, Rows) for a in c.axes()) and not (rows and extent == Rows(1)):
            raise IRError(f"stores {s.output} at {c} along axis {number} of {t}, but an axis of batch rows counts the"
                          " rows of a tensor, and nothing else does")  # fmt: skip
    if t.rows is not None and not _counts_rows(s.coords[0], t.rows):
        raise IRError(f"stores row {s.coords[0]} of {t}, but rows are stored by an axis of {t.rows} alone")


def _counts_rows(c: Index, rows: Rows) -> bool:
    """Whether the coordinate is an axis of rows, or row 0, which there always is."""
    return c == Index() or (c.lone and c.axes()[0].extent == rows)


def check_whole_store(s: Store, t: TensorType, inputs: Sequence[TensorType], small: Mapping[str, bool]) -> None:
    """Numbers are f32 on their way through a kernel: an i32 result is a copy, bit for bit, a count or below 2^24."""
    if t.dtype == "f32":
        if not isinstance(s.value, Load) or inputs[s.value.operand].dtype == "f32":
            return
        raise IRError(f"stores ${s.value.operand}, which is {inputs[s.value.operand]}, as {t}: a copy keeps the dtype")
    if not is_copy(s.value, inputs) and not isinstance(s.value, Next) and not _small(s.value, small):
        raise IRError(f"stores to {t} what is neither an i32 element as it is nor a whole number below 2^24")


def is_copy(e: Scalar, inputs: Sequence[TensorType]) -> bool:
    """Whether it is an element of an i32 operand, or 0 where there is none."""
    return isinstance(e, Load) and inputs[e.operand].dtype == "i32" and repr(e.fill) == "0.0"


def _small(e: Scalar, small: Mapping[str, bool]) -> bool:
    match e:
        case Const(value):
            return value.is_integer() and abs(value) <= EXACT_BELOW
        case IndexValue(index):
            return index.within(-EXACT_BELOW, EXACT_BELOW + 1)
        case Local(name):
            return small.get(name, False)
        case Select(_, _, _, then, otherwise):
            return _small(then, small) and _small(otherwise, small)
    return False


def small_locals(names: Sequence[str], monoid: str, values: Sequence[Scalar]) -> dict[str, bool]:
    """Of a reduction's results those that are whole numbers below 2^24: the index that argmax found, or -1."""
    return {names[1]: _small(values[1], {})} if monoid == "argmax" else {}


def check_words(root: Scalar, inputs: Sequence[TensorType]) -> None:
    """Seed and step of random numbers are read bit by bit."""
    for e in (e for e in walk(root) if isinstance(e, Random)):
        for word in e.children():
            whole = isinstance(word, Const) and 0 <= word.value < EXACT_BELOW and word.value.is_integer()
            if not whole and not (isinstance(word, Load) and inputs[word.operand] == TensorType("i32", ())):
                raise IRError("seed and step of random must be operands of type i32[], or whole numbers below 2^24")


def check_next(
    stores: Sequence[Store], others: Sequence[Scalar], results: Sequence[TensorType], inputs: Sequence[TensorType]
) -> None:
    """What comes after a whole number is exact in a whole number alone: it is stored, in an i32, and nothing else."""
    counts = [s.value for s in stores if results[s.output].dtype == "i32" and isinstance(s.value, Next)]
    for e in (e for root in (*(s.value for s in stores), *others) for e in walk(root) if isinstance(e, Next)):
        counted = isinstance(e.x, Load) and inputs[e.x.operand] == TensorType("i32", ())
        if not counted or not any(e is c for c in counts):
            raise IRError("next is of an operand of type i32[], and is stored in an i32")


def check_factor(name: str, e: Scalar, inputs: Sequence[TensorType]) -> None:
    """The factors of a product are gathered as they are, f32, 0 outside."""
    if not isinstance(e, Load) or e.fill != 0 or inputs[e.operand].dtype != "f32":
        raise IRError(f"factor {name} of a product must be an element of an f32 operand, 0 where there is none")


def copied(stores: Sequence[Store], others: Sequence[Scalar], inputs: Sequence[TensorType]) -> tuple[int, ...]:
    """The i32 operands that are copied to i32 results; `others` are the kernel's expressions that are not stored.

    Raises IRError where one of them is computed with, too.
    """
    operands = tuple(
        dict.fromkeys(s.value.operand for s in stores if isinstance(s.value, Load) and is_copy(s.value, inputs))
    )
    computed = (*others, *(s.value for s in stores if not is_copy(s.value, inputs)))
    for e in (e for root in computed for e in walk(root) if isinstance(e, Load)):
        if e.operand in operands:
            raise IRError(f"${e.operand} is copied and computed with in one kernel; make a kernel of each")
    return operands
