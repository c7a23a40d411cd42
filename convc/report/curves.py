"""One rate as every figure draws it: its look, its values, its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from convc.report.axes import DASHES, PALETTE, Limits, clip_losses
from convc.report.history import RunHistory
from convc.report.recommend import Recommendation
from convc.report.verdict import Verdict, non_finite, rate_text


@dataclass(frozen=True)
class Curve:
    """One rate: its run of one epoch or more, its verdict, its colour and dashes."""

    run: RunHistory
    verdict: Verdict
    color: str
    dashes: str
    recommended: bool

    @property
    def rate(self) -> str:
        """The learning rate as text."""
        return rate_text(self.run.lr)

    def progress(self, planned: int) -> str:
        """The rate, and how far the run got where it was interrupted."""
        count = len(self.run.epochs)
        cut_short = count < planned and not self.run.ended_early
        return f"{self.rate} · {count} of {planned} epochs" if cut_short else self.rate

    @property
    def ending(self) -> str:
        """How a run that ended early did: "NaN at epoch 3"."""
        return f"{non_finite(self.run)} at epoch {len(self.run.epochs)}"

    @property
    def words(self) -> str:
        """The verdict, and how the run ended where that was early."""
        return f"{self.verdict.words}: {self.ending}" if self.run.ended_early else self.verdict.words

    def train_losses(self, limits: Limits) -> np.ndarray:
        """Training losses [epochs] as they are drawn between `limits`; nan where there is nothing to draw."""
        return clip_losses([record.train_loss for record in self.run.epochs], limits)

    def validation_losses(self, limits: Limits) -> np.ndarray:
        """Validation losses [epochs], likewise."""
        return clip_losses([record.validation_loss for record in self.run.epochs], limits)

    def accuracies(self) -> np.ndarray:
        """Test accuracies [epochs], 0..1, or nan."""
        return np.array([record.test_accuracy for record in self.run.epochs], dtype=float)

    def draw(self, ax: Axes, values: np.ndarray, width: float, *, markers: bool) -> None:
        """The line through `values`, one per epoch; a recommended rate lies over the others."""
        ax.plot(
            np.arange(1, len(values) + 1),
            values,
            color=self.color,
            linestyle=self.dashes,
            linewidth=width,
            marker="o" if markers else "",
            markersize=width + 1,
            zorder=5 if self.recommended else 3,
        )

    def draw_end(self, ax: Axes, values: np.ndarray, otherwise: float) -> tuple[int, float]:
        """The last point that `values` draw, or `otherwise` at the last epoch; a cross on it after NaN."""
        finite = np.flatnonzero(np.isfinite(values))
        x, y = (int(finite[-1]) + 1, float(values[finite[-1]])) if finite.size else (len(values), otherwise)
        if self.run.ended_early:
            ax.plot(
                [x],
                [y],
                "X",
                markersize=10,
                color=self.color,
                markeredgecolor="white",
                clip_on=False,
                zorder=6,
            )
        return x, y


def curves(runs: Sequence[RunHistory], verdicts: Sequence[Verdict], recommendation: Recommendation) -> list[Curve]:
    """The runs that have epochs, highest rate first, each with a look of its own."""
    drawn = sorted((pair for pair in zip(runs, verdicts) if pair[0].epochs), key=lambda pair: -pair[0].lr)
    looks = [(color, dashes) for dashes in DASHES for color in PALETTE]
    return [
        Curve(run, verdict, *looks[i % len(looks)], recommended=run.lr == recommendation.lr)
        for i, (run, verdict) in enumerate(drawn)
    ]
