"""The history of a training run: a row for each epoch, in a file that says where it is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from convc.build.files import write_atomically
from convc.errors import DataError
from convc.rows import csv_text, read_rows


@dataclass(frozen=True)
class TrainRecord:
    """One row of the history: losses in nats, the accuracy 0..1."""

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float


def best_epoch(records: Sequence[TrainRecord]) -> int:
    """The epoch of the lowest validation loss, the first of several; they are numbers, of one epoch at least."""
    return min(records, key=lambda record: record.validation_loss).epoch


def write_train_history(path: Path, records: Sequence[TrainRecord], test_accuracy: float | None = None) -> None:
    """A row per epoch, floats by repr; the test accuracy, once known, stands in the last row."""
    rows = []
    for record in records:
        known = test_accuracy is not None and record is records[-1]
        rows.append([*map(repr, asdict(record).values()), repr(test_accuracy) if known else ""])
    write_atomically(path, csv_text([*_columns(), "test_accuracy"], rows))


def read_train_history(path: Path) -> list[TrainRecord]:
    """The rows of a file by `write_train_history`. Raises DataError, with the line, where it is none or is damaged."""
    records: list[TrainRecord] = []
    remedy = f"delete {path.parent} to train it anew, or choose another --out"
    for line, (epoch, *numbers, _) in read_rows(path, [*_columns(), "test_accuracy"], remedy):
        try:
            records.append(TrainRecord(int(epoch), *map(float, numbers)))
        except ValueError as error:
            raise DataError(f"{path}, line {line}: not the history of a training run ({error}); {remedy}") from None
    return records


def columns_of(records: Sequence[TrainRecord]) -> dict[str, list[float]]:
    """The numbers of all epochs by column."""
    return {name: [getattr(record, name) for record in records] for name in _columns()}


def _columns() -> list[str]:
    return [field.name for field in fields(TrainRecord)]
