"""The differences to the recommended setting, each with its interval, as a small figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from convc.report.axes import add_axes, quiet
from convc.report.canvas import GREY, INK, PALE, PALETTE, PAPER, inline_svg, plain_style, save_png
from convc.report.summary import Comparison

NORMAL_95 = 1.959964
"""Standard errors that a 95 % interval of the normal distribution reaches to either side."""
_LINEAR = 0.01  # nats; below, differences stand on a linear scale, beyond, on a logarithmic one
_TICKS = (-10.0, -1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0)
_ROW, _ABOVE, _BELOW, _WIDTH = 30.0, 30.0, 54.0, 358.0  # points
_CHARACTER = 6.9  # points, the widest that a label's usual character is


def write_intervals(path: Path, comparisons: Sequence[Comparison]) -> Path:
    """Write the figure of comparisons that all have an interval, one at least; equal numbers give equal bytes."""
    with plain_style():
        return save_png(_figure(comparisons), path)


def page_intervals(comparisons: Sequence[Comparison], alt: str) -> str:
    """The same figure as an `<svg>` for a page."""
    with plain_style():
        return inline_svg(_figure(comparisons), alt)


def _figure(shown: Sequence[Comparison]) -> Figure:
    names = [str(c.setting).replace(", ", ",\n") for c in shown]
    left = 16 + _CHARACTER * max(len(line) for name in names for line in name.split("\n"))
    figure = Figure(figsize=(_WIDTH / 72, (_ABOVE + _ROW * len(shown) + _BELOW) / 72))
    ax = add_axes(figure, left, _BELOW, _WIDTH - left - 14, _ROW * len(shown))
    quiet(ax)
    ax.grid(visible=False)
    lows, highs = zip(*map(_extent, shown))
    reach = 1.4 * max(_LINEAR, *map(abs, (*lows, *highs)))
    ax.set_xscale("symlog", linthresh=_LINEAR, linscale=0.7)
    ax.set_xlim(-reach if min(lows) < -_LINEAR else -2 * _LINEAR, reach)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.xaxis.set_major_locator(FixedLocator([t for t in _TICKS if ax.get_xlim()[0] <= t <= reach]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
    ax.yaxis.set_major_locator(FixedLocator(range(len(shown))))
    ax.set_yticklabels(names, fontsize=11, linespacing=1.0)
    ax.set_xlabel(f"nats more than the recommended one\n(log scale beyond ±{_LINEAR:g})", color=GREY, fontsize=10.5)
    ax.axvline(0, color=INK, linewidth=1.2, zorder=1)
    for tick in ax.xaxis.get_majorticklocs():
        ax.axvline(tick, color=PALE, linewidth=0.6, zorder=0)
    for row, comparison in enumerate(shown):
        _interval(ax, row, comparison)
    ax.annotate(
        "difference of the validation loss", (0, 1), xytext=(6 - left, 12), xycoords="axes fraction",
        textcoords="offset points", color=GREY,
    )  # fmt: skip
    return figure


def _extent(comparison: Comparison) -> tuple[float, float]:
    """From where to where its interval and its bar reach."""
    images = NORMAL_95 * comparison.images if math.isfinite(comparison.images) else 0.0
    ends = (comparison.low, comparison.high, comparison.difference - images, comparison.difference + images)
    return min(ends), max(ends)


def _interval(ax: Axes, row: int, comparison: Comparison) -> None:
    """The pale bar is what the images leave open, the line the interval over seeds, filled where the two differ."""
    color = PALETTE[1] if comparison.apart else GREY
    middle = comparison.difference
    if math.isfinite(comparison.images):
        reach = NORMAL_95 * comparison.images
        ax.plot(
            [middle - reach, middle + reach],
            [row, row],
            color=color,
            alpha=0.25,
            linewidth=9,
            solid_capstyle="butt",
            zorder=2,
        )
    ax.plot([comparison.low, comparison.high], [row, row], color=color, linewidth=2, zorder=3)
    for end in (comparison.low, comparison.high):
        ax.plot([end, end], [row - 0.16, row + 0.16], color=color, linewidth=2, zorder=3)
    face = color if comparison.apart else PAPER
    ax.plot([middle], [row], "o", color=color, markersize=8, markerfacecolor=face, markeredgewidth=2, zorder=4)
