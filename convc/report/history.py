"""What a learning-rate study measured, and its files: history.csv (the numbers), timing.csv (the clock).

Times are kept out of the history, so that the same seed, data and target give the same bytes. Each row of both
carries a digest (`convc.rows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from convc.build.files import write_atomically
from convc.errors import DataError
from convc.rows import csv_text, read_rows

HISTORY_COLUMNS = ("learning_rate", "epoch", "train_loss", "validation_loss", "test_accuracy")
TIMING_COLUMNS = ("learning_rate", "epoch", "seconds", "images_per_second")
HISTORY_REMEDY = "delete the rows of that learning rate, and it is trained again, or choose another --out"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's figures: `epoch` counts from 1, losses are means per image in nats, accuracy is 0..1.

    A loss may be nan or inf, and the accuracy is nan only beside such a loss. Raises DataError otherwise.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    test_accuracy: float

    def __post_init__(self) -> None:
        if self.epoch < 1:
            raise DataError(f"an epoch counts from 1, not {self.epoch}")
        unknown = math.isnan(self.test_accuracy) and not self.finite
        if not (unknown or 0.0 <= self.test_accuracy <= 1.0):
            raise DataError(
                f"a test accuracy lies in 0..1 (nan only beside a non-finite loss), "
                f"not {float(self.test_accuracy)!r}, at epoch {self.epoch}"
            )

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers that one can go on training with."""
        return math.isfinite(self.train_loss) and math.isfinite(self.validation_loss)


@dataclass(frozen=True)
class RunHistory:
    """One learning rate's epochs 1, 2, 3 ... (none for a run that never started).

    `ended_early` is True after a non-finite loss: the run stops at that epoch, which is its last record.
    Raises DataError on a rate that is not a positive number, a gap in the epochs, a non-finite epoch that is
    not the last one, or an `ended_early` that contradicts the last record.
    """

    lr: float
    epochs: tuple[EpochRecord, ...]
    ended_early: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise DataError(f"a learning rate is a positive number, not {float(self.lr)!r}")
        for expected, record in enumerate(self.epochs, start=1):
            if record.epoch != expected:
                raise DataError(
                    f"epochs follow one another from 1: expected {expected}, not {record.epoch}, "
                    f"at learning rate {self.lr:g}"
                )
            if not record.finite and expected < len(self.epochs):
                raise DataError(
                    f"a run ends at its first non-finite loss: epoch {expected} of {len(self.epochs)} "
                    f"has one, at learning rate {self.lr:g}"
                )
        if self.ended_early != bool(self.epochs and not self.epochs[-1].finite):
            raise DataError(
                f"ended_early says that the last epoch has a non-finite loss: it is {self.ended_early}, "
                f"and the last epoch says {not self.ended_early}, at learning rate {self.lr:g}"
            )


@dataclass(frozen=True)
class EpochTiming:
    """How long one epoch took: `seconds` of wall time, and training images per second."""

    lr: float
    epoch: int
    seconds: float
    images_per_second: float


def write_history(path: Path | str, runs: Iterable[RunHistory]) -> None:
    """Write `runs` as CSV, a row per epoch, floats by repr: equal numbers give equal bytes, nan is `nan`.

    A run without epochs leaves no row. Raises DataError where a rate comes twice, or it cannot write.
    """
    rows: list[Sequence[object]] = []
    seen: set[float] = set()
    for run in runs:
        if run.lr in seen:
            raise DataError(f"each learning rate has one run: {run.lr:g} comes twice; remove one")
        seen.add(run.lr)
        for record in run.epochs:
            figures = (record.train_loss, record.validation_loss, record.test_accuracy)
            rows.append((_exact(run.lr), record.epoch, *map(_exact, figures)))
    write_atomically(Path(path), csv_text(HISTORY_COLUMNS, rows))


def read_history(path: Path | str) -> tuple[RunHistory, ...]:
    """The runs of a file by `write_history`, in its order; `ended_early` is read off the last epoch's losses.

    Raises DataError, naming the file and the line, where the file is not one that `write_history` writes.
    """
    path = Path(path)
    records: dict[float, list[EpochRecord]] = {}
    last_rate: float | None = None
    for line, row in read_rows(path, HISTORY_COLUMNS, HISTORY_REMEDY):
        try:
            rate, record = _parse_row(row)
            if rate != last_rate and rate in records:
                raise DataError(f"the rows of one learning rate stand together: {rate:g} comes again")
            records.setdefault(rate, []).append(record)
            last_rate = rate
            _run(rate, records[rate])  # checks the epochs so far while the line is known
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from error
    return tuple(_run(rate, epochs) for rate, epochs in records.items())


def read_timing(path: Path | str) -> list[EpochTiming]:
    """The rows of a file by `write_timing`. Raises DataError, naming the line, where it is none or is damaged."""
    path = Path(path)
    rows: list[EpochTiming] = []
    for line, (rate, epoch, *numbers) in read_rows(path, TIMING_COLUMNS, f"delete {path}: only the times are lost"):
        try:
            rows.append(EpochTiming(_number("learning_rate", rate), _epoch(epoch), *map(float, numbers)))
        except (DataError, ValueError) as error:
            raise DataError(f"{path}, line {line}: {error}") from None
    return rows


def write_timing(path: Path | str, rows: Iterable[EpochTiming]) -> None:
    """Write timing.csv, a row per epoch in the order given. Raises DataError where it cannot be written."""
    cells = [(_exact(row.lr), row.epoch, _exact(row.seconds), _exact(row.images_per_second)) for row in rows]
    write_atomically(Path(path), csv_text(TIMING_COLUMNS, cells))


def _run(lr: float, epochs: Sequence[EpochRecord]) -> RunHistory:
    return RunHistory(lr, tuple(epochs), ended_early=bool(epochs) and not epochs[-1].finite)


def _parse_row(row: Sequence[str]) -> tuple[float, EpochRecord]:
    epoch = _epoch(row[1])
    rate, train_loss, validation_loss, test_accuracy = (
        _number(name, cell) for name, cell in zip(HISTORY_COLUMNS, row) if name != "epoch"
    )
    return rate, EpochRecord(epoch, train_loss, validation_loss, test_accuracy)


def _epoch(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) < 10):
        raise DataError(f"epoch must be a whole number, not {cell!r}")
    return int(cell)


def _number(column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise DataError(f"{column} must be a number, not {cell!r}") from None


def _exact(value: float) -> str:
    return repr(float(value))  # float(): a NumPy scalar's repr names its type
