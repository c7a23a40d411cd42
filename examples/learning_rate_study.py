"""A small learning-rate study from Python: three rates, a verdict on each, and a report to look at.

    python examples/learning_rate_study.py

`make study` runs the whole of it, five rates and all images; the command is `convc study --help`. The program
is compiled once: the learning rate is a number that the compiled step takes at each call.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import convc
from convc.data import Dataset, load
from convc.study import StudyPlan, run_study
from convc.train import EpochResult, Watch

OUT = Path("out/small-study")


class Lines(Watch):
    """Prints a line for every other epoch."""

    def epoch(self, result: EpochResult, accuracy: float) -> None:
        if result.epoch % 2 == 0:
            print(f"rate {result.lr:<5} epoch {result.epoch}  loss {result.train_loss:6.3f}  test {accuracy:6.1%}")


def quarter(data: Dataset) -> Dataset:
    """The same data with every fourth training image."""
    train = data.train.take(np.arange(0, len(data.train), 4))
    return Dataset(f"a quarter of {data.name}", train, data.validation, data.test, data.classes)


def main() -> None:
    plan = StudyPlan(rates=(1.0, 0.02, 0.005), epochs=8, batch=64)
    result = run_study(plan, convc.models.lenet5(), quarter(load("mnist5k")), OUT, Lines())
    for run, verdict in zip(result.runs, result.verdicts):
        print(f"rate {run.lr:<6} {verdict.words}")
    print(result.recommendation.why)
    print(f"curves and figures: {result.report}")


if __name__ == "__main__":
    main()
