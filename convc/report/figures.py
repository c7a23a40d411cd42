"""The figures of a study: losses and accuracies of each setting, and an overview of them all.

A panel is one pair of axes. A PNG file has one or several with a headline; a page has each as an SVG of its own, drawn
for the width of a phone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convc.report.axes import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Frame,
    Label,
    accuracy_axis,
    add_axes,
    axis_fraction,
    chance_line,
    epoch_axis,
    labels_beside,
    line_keys,
    loss_axis,
    panel_title,
    write_head,
)
from convc.report.canvas import GREY, PALE, inline_svg, plain_style, save_png
from convc.report.curves import QUARTILES_FROM, SettingCurves, draw_band, draw_endings, last_point

Panel = Callable[[Axes], None]

# In points (1/72 inch), which a page shows as pixels on a phone of 390.
_BESIDE = 56.0  # right of the axes, for a learning rate
_PAGE_WIDTH, _PAGE_HEIGHT = 358.0, 250.0
_FILE_WIDTH, _FILE_HEIGHT = 500.0, 300.0


def write_setting_figures(folder: Path, curve: SettingCurves, frame: Frame) -> tuple[Path, Path]:
    """Write loss_lr_<rate>.png and accuracy_lr_<rate>.png into `folder`; equal numbers give equal bytes."""
    paths = []
    for kind, panel in (("loss", loss_panel(curve, frame)), ("accuracy", accuracy_panel(curve, frame))):
        title, words = f"learning rate {curve.setting}", textwrap.wrap(curve.summary.words, 78)
        head = 34.0 + 15.0 * len(words)
        with plain_style():
            figure = Figure(figsize=(_FILE_WIDTH / 72, (_FILE_HEIGHT + head) / 72))
            write_head(figure, title, words)
            panel(add_axes(figure, LEFT, BOTTOM, _FILE_WIDTH - LEFT - RIGHT, _FILE_HEIGHT - BOTTOM - TOP))
            paths.append(save_png(figure, folder / f"{kind}_{curve.setting.file_name}.png"))
    return paths[0], paths[1]


def write_overview(path: Path, drawn: Sequence[SettingCurves], frame: Frame, headline: str, subtitle: str) -> Path:
    """Write the overview: validation loss and test accuracy of all settings, a row for each second factor, verdicts."""
    rows = groups(drawn)
    words = [textwrap.wrap(f"{curve.setting}: {curve.summary.words}", 130) for curve in drawn]
    head = 58.0 + 18.0 * (len(textwrap.wrap(headline, 84)) - 1)
    foot = 15.0 * sum(map(len, words)) + 12.0
    width, height = 2 * _FILE_WIDTH, head + len(rows) * _FILE_HEIGHT + foot
    with plain_style():
        figure = Figure(figsize=(width / 72, height / 72))
        write_head(figure, "\n".join(textwrap.wrap(headline, 84)), [subtitle])
        for row, (name, group) in enumerate(rows):
            bottom = height - head - (row + 1) * _FILE_HEIGHT + BOTTOM
            size = (_FILE_WIDTH - LEFT - _BESIDE, _FILE_HEIGHT - BOTTOM - TOP)
            overview_loss_panel(name, group, frame)(add_axes(figure, LEFT, bottom, *size))
            overview_accuracy_panel(name, group, frame)(add_axes(figure, _FILE_WIDTH + LEFT, bottom, *size))
        y = foot - 12.0
        for curve, lines in zip(drawn, words):
            for line in lines:
                weight = "bold" if curve.recommended else "normal"
                figure.text(LEFT / width, y / height, line, color=curve.color, fontsize=10.5, fontweight=weight)
                y -= 15.0
        return save_png(figure, path)


def page_figure(panel: Panel, alt: str, *, labels: bool = False) -> str:
    """A panel as an `<svg>` for a page; `labels` leaves room for those beside the axes."""
    with plain_style():
        figure = Figure(figsize=(_PAGE_WIDTH / 72, _PAGE_HEIGHT / 72))
        width = _PAGE_WIDTH - LEFT - (_BESIDE if labels else RIGHT)
        panel(add_axes(figure, LEFT, BOTTOM, width, _PAGE_HEIGHT - BOTTOM - TOP))
        return inline_svg(figure, alt)


def groups(drawn: Sequence[SettingCurves]) -> list[tuple[str, list[SettingCurves]]]:
    """The curves by their second factor, each with its name: "momentum 0.9", or "" where there is none."""

    def name(curve: SettingCurves) -> str:
        return ", ".join(f"{factor} {value!r}" for factor, value in curve.setting.factors)

    return [(key, list(group)) for key, group in groupby(drawn, name)]


def loss_panel(curve: SettingCurves, frame: Frame) -> Panel:
    """Training and validation loss of one setting."""

    def draw(ax: Axes) -> None:
        epoch_axis(ax, frame.epochs)
        loss_axis(ax, frame.loss)
        _chance_loss(ax, frame)
        validation = curve.losses("validation_loss", frame.loss)
        draw_band(ax, curve.losses("train_loss", frame.loss), GREY, single=False)
        draw_band(ax, validation, curve.color, width=2.4, single=True, zorder=4)
        _verdict_epochs(ax, curve)
        _endings(ax, curve, validation, frame.loss[1])
        panel_title(ax, "loss (log scale)")
        line_keys(ax, [("training", GREY), ("validation", curve.color)])

    return draw


def accuracy_panel(curve: SettingCurves, frame: Frame) -> Panel:
    """Validation and test accuracy of one setting."""

    def draw(ax: Axes) -> None:
        epoch_axis(ax, frame.epochs)
        accuracy_axis(ax, frame.accuracy)
        _chance_accuracy(ax, frame)
        validation = curve.accuracies("validation_accuracy")
        draw_band(ax, curve.accuracies("test_accuracy"), GREY, single=False)
        draw_band(ax, validation, curve.color, width=2.4, single=True, zorder=4)
        _verdict_epochs(ax, curve)
        _endings(ax, curve, validation, 0.0)
        panel_title(ax, "accuracy (stretched)")
        line_keys(ax, [("test", GREY), ("validation", curve.color)])

    return draw


def overview_loss_panel(name: str, drawn: Sequence[SettingCurves], frame: Frame) -> Panel:
    """The validation losses of several settings; `name` is their second factor."""

    def draw(ax: Axes) -> None:
        epoch_axis(ax, frame.epochs)
        loss_axis(ax, frame.validation_loss)
        _chance_loss(ax, frame)
        values = [curve.losses("validation_loss", frame.validation_loss) for curve in drawn]
        _overview(ax, drawn, values, frame.validation_loss[1])
        panel_title(ax, f"{name}: validation loss" if name else "validation loss (log scale)")

    return draw


def overview_accuracy_panel(name: str, drawn: Sequence[SettingCurves], frame: Frame) -> Panel:
    """The test accuracies of several settings, likewise."""

    def draw(ax: Axes) -> None:
        epoch_axis(ax, frame.epochs)
        accuracy_axis(ax, frame.accuracy)
        _chance_accuracy(ax, frame)
        _overview(ax, drawn, [curve.accuracies("test_accuracy") for curve in drawn], 0.0)
        panel_title(ax, f"{name}: test accuracy" if name else "test accuracy (stretched towards 100%)")

    return draw


def _overview(ax: Axes, drawn: Sequence[SettingCurves], values: Sequence[np.ndarray], otherwise: float) -> None:
    labels = []
    for curve, rows in zip(drawn, values):
        width, zorder = (3.2, 5) if curve.recommended else (1.5, 3)
        few = len(rows) < QUARTILES_FROM
        median = draw_band(
            ax, rows, curve.color, curve.dashes, width=width, shade=0.08 if few else 0.13, single=few, zorder=zorder
        )
        draw_endings(ax, curve, rows, otherwise)
        x, y = last_point(median, otherwise, curve.length)
        labels.append(Label(repr(float(curve.setting.lr)), x, y, curve.color, curve.recommended))
    labels_beside(ax, labels)


def _endings(ax: Axes, curve: SettingCurves, values: np.ndarray, otherwise: float) -> None:
    draw_endings(ax, curve, values, otherwise)
    if not curve.ending:
        return
    end = max(last_point(row, otherwise, len(run.epochs)) for run, row in zip(curve.runs, values))
    height, right = axis_fraction(ax, end[1]), end[0] > 0.6 * ax.get_xlim()[1]
    rise = -13 if height > 0.85 else 11 if height > 0.12 else 25  # clear of the name of chance, below and above
    label = ax.annotate(curve.ending, end, xytext=(-9 if right else 9, rise), textcoords="offset points")
    label.set(va="center", ha="right" if right else "left", color=curve.color, fontsize=10.5, zorder=7)


def _verdict_epochs(ax: Axes, curve: SettingCurves) -> None:
    """A faint line at the epoch that each seed's verdict names."""
    for verdict in curve.summary.verdicts:
        if verdict is not None and verdict.epoch is not None:
            ax.axvline(verdict.epoch, color=PALE, linewidth=1.2, zorder=0)


def _chance_loss(ax: Axes, frame: Frame) -> None:
    chance_line(ax, math.log(frame.classes), f"chance: {math.log(frame.classes):.2f}")


def _chance_accuracy(ax: Axes, frame: Frame) -> None:
    chance_line(ax, 1 / frame.classes, f"chance: {100 / frame.classes:.3g}%")
