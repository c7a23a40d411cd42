"""What `convc eval --out DIR` leaves: confusion.csv, misread.csv and confusion.png."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from convc.build.files import write_atomically
from convc.evaluation import Evaluation
from convc.report.confusion import write_confusion_figure


def write_evaluation(out: Path, found: Evaluation, images: np.ndarray) -> None:
    """Write the confusion matrix, the list of misread images and their picture; `images`, [N, C, H, W], as evaluated.

    Raises DataError where the folder cannot be written.
    """
    names = found.class_names
    rows: Iterable[Sequence[object]] = ([name, *map(int, row)] for name, row in zip(names, found.confusion))
    write_atomically(out / "confusion.csv", _csv(["class", *names], rows))
    wrong = [(int(i), int(found.labels[i]), int(found.predicted[i]), float(found.confidence[i])) for i in found.misread]
    rows = ([i, names[true], names[taken], sure] for i, true, taken, sure in wrong)
    write_atomically(out / "misread.csv", _csv(["image", "class", "taken for", "probability"], rows))
    shown = _as_pictures(images)
    pictures = [(shown[i], true, taken, sure) for i, true, taken, sure in wrong]
    write_confusion_figure(out / "confusion.png", found.confusion, names, pictures)


def _as_pictures(images: np.ndarray) -> np.ndarray:
    """Grey or RGB, uint8 or 0..1: floats from their least number to the greatest, other channels by their mean."""
    if images.shape[1] not in (1, 3):
        images = images.mean(axis=1, keepdims=True)
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    scaled: np.ndarray = (images - low) / (high - low if high > low else 1)
    return scaled


def _csv(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
