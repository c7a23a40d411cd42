"""Arrays that a program is called with, brought into the form that its executable takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.checks import shown
from convc.errors import IRError, RunError
from convc.ir.core import Graph, Value
from convc.ir.interp import batch_rows, run_shape
from convc.ir.lexer import printable
from convc.ir.types import DTYPES
from convc.ir.whole import whole_limits

Array = npt.NDArray[Any]


def convert(v: Value, array: Any, classes: int | None) -> Array:
    """The array (NumPy's, or anything with DLPack) in the input's dtype, C-contiguous; copied only where it must.

    `classes`: it holds labels, each below this number. Raises RunError on what does not fit the input; so are uint8
    images, which nothing here would scale and normalise.
    """
    a = _as_array(v, array)
    dtype = DTYPES[v.type.dtype]
    if a.dtype.kind not in "fiub":
        raise RunError(f"{v.name} must hold numbers, but its dtype is {a.dtype}; give {v.type}")
    if a.dtype == np.uint8 and dtype.kind == "f" and v.type.rank == 4:
        raise RunError(
            f"{v.name} must be images as in training, which are normalised, and these are uint8; give those of "
            "dataset.normalized(), call convc.load_model(weights).predict(images), or give images.astype('float32')"
        )
    if dtype.kind in "iu":
        _check_whole(v, a, dtype, classes)
    elif a.dtype.kind == "f" and a.dtype.itemsize > dtype.itemsize:
        _check_finite_stays_finite(v, a, dtype)
    return np.require(a, dtype, ["C", "A"]) if a.ndim else a.astype(dtype)


def _as_array(v: Value, array: Any) -> Array:
    foreign = not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__")
    try:
        return np.from_dlpack(array) if foreign else np.asarray(array)
    except Exception as error:  # whatever an array of another library, or nested lists that are no array, raise
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        raise RunError(
            f"{v.name} must be an array in the host's memory, but {shown(array)} is not taken ({reason}); give a NumPy "
            f"array of {v.type}"
        ) from None


def _check_whole(v: Value, a: Array, dtype: np.dtype[Any], classes: int | None) -> None:
    if a.dtype.kind not in "iu":
        raise RunError(f"{v.name} must hold integers, but its dtype is {a.dtype}; give whole numbers, such as int64")
    if not a.size:
        return
    limits = np.iinfo(dtype)
    low, high = (0, classes) if classes is not None else (int(limits.min), int(limits.max) + 1)
    if not (a.min() >= low and a.max() < high):
        at = int(np.argmax((a < low) | (a >= high)))
        place = ", ".join(str(int(i)) for i in np.unravel_index(at, a.shape))
        what = "labels" if classes is not None else v.name
        raise RunError(
            f"{what} must be between {low} and {high - 1}, but {v.name}[{place}] is {int(a.reshape(-1)[at])}"
        )


def _check_finite_stays_finite(v: Value, a: Array, dtype: np.dtype[Any]) -> None:
    """A number that the input's dtype does not hold would become an infinity, unseen."""
    largest = np.finfo(dtype).max
    if not a.size or not (over := np.isfinite(a) & (np.abs(a) > largest)).any():
        return
    at = int(np.argmax(over))
    place = ", ".join(str(int(i)) for i in np.unravel_index(at, a.shape))
    raise RunError(
        f"{v.name} is computed in {dtype}, whose largest number is {largest:.4g}, but {v.name}[{place}] is "
        f"{float(a.reshape(-1)[at]):.4g}; scale it"
    )


def batch_rows_of(graph: Graph, data: Sequence[Value], arrays: Sequence[Array]) -> int:
    """n; raises RunError where a shape does not fit, and says so where it looks like channels last."""
    shapes = {v.name: a.shape for v, a in zip(data, arrays)}
    shapes |= {v.name: run_shape(v.type, 1) for v in graph.inputs if v not in data}
    try:
        return batch_rows(graph, shapes)
    except IRError as error:
        hints = [channels_last_hint(v.name, a.shape, v.type.shape) for v, a in zip(data, arrays)]
        raise RunError(f"{error}{next(filter(None, hints), '')}") from None


def channels_last_hint(name: str, shape: Sequence[int], wanted: Sequence[int]) -> str:
    """The end of a message where an array of this shape, [N, H, W, C], would fit as [N, C, H, W]."""
    if len(shape) != 4 or len(wanted) != 4 or shape[1:] == tuple(map(int, wanted[1:])):
        return ""
    _, height, width, channels = shape
    if (channels, height, width) != tuple(map(int, wanted[1:])):
        return ""
    return f": images are [N, C, H, W], and {name} looks like [N, H, W, C]; give {name}.transpose(0, 3, 1, 2)"


def label_limits(graph: Graph) -> dict[str, int]:
    """For each input that holds labels, the number of classes."""
    limits = whole_limits(graph, "labelled")
    return {v.name: limits[v] for v in graph.inputs if v in limits}
