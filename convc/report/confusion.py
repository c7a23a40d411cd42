"""The picture of an evaluation: the confusion matrix, and the images that were misread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from convc.build.files import write_atomically
from convc.report.axes import GREY, INK

Misread = tuple[np.ndarray, int, int, float]
"""An image [C, H, W], its class, the class it was taken for, and the probability of that."""
_DPI = 130
_MOST = 40  # misread images
_ACROSS = 8  # misread images in a row
_MOST_NUMBERED = 20  # classes whose cells have their number in them


def write_confusion_figure(
    path: Path, counts: np.ndarray, class_names: Sequence[str], misread: Sequence[Misread]
) -> Path:
    """Write a PNG: `counts` [K, K], rows the class and columns what it was taken for, and the misread images.

    Images are uint8 or float [C, H, W] of 1 or 3 channels, each shown from its least to its greatest number. Raises
    DataError where the file cannot be written.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        misread = misread[:_MOST]
        rows = ceil(len(misread) / _ACROSS)
        height = 5.2 + 1.15 * rows
        figure = Figure(figsize=(8, height), layout="constrained")
        ratios = [5.2, 1.15 * rows] if rows else [1]
        parts = figure.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)
        _matrix(parts[0, 0].subplots(), counts, class_names)
        if rows:
            axes = parts[1, 0].subplots(rows, _ACROSS, squeeze=False).ravel()
            for ax in axes:
                ax.set_axis_off()
            for ax, found in zip(axes, misread):
                _picture(ax, found, class_names)
        png = io.BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return write_atomically(path, png.getvalue())


def _matrix(ax: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    """Shades are shares of the row: a class with few images is as dark as one with many."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.set_xlabel("taken for", color=GREY)
    ax.set_ylabel("class", color=GREY)
    if len(names) > _MOST_NUMBERED:
        return
    places = range(len(names))
    ax.set_xticks(places, [name[:12] for name in names], rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(places, [name[:12] for name in names])
    for i in places:
        for j in places:
            if counts[i, j]:
                colour = "white" if shares[i, j] > 0.5 else INK
                ax.text(j, i, str(int(counts[i, j])), ha="center", va="center", color=colour, fontsize=8)


def _picture(ax: Axes, found: Misread, names: Sequence[str]) -> None:
    image, true, taken, probability = found
    shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    shown = shown.astype(np.float64) - shown.min()
    ax.imshow(shown / max(shown.max(), 1e-30), cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"{names[true][:8]} → {names[taken][:8]}, {probability:.0%}", fontsize=7, color=INK, pad=2)
