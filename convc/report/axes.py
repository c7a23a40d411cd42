"""Axes that all figures of a study share: log losses, stretched accuracies, lines of chance.

Accuracies are stretched towards 100 % by the logarithm of the error: 95 to 98 % is as far as 50 to 80 %, 2.5
times fewer mistakes both times. Rates that all end above 90 % would otherwise lie on one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from convc.report.canvas import GREY, INK, PALE
from convc.report.history import RunHistory

LEFT, RIGHT, BOTTOM, TOP = 50.0, 14.0, 38.0, 28.0
"""Margins of axes in their panel, in points."""
_TICK_SIZE = 11.0  # points
_LEAST_LOSS = 1e-4  # nats; a log axis has no zero
_LARGEST_LOSS = 10.0  # times the loss at chance: a loss on its way to infinity must not flatten the others
_LEAST_ERROR = 1e-4
_ACCURACY_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1 - _LEAST_ERROR)


Limits = tuple[float, float]


@dataclass(frozen=True)
class Label:
    """A word beside the axes for the point (x, y) of the data."""

    text: str
    x: float
    y: float
    color: str
    bold: bool = False


@dataclass(frozen=True)
class Frame:
    """What all the figures of one study share: `epochs` along x, and the limits of the y axes.

    `loss` holds training and validation losses (nats), `validation_loss` the latter; accuracies are 0..1.
    """

    epochs: int
    classes: int
    loss: Limits
    validation_loss: Limits
    accuracy: Limits

    @staticmethod
    def around(runs: Sequence[RunHistory], epochs: int, classes: int) -> Frame:
        """The frame of `epochs` planned epochs that holds every finite figure of `runs`, and chance."""
        records = [record for run in runs for record in run.epochs]
        validation = [record.validation_loss for record in records]
        train = [record.train_loss for record in records]
        accuracies = [a for r in records for a in (r.validation_accuracy, r.test_accuracy)]
        return Frame(
            max([epochs, *(len(run.epochs) for run in runs)]),
            classes,
            loss_limits([*train, *validation, math.log(classes)], math.log(classes)),
            loss_limits([*validation, math.log(classes)], math.log(classes)),
            accuracy_limits(accuracies),
        )


def clip_losses(losses: Sequence[float], limits: Limits) -> np.ndarray:
    """The losses as they are drawn: non-finite ones left out as nan, others kept on the axis."""
    values = np.array(losses, dtype=float)
    return np.where(np.isfinite(values), np.clip(values, *limits), np.nan)


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in points (1/72 inch) from the figure's lower left corner."""
    across, up = 72 * figure.get_size_inches()
    ax: Axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    return ax


def epoch_axis(ax: Axes, epochs: int) -> None:
    """Whole epochs along x, from 1 to `epochs`, a light grid, no box."""
    margin = 0.02 * epochs
    ax.set_xlim(max(1 - margin, 0.5), epochs + margin)  # there is no epoch 0 to put a tick at
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.set_xlabel("epoch", color=GREY)
    quiet(ax)


def quiet(ax: Axes) -> None:
    """A light horizontal grid behind what is drawn, no box, small grey ticks."""
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(which="both", color=PALE, labelcolor=GREY, length=3, labelsize=_TICK_SIZE)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(PALE)


def loss_axis(ax: Axes, limits: Limits) -> None:
    """A log axis over losses in nats, ticks as plain numbers."""
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    decades = math.log10(limits[1] / limits[0])
    steps = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=20))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_locator(FixedLocator([]))


