"""The figures of one training run and of a range test, drawn as those of a study are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from convc.errors import DataError
from convc.report.axes import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    accuracy_axis,
    accuracy_limits,
    add_axes,
    clip_losses,
    epoch_axis,
    line_keys,
    loss_axis,
    loss_limits,
    panel_title,
    quiet,
)
from convc.report.canvas import GREY, PALE, PALETTE, PAPER, plain_style, save_png

_WIDTH, _HEIGHT, _STRIP = 500.0, 300.0, 110.0  # points: of a panel, and of the learning rate's below it
_BLUE, _RED = PALETTE[:2]


def write_training_figures(
    folder: Path,
    epochs: Sequence[int],
    train_loss: Sequence[float],
    validation_loss: Sequence[float],
    validation_accuracy: Sequence[float],
    learning_rate: Sequence[float],
    best_epoch: int | None,
) -> tuple[Path, ...]:
    """Write loss.png and accuracy.png of one run into `folder`; equal numbers give equal bytes.

    A value for each of `epochs`, ascending: losses in nats, accuracies 0..1, nan and inf allowed; a cross marks a run
    that ended so. Where the learning rate changes it stands below the losses. `best_epoch` is marked in both. Raises
    DataError where there is no epoch, lengths differ, or a file cannot be written.
    """
    _check(
        "epoch",
        {
            "epochs": epochs,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
            "learning_rate": learning_rate,
        },
    )
    limits = _limits(train_loss, validation_loss)
    losses = [clip_losses(values, limits) for values in (train_loss, validation_loss)]
    strip = _STRIP if len(set(learning_rate)) > 1 else 0.0
    with plain_style():
        figure = Figure(figsize=(_WIDTH / 72, (_HEIGHT + strip) / 72))
        ax = _run_axes(figure, strip, epochs)
        loss_axis(ax, limits)
        panel_title(ax, "loss (log scale)")
        for values, color in zip(losses, (GREY, _BLUE)):
            _line(ax, epochs, values, color)
        _mark_best(ax, best_epoch)
        _mark_end(ax, epochs, losses[1], limits[1], train_loss[-1], validation_loss[-1])
        line_keys(ax, [("training", GREY), ("validation", _BLUE)])
        if strip:
            _rate_strip(figure, epochs, learning_rate)
        loss = save_png(figure, folder / "loss.png")

        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
        ax = _run_axes(figure, 0.0, epochs)
        accuracy_axis(ax, accuracy_limits(validation_accuracy))
        panel_title(ax, "validation accuracy (stretched towards 100%)")
        accuracies = np.array(validation_accuracy, dtype=float)
        _line(ax, epochs, accuracies, _BLUE)
        _mark_best(ax, best_epoch)
        _mark_end(ax, epochs, accuracies, 0.0, train_loss[-1], validation_loss[-1])
        return loss, save_png(figure, folder / "accuracy.png")


def write_range_test_figure(
    path: Path,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    diverged_at: float | None,
) -> Path:
    """Write the picture of a learning-rate range test: the loss of each step and its average over the rates, ascending.

    `suggestion` is the rate that the test suggests, `diverged_at` the rate at which it ended. L. N. Smith, Cyclical
    Learning Rates for Training Neural Networks, WACV 2017, section 3.3. Raises DataError where there is no step,
    lengths differ, a rate is not a positive number, or the file cannot be written.
    """
    _check("step", {"rates": rates, "losses": losses, "smoothed": smoothed})
    wrong = [rate for rate in rates if not (math.isfinite(rate) and rate > 0)]
    if wrong:
        raise DataError(f"a range test is over positive learning rates, not {wrong[0]!r}; give others")
    limits = _limits(losses, smoothed)
    with plain_style():
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
        ax = add_axes(figure, LEFT, BOTTOM, _WIDTH - LEFT - RIGHT, _HEIGHT - BOTTOM - TOP)
        quiet(ax)
        loss_axis(ax, limits)
        _rate_axis(ax, min(rates), max(rates))
        panel_title(ax, "training loss (log scale)")
        ax.plot(rates, clip_losses(losses, limits), color=GREY, linewidth=0.8, alpha=0.6)
        ax.plot(rates, clip_losses(smoothed, limits), color=_BLUE, linewidth=2.4)
        if suggestion is not None:
            _mark_rate(ax, suggestion, PALETTE[2], f"take {suggestion:.3g}", 0)
        if diverged_at is not None:
            _mark_rate(ax, diverged_at, _RED, f"diverges at {diverged_at:.3g}", 1)
        line_keys(ax, [("a step", GREY), ("average", _BLUE)])
        return save_png(figure, path)


def _check(what: str, columns: dict[str, Sequence[float]]) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(
            f"a figure takes a value for each {what}, of one {what} or more, not {shown}; give as many of each"
        )


def _limits(*losses: Sequence[float]) -> tuple[float, float]:
    values = [value for column in losses for value in column]
    first = next((value for value in values if math.isfinite(value) and value > 0), 1.0)
    return loss_limits(values, first)


def _run_axes(figure: Figure, below: float, epochs: Sequence[int]) -> Axes:
    ax = add_axes(figure, LEFT, BOTTOM + below, _WIDTH - LEFT - RIGHT, _HEIGHT - BOTTOM - TOP)
    epoch_axis(ax, max(epochs))
    return ax


def _line(ax: Axes, epochs: Sequence[int], values: np.ndarray, color: str) -> None:
    alone = np.isfinite(values).sum() == 1
    ax.plot(epochs, values, color=color, linewidth=2.4, marker="o" if alone else "", markersize=5)


def _mark_best(ax: Axes, epoch: int | None) -> None:
    if epoch is None:
        return
    ax.axvline(epoch, color=PALE, linewidth=1.4, zorder=0)
    right = epoch > 0.7 * ax.get_xlim()[1]
    ax.annotate(
        f"best: epoch {epoch}", (epoch, 0), xytext=(-5 if right else 5, 8), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="right" if right else "left", color=GREY,
    )  # fmt: skip


def _mark_end(ax: Axes, epochs: Sequence[int], values: np.ndarray, otherwise: float, *last: float) -> None:
    """A cross at the last point of a run whose last losses are not finite."""
    if all(map(math.isfinite, last)):
        return
    finite = np.flatnonzero(np.isfinite(values))
    x, y = (epochs[finite[-1]], values[finite[-1]]) if finite.size else (epochs[-1], otherwise)
    ax.plot([x], [y], "X", markersize=9, color=_RED, markeredgecolor=PAPER, clip_on=False, zorder=6)
    kind = "NaN" if any(map(math.isnan, last)) else "infinite"
    ax.annotate(
        f"{kind} at epoch {epochs[-1]}", (x, y), xytext=(0, 12 if y != otherwise else -14), textcoords="offset points",
        ha="right" if x > 0.6 * ax.get_xlim()[1] else "left", va="center", color=_RED,
    )  # fmt: skip


def _rate_strip(figure: Figure, epochs: Sequence[int], learning_rate: Sequence[float]) -> None:
    ax = add_axes(figure, LEFT, BOTTOM, _WIDTH - LEFT - RIGHT, _STRIP - BOTTOM - 20)
    epoch_axis(ax, max(epochs))
    highest = max(learning_rate)
    panel_title(ax, f"learning rate, highest {highest:.3g}")
    ax.plot(epochs, learning_rate, color=_BLUE, linewidth=1.8, drawstyle="steps-mid")
    ax.set_ylim(0, 1.15 * highest)
    ax.set_yticks([0, highest], ["0", ""])


def _rate_axis(ax: Axes, low: float, high: float) -> None:
    ax.set_xscale("log")
    ax.set_xlim(low / 1.1, high * 1.1)
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0,) if high > 30 * low else (1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("learning rate (log scale)", color=GREY)


def _mark_rate(ax: Axes, rate: float, color: str, words: str, height: int) -> None:
    """A line at the rate, its words at the foot (0) or the top (1) of the axes."""
    ax.axvline(rate, color=color, linewidth=1.4, zorder=2)
    low, high = map(math.log, ax.get_xlim())
    right = math.log(rate) > low + 0.65 * (high - low)
    ax.annotate(
        words,
        (rate, height),
        xytext=(-6 if right else 6, 10 - 22 * height),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if right else "left",
        color=color,
        fontweight="bold",
    )
