"""A small learning-rate study from Python: three rates, two seeds each, verdicts, and a report to look at.

    python examples/learning_rate_study.py

`make study` runs the whole of it, five rates, three seeds and all images; the command is `convc study --help`. The
program is compiled once: the learning rate and the seed are numbers that the compiled step takes at each call.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import convc
from convc.data import Dataset, load
from convc.report.history import EpochTiming, RunHistory
from convc.study import StudyPlan, StudyWatch, run_study

OUT = Path("out/small-study")


class Lines(StudyWatch):
    """Prints a line for every fourth epoch."""

    def epoch(self, run: RunHistory, timing: EpochTiming) -> None:
        last = run.epochs[-1]
        if last.epoch % 4 == 0:
            where = f"rate {run.lr:<5} seed {run.seed}  epoch {last.epoch}"
            print(f"{where}  loss {last.train_loss:6.3f}  test {last.test_accuracy:6.1%}")


def quarter(data: Dataset) -> Dataset:
    """The same data with every fourth training image."""
    train = data.train.take(np.arange(0, len(data.train), 4))
    return Dataset(f"a quarter of {data.name}", train, data.validation, data.test, data.classes)


def main() -> None:
    plan = StudyPlan(rates=(1.0, 0.02, 0.005), seeds=(0, 1), epochs=8, batch=64)
    result = run_study(plan, convc.models.lenet5(), quarter(load("mnist5k")), OUT, Lines())
    for summary in result.summaries:
        print(f"rate {summary.setting.lr:<6} {summary.words}")
    print(result.recommendation.why)
    print(f"curves and figures: {result.report}")


if __name__ == "__main__":
    main()
