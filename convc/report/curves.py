"""One setting as every figure draws it: the median of its seeds with a band, its look, how its runs ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from convc.report.axes import Limits, clip_losses
from convc.report.canvas import DASHES, PALETTE, PAPER
from convc.report.history import RunHistory, Setting
from convc.report.summary import Summary
from convc.report.verdict import non_finite

QUARTILES_FROM = 8  # seeds; of fewer, quartiles are one or two runs, and the band is all of them
_THIN = 0.7  # points, of a single seed's line


@dataclass(frozen=True)
class SettingCurves:
    """One setting: its runs of one epoch or more, its colour and dashes, whether it is the recommended one."""

    summary: Summary
    runs: tuple[RunHistory, ...]
    color: str
    dashes: str
    recommended: bool

    @property
    def setting(self) -> Setting:
        return self.summary.setting

    @property
    def length(self) -> int:
        """Epochs of its longest run."""
        return max(len(run.epochs) for run in self.runs)

    def losses(self, field: str, limits: Limits) -> np.ndarray:
        """The losses of that name [runs, length] as they are drawn; nan where a run has none, or not a finite one."""
        return np.array([clip_losses(self._row(run, field), limits) for run in self.runs])

    def accuracies(self, field: str) -> np.ndarray:
        """The accuracies of that name [runs, length], 0..1, or nan."""
        return np.array([self._row(run, field) for run in self.runs])

    def _row(self, run: RunHistory, field: str) -> list[float]:
        values = [getattr(record, field) if record.finite else np.nan for record in run.epochs]
        return values + [np.nan] * (self.length - len(values))

    @property
    def ending(self) -> str:
        """How runs ended before their time: "NaN at epoch 3", "NaN in 2 of 3 seeds", "stopped at epoch 9", or none."""
        ended = [run for run in self.runs if run.ended_early]
        stopped = [run for run in self.runs if run.stopped]
        if len(self.runs) == 1 and ended:
            return f"{non_finite(self.runs[0])} at epoch {len(self.runs[0].epochs)}"
        if ended:
            kinds = " or ".join(sorted({non_finite(run) for run in ended}))
            return f"{kinds} in {len(ended)} of {len(self.runs)} seeds"
        if stopped:
            first, last = (pick(len(run.epochs) for run in stopped) for pick in (min, max))
            return f"stopped at epoch {first}" if first == last else f"stopped at epochs {first} to {last}"
        return ""


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(median, low, high) at each epoch [epochs] of values [runs, epochs], over the runs that have one there.

    From low to high is all of them, or, of QUARTILES_FROM runs or more, the quartiles. nan where no run has a value.
    """
    rows = np.full((3, values.shape[1]), np.nan)
    ends = (25, 75) if len(values) >= QUARTILES_FROM else (0, 100)
    for epoch, column in enumerate(values.T):
        there = column[np.isfinite(column)]
        if there.size:
            rows[:, epoch] = np.median(there), *np.percentile(there, ends)
    return rows[0], rows[1], rows[2]


def draw_band(
    ax: Axes,
    values: np.ndarray,
    color: str,
    dashes: str = "-",
    *,
    width: float = 2.0,
    shade: float = 0.18,
    single: bool,
    zorder: float = 3,
) -> np.ndarray:
    """The median of values [runs, epochs] as a line in its band, with `single` each seed as a thin line; the median."""
    median, low, high = band(values)
    epochs = np.arange(1, len(median) + 1)
    if len(values) > 1:
        ax.fill_between(epochs, low, high, color=color, alpha=shade, linewidth=0, zorder=zorder - 1)
    if single and len(values) > 1:
        for row in values:
            ax.plot(epochs, row, color=color, linewidth=_THIN, alpha=0.45, zorder=zorder - 0.5)
    marker = "o" if np.isfinite(median).sum() == 1 else ""
    ax.plot(epochs, median, dashes, color=color, linewidth=width, marker=marker, markersize=width + 2, zorder=zorder)
    return median


def draw_endings(ax: Axes, curve: SettingCurves, values: np.ndarray, otherwise: float) -> None:
    """A cross where a run ended in NaN, at its last point or at `otherwise`, and a bar where one was stopped."""
    for run, row in zip(curve.runs, values):
        if not (run.ended_early or run.stopped):
            continue
        x, y = last_point(row, otherwise, len(run.epochs))
        mark, size = ("X", 9) if run.ended_early else ("|", 9)
        edge = PAPER if run.ended_early else curve.color
        ax.plot([x], [y], mark, markersize=size, color=curve.color, markeredgecolor=edge, clip_on=False, zorder=6)


def last_point(row: np.ndarray, otherwise: float, epoch: int) -> tuple[int, float]:
    """The last epoch with a value, and the value; (epoch, otherwise) where there is none."""
    finite = np.flatnonzero(np.isfinite(row))
    return (int(finite[-1]) + 1, float(row[finite[-1]])) if finite.size else (epoch, otherwise)


def setting_curves(summaries: Sequence[Summary], recommended: Setting | None) -> list[SettingCurves]:
    """The settings that have epochs, in the order given: a colour for each rate, dashes for each second factor.

    Rates that were asked for come first in the palette, so that a refined study keeps the colours of the first.
    """
    drawn = [(s, tuple(run for run in s.runs if run.epochs)) for s in summaries]
    ordered = sorted(summaries, key=lambda s: (not s.asked, -s.setting.lr))
    rates = list(dict.fromkeys(s.setting.lr for s in ordered))
    factors = list(dict.fromkeys(s.setting.factors for s in summaries))
    looks = []
    for summary, runs in drawn:
        round_, color = divmod(rates.index(summary.setting.lr), len(PALETTE))
        dashes = DASHES[(factors.index(summary.setting.factors) + round_) % len(DASHES)]
        looks.append(SettingCurves(summary, runs, PALETTE[color], dashes, summary.setting == recommended))
    return [curve for curve in looks if curve.runs]
