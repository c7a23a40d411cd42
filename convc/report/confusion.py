"""Which classes a model takes for one another: the confusion matrix, with the images that it misread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from convc.errors import DataError
from convc.report.axes import add_axes, write_head
from convc.report.canvas import GREY, INK, PALE, PALETTE, PAPER, plain_style, save_png

MOST_IMAGES = 60
"""Misread images that the figure shows; it says how many more there are."""
Misread = tuple[np.ndarray, int, int, float]
"""(image [C, H, W], true class, predicted class, its probability 0..1)."""

_NUMBERS_UP_TO = 20  # classes; with more, the counts would not be legible in their cells
_WIDTH, _MATRIX, _HEAD, _FOOT, _SIDE = 640.0, 430.0, 84.0, 24.0, 84.0  # points
_COLUMNS, _TILE, _CAPTION = 10, 54.0, 32.0
_CHARACTER, _LONGEST = 6.2, 14  # points that a character takes, and characters of a class name that are shown


def write_confusion_figure(
    path: Path, counts: np.ndarray, class_names: Sequence[str], misread: Sequence[Misread]
) -> Path:
    """Write the confusion matrix with each class's accuracy, and the misread images below it, in the order given.

    `counts` [classes, classes] are images by true class (rows) and predicted class (columns). An image is [C, H, W] of
    one channel or three, of floats 0..1 or of uint8. Equal numbers give equal bytes. Raises DataError where counts are
    not such a matrix, names are not as many, an image or a class does not fit, or the file cannot be written.
    """
    counts = np.asarray(counts)
    _check(counts, class_names, misread)
    names = [_short(name) for name in class_names]
    shown = misread[:MOST_IMAGES]
    left = 34 + _CHARACTER * max(map(len, names))
    size = _label_size(len(names))
    above = _HEAD + (0.6 * size * max(map(len, names)) if _upright(names) else 0.0)
    rows = -(-len(shown) // _COLUMNS)
    sheet = 36 + rows * (_TILE + _CAPTION) if shown else 0.0
    height = above + _MATRIX + _FOOT + sheet
    with plain_style():
        figure = Figure(figsize=(max(_WIDTH, left + _MATRIX + _SIDE) / 72, height / 72))
        right, total = int(np.trace(counts)), int(counts.sum())
        words = f"accuracy {right / total:.1%}: {right} of {total} images" if total else "no images"
        write_head(figure, "Confusion matrix", [words])
        ax = add_axes(figure, left, _FOOT + sheet, _MATRIX, _MATRIX)
        _draw_matrix(ax, counts, names)
        if shown:
            _draw_sheet(figure, shown, names, len(misread), sheet)
        return save_png(figure, path)


def class_accuracies(counts: np.ndarray) -> np.ndarray:
    """The share of each true class [classes] that was predicted right, 0..1; nan for a class without an image."""
    images = counts.sum(axis=1)
    right = np.diagonal(counts).astype(float)
    shares: np.ndarray = np.divide(right, images, out=np.full(len(counts), np.nan), where=images > 0)
    return shares


def _check(counts: np.ndarray, class_names: Sequence[str], misread: Sequence[Misread]) -> None:
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not len(counts) or counts.dtype.kind not in "iu":
        raise DataError(
            f"counts are whole numbers [classes, classes], not {counts.dtype}{list(counts.shape)}; count true classes "
            "by predicted ones"
        )
    if (counts < 0).any():
        raise DataError(f"counts are not negative, but one is {counts.min()}; count true classes by predicted ones")
    classes = len(counts)
    if len(class_names) != classes:
        raise DataError(f"each of {classes} classes has a name, not {len(class_names)}; give as many")
    for number, (image, true, read, _) in enumerate(misread):
        kind = np.asarray(image).dtype.kind
        if image.ndim != 3 or image.shape[0] not in (1, 3) or not (image.dtype == np.uint8 or kind == "f"):
            raise DataError(
                f"an image is [C, H, W] of 1 or 3 channels, float 0..1 or uint8, not {image.dtype}{list(image.shape)}, "
                f"at misread image {number}; give it so"
            )
        if not (0 <= true < classes and 0 <= read < classes):
            raise DataError(f"classes are 0 to {classes - 1}, not {true} and {read}, at misread image {number}")


def _draw_matrix(ax: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    classes = len(counts)
    images = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, images, out=np.zeros(counts.shape), where=images > 0)
    ax.imshow(_tints(shares), interpolation="nearest", aspect="equal")
    size = _label_size(classes)
    ax.xaxis.set_major_locator(FixedLocator(range(classes)))
    ax.yaxis.set_major_locator(FixedLocator(range(classes)))
    ax.set_xticklabels(names, fontsize=size, rotation=90 if _upright(names) else 0)
    ax.set_yticklabels(names, fontsize=size)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xlabel("predicted class", color=GREY)
    ax.set_ylabel("true class", color=GREY)
    ax.tick_params(length=0, labelcolor=INK)
    for side in ax.spines.values():
        side.set_color(PALE)
    if classes <= _NUMBERS_UP_TO:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                dark = row == column and shares[row, column] > 0.5
                ax.text(
                    column,
                    row,
                    str(count),
                    ha="center",
                    va="center_baseline",
                    fontsize=size,
                    color=PAPER if dark else INK,
                )
    for row, accuracy in enumerate(class_accuracies(counts)):
        text = f"{accuracy:.1%}" if np.isfinite(accuracy) else "no image"
        ax.annotate(
            text,
            (1, 1 - (row + 0.5) / classes),
            xytext=(8, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center_baseline",
            fontsize=size,
            color=INK,
        )
    ax.annotate("accuracy", (1, 1), xytext=(8, 6), xycoords="axes fraction", textcoords="offset points", color=GREY)


def _tints(shares: np.ndarray) -> np.ndarray:
    """Colours [classes, classes, 3]: blue along the diagonal, orange for errors, whose few would else not be seen."""
    strength = np.where(np.eye(len(shares), dtype=bool), 0.85 * shares, 0.9 * np.sqrt(shares))
    color = np.where(np.eye(len(shares), dtype=bool)[..., None], to_rgb(PALETTE[0]), to_rgb(PALETTE[1]))
    tints: np.ndarray = 1 - strength[..., None] * (1 - color)
    return tints


def _draw_sheet(figure: Figure, shown: Sequence[Misread], names: Sequence[str], count: int, sheet: float) -> None:
    width, height = 72 * figure.get_size_inches()
    words = f"Misread images, true → predicted class with its probability: {len(shown)} of {count}"
    figure.text(12 / width, (sheet - 16) / height, words, color=GREY, va="center")
    step = (width - 24 + 8) / _COLUMNS
    captions = [f"{names[true]} → {names[read]}\n{probability:.0%}" for _, true, read, probability in shown]
    longest = max(len(line) for caption in captions for line in caption.split("\n"))
    size = min(9.0, 1.6 * step / longest)
    for number, ((image, *_), caption) in enumerate(zip(shown, captions)):
        row, column = divmod(number, _COLUMNS)
        x = 12 + column * step
        y = sheet - 36 - row * (_TILE + _CAPTION) - _TILE
        ax = add_axes(figure, x, y, _TILE, _TILE)
        pixels = np.moveaxis(image, 0, -1)
        pixels = pixels / 255.0 if image.dtype == np.uint8 else np.clip(pixels, 0, 1)
        ax.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
        middle = (x + _TILE / 2) / width
        figure.text(middle, (y - 3) / height, caption, ha="center", va="top", fontsize=size, linespacing=1.15)


def _label_size(classes: int) -> float:
    """Points of the text beside the matrix."""
    return 10.0 if classes <= 12 else max(4.0, 300.0 / classes)


def _upright(names: Sequence[str]) -> bool:
    """Whether names are too long to stand side by side above the columns."""
    return _CHARACTER * max(map(len, names)) > _MATRIX / len(names) - 4


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