def accuracy_axis(ax: Axes, limits: Limits) -> None:
    """An axis stretched towards 100 %."""
    ax.set_yscale("function", functions=(_stretch, lambda y: 1 - 10.0 ** -np.asarray(y)))
    ax.set_ylim(*limits)
    ticks = [tick for tick in _ACCURACY_TICKS if tick <= limits[1]]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(FixedLocator([]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}%"))


def labels_beside(ax: Axes, labels: Sequence[Label], gap: float = 14.0) -> None:
    """Labels right of the axes, `gap` points apart or more, a hairline to each from the point that it names.

    The hairline is dotted inside the axes, where there is no line any more.
    """
    inverse = ax.transAxes.inverted()
    points = [inverse.transform(ax.transData.transform((label.x, label.y))) for label in labels]
    box, inch = ax.get_window_extent(), ax.figure.dpi
    wide, tall = 72 * box.width / inch, 72 * box.height / inch  # points
    heights = spread([float(point[1]) for point in points], gap / tall)
    for label, (x, y), height in zip(labels, points, heights):
        for xs, ys, style in (([x, 1.0], [y, y], ":"), ([1.0, 1.0 + 8 / wide], [y, height], "-")):
            (line,) = ax.plot(xs, ys, style, transform=ax.transAxes, color=label.color, linewidth=0.9)
            line.set(alpha=0.5, clip_on=False, zorder=1)
        ax.text(
            1.0 + 11 / wide,
            height,
            label.text,
            transform=ax.transAxes,
            va="center_baseline",
            color=label.color,
            fontweight="bold" if label.bold else "normal",
        )


def panel_title(ax: Axes, text: str) -> None:
    """What stands above the axes, from the left edge of the panel."""
    ax.annotate(text, (0, 1), xytext=(-LEFT + 6, 11), xycoords="axes fraction", textcoords="offset points", color=GREY)


def line_keys(ax: Axes, keys: Sequence[tuple[str, str]]) -> None:
    """What the lines are, right of the title, each (text, colour)."""
    lines = [ax.plot([], [], color=color, linewidth=2.4, label=text)[0] for text, color in keys]
    legend = ax.legend(
        handles=lines,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(keys),
        frameon=False,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.2,
        borderaxespad=0.1,
        labelcolor="linecolor",
    )
    legend.set_zorder(8)


def write_head(figure: Figure, title: str, lines: Sequence[str]) -> None:
    """A headline at the top of the figure, and lines of text below it."""
    width, height = 72 * figure.get_size_inches()
    figure.text(12 / width, 1 - 12 / height, title, fontsize=15, fontweight="bold", color=INK, va="top")
    below = 34 + 18 * title.count("\n")
    for i, line in enumerate(lines):
        figure.text(12 / width, 1 - (below + 15 * i) / height, line, fontsize=10.5, color=GREY, va="top")


def axis_fraction(ax: Axes, y: float) -> float:
    """How high on the axis a value stands, 0 at the bottom and 1 at the top."""
    point = ax.transAxes.inverted().transform(ax.transData.transform((ax.get_xlim()[0], y)))
    return float(point[1])


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights as near to `heights` (0..1, any order) as `gap` between neighbours allows, within 0..1.

    Least squares: counted in gaps, the heights must not fall, so neighbours that do are pooled at their mean
    (isotonic regression). The gap shrinks where the labels would not fit otherwise.
    """
    count = len(heights)
    gap = min(gap, 1.0 / max(count, 1))
    order = sorted(range(count), key=lambda i: (heights[i], i))
    pools: list[tuple[float, int]] = []  # (mean, members) of heights less their gaps
    for rank, i in enumerate(order):
        pools.append((heights[i] - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, few), (high, more) = pools.pop(), pools.pop()
            pools.append(((low * few + high * more) / (few + more), few + more))
    bases = [mean for mean, members in pools for _ in range(members)]
    highest = 1.0 - (count - 1) * gap
    placed = [min(max(base, 0.0), highest) + rank * gap for rank, base in enumerate(bases)]
    return [place for _, place in sorted(zip(order, placed))]


def loss_limits(losses: Sequence[float], chance: float) -> Limits:
    """What a log axis shows of `losses`: the finite ones, up to a multiple of the loss at chance."""
    finite = [loss for loss in losses if math.isfinite(loss)] or [chance]
    lowest, highest = max(min(finite), _LEAST_LOSS), min(max(finite), _LARGEST_LOSS * chance)
    return lowest / 1.3, max(highest, lowest) * 1.4


def accuracy_limits(accuracies: Sequence[float]) -> Limits:
    """From 0 to somewhat above the best of `accuracies` (0..1, or nan), 90 % at least."""
    best = max([a for a in accuracies if math.isfinite(a)], default=0.0)
    return 0.0, 1 - max((1 - max(best, 0.9)) / 1.4, _LEAST_ERROR)


def chance_line(ax: Axes, y: float, text: str) -> None:
    """What guessing gives, as a dashed line with its name."""
    ax.axhline(y, color=GREY, linewidth=1, linestyle=(0, (5, 4)), zorder=4)
    ax.annotate(
        text,
        (1, y),
        xytext=(0, 3),
        textcoords="offset points",
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=_TICK_SIZE,
    )


def _stretch(accuracy: np.ndarray) -> np.ndarray:
    error = np.maximum(1 - np.asarray(accuracy, dtype=float), _LEAST_ERROR / 10)
    stretched: np.ndarray = -np.log10(error)
    return stretched
