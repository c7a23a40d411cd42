"""The figures of a study: a loss and an accuracy figure for each rate, and one overview of them all."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from convc.build.files import write_atomically
from convc.report.axes import (
    GREY,
    INK,
    PALE,
    Frame,
    accuracy_axis,
    axis_fraction,
    epoch_axis,
    loss_axis,
    spread,
)
from convc.report.curves import Curve
from convc.report.recommend import Recommendation
from convc.report.verdict import rate_text

_DPI = 130
_MANY_RATES = 9  # from here on, the overview's labels have one line each


def write_rate_figures(folder: Path, curve: Curve, frame: Frame) -> tuple[Path, Path]:
    """Write loss_lr_<rate>.png and accuracy_lr_<rate>.png into `folder`; equal numbers give equal bytes."""
    with _plain_style():
        loss = _save(_loss_figure(curve, frame), folder / f"loss_lr_{curve.rate}.png")
        accuracy = _save(_accuracy_figure(curve, frame), folder / f"accuracy_lr_{curve.rate}.png")
    return loss, accuracy


def write_overview(
    path: Path, drawn: Sequence[Curve], recommendation: Recommendation, frame: Frame, subtitle: str
) -> Path:
    """Write the overview: validation loss and accuracy of every rate side by side, verdicts in words."""
    headline = "No learning rate can be recommended"
    if recommendation.lr is not None:
        headline = f"Take learning rate {rate_text(recommendation.lr)}"
    with _plain_style():
        figure = Figure(figsize=(13.4, 6))
        figure.text(0.045, 0.945, headline, fontsize=19, fontweight="bold", color=INK)
        figure.text(0.045, 0.9, subtitle, fontsize=10.5, color=GREY)
        _overview_losses(figure.add_axes((0.045, 0.1, 0.34, 0.7)), drawn, frame)
        _overview_accuracies(figure.add_axes((0.485, 0.1, 0.27, 0.7)), drawn, frame)
        return _save(figure, path)


def _overview_losses(ax: Axes, drawn: Sequence[Curve], frame: Frame) -> None:
    epoch_axis(ax, frame)
    loss_axis(ax, frame.validation_loss, frame.classes)
    ax.set_title("validation loss (log scale)", loc="left", color=INK, fontsize=11, pad=12)
    ends = []
    for curve in drawn:
        values = curve.validation_losses(frame.validation_loss)
        _overview_line(ax, curve, values)
        ends.append(curve.draw_end(ax, values, frame.validation_loss[1]))
    for curve, height in zip(drawn, _label_heights(ax, drawn, ends, 0.055)):
        _beside(ax, height, curve.rate, curve.color, True, 13 if curve.recommended else 11)


def _overview_accuracies(ax: Axes, drawn: Sequence[Curve], frame: Frame) -> None:
    epoch_axis(ax, frame)
    accuracy_axis(ax, frame)
    title = "test accuracy (scale stretched towards 100%)"
    ax.set_title(title, loc="left", color=INK, fontsize=11, pad=12)
    ends = []
    for curve in drawn:
        _overview_line(ax, curve, curve.accuracies())
        ends.append(curve.draw_end(ax, curve.accuracies(), 0.0))
    two_lines = len(drawn) < _MANY_RATES
    for curve, height in zip(drawn, _label_heights(ax, drawn, ends, 0.105 if two_lines else 0.055)):
        bold = curve.recommended
        if not two_lines:
            _beside(ax, height, f"{curve.rate}  {curve.words}", curve.color, bold, 8.5)
            continue
        _beside(ax, height, curve.progress(frame.epochs), curve.color, True, 13 if bold else 11)
        _beside(ax, height - 0.042, curve.words, INK if bold else GREY, bold, 9)


def _overview_line(ax: Axes, curve: Curve, values: np.ndarray) -> None:
    curve.draw(ax, values, 3.2 if curve.recommended else 1.4, markers=len(values) == 1)


def _label_heights(ax: Axes, drawn: Sequence[Curve], ends: Sequence[tuple[int, float]], gap: float) -> list[float]:
    """Where the labels right of the axes stand, and a hairline to each from the end of its line.

    The hairline is dotted inside the axes, where a run that stopped has no line.
    """
    inverse = ax.transAxes.inverted()
    points = [inverse.transform(ax.transData.transform(end)) for end in ends]
    heights = spread([float(point[1]) for point in points], gap)
    for curve, (x, y), height in zip(drawn, points, heights):
        for xs, ys, style in (([x, 1.0], [y, y], ":"), ([1.0, 1.05], [y, height], "-")):
            (line,) = ax.plot(xs, ys, style, transform=ax.transAxes, color=curve.color, linewidth=0.9)
            line.set(alpha=0.5, clip_on=False, zorder=1)
    return heights


def _beside(ax: Axes, height: float, text: str, color: str, bold: bool, size: float) -> None:
    label = ax.text(1.06, height, text, transform=ax.transAxes, va="center", color=color, fontsize=size)
    label.set_fontweight("bold" if bold else "normal")


def _loss_figure(curve: Curve, frame: Frame) -> Figure:
    figure, ax = _single(curve, frame)
    loss_axis(ax, frame.loss, frame.classes)
    ax.set_ylabel("loss (log scale)", color=GREY)
    train, validation = curve.train_losses(frame.loss), curve.validation_losses(frame.loss)
    curve.draw(ax, validation, 2.2, markers=True)
    ax.plot(range(1, len(train) + 1), train, color=GREY, linewidth=1.4, marker="o", markersize=2.5)
    end = curve.draw_end(ax, validation, frame.loss[1])
    _name_ending(ax, curve, end)
    last_train = train[-1] if np.isfinite(train[-1]) else end[1]
    heights = spread([axis_fraction(ax, end[1]), axis_fraction(ax, last_train)], 0.07)
    for name, color, height in zip(("validation", "training"), (curve.color, GREY), heights):
        ax.text(1.02, height, name, transform=ax.transAxes, va="center", color=color, fontweight="bold")
    return figure


def _accuracy_figure(curve: Curve, frame: Frame) -> Figure:
    figure, ax = _single(curve, frame)
    accuracy_axis(ax, frame)
    ax.set_ylabel("test accuracy (stretched towards 100%)", color=GREY)
    curve.draw(ax, curve.accuracies(), 2.2, markers=True)
    end = curve.draw_end(ax, curve.accuracies(), 0.0)
    _name_ending(ax, curve, end)
    if not curve.run.ended_early:
        height = axis_fraction(ax, end[1])
        label = ax.text(1.02, height, f"{end[1]:.1%}", transform=ax.transAxes, va="center", color=curve.color)
        label.set_fontweight("bold")
    return figure


def _name_ending(ax: Axes, curve: Curve, end: tuple[int, float]) -> None:
    """Beside the cross of a run that ended so: "NaN at epoch 3"."""
    if not curve.run.ended_early:
        return
    below = axis_fraction(ax, end[1]) > 0.97
    label = ax.annotate(curve.ending, end, xytext=(10, -12 if below else 9), textcoords="offset points")
    label.set(va="center", color=curve.color, fontweight="bold")


def _single(curve: Curve, frame: Frame) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.2))
    ax = figure.add_axes((0.105, 0.12, 0.75, 0.74))
    epoch_axis(ax, frame)
    title = f"learning rate {curve.progress(frame.epochs)}"
    figure.text(0.02, 0.93, title, fontsize=13, fontweight="bold", color=INK)
    figure.text(0.985, 0.93, curve.verdict.words, ha="right", color=GREY)
    if curve.verdict.epoch is not None:
        ax.axvline(curve.verdict.epoch, color=PALE, linewidth=1.2, zorder=0)
    return figure, ax


@contextmanager
def _plain_style() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says, and names with a $ as they stand."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"text.parse_math": False, "font.size": 10.0})
        yield


def _save(figure: Figure, path: Path) -> Path:
    png = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return write_atomically(path, png.getvalue())
