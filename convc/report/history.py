"""What a learning-rate study measured, and its files: history.csv (the numbers), timing.csv (the clock).

Times are kept out of the history, so that the same seed, data and target give the same bytes. Each row of both
carries a digest (`convc.rows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convc.build.files import write_atomically
from convc.errors import DataError
from convc.rows import csv_text, read_rows

COLUMNS: tuple[str, ...] = ("run", "learning_rate", "seed", "epoch", "train_loss", "validation_loss")
COLUMNS += ("validation_accuracy", "test_accuracy")
TIMING_COLUMNS = ("run", "epoch", "seconds", "images_per_second")
HISTORY_REMEDY = "delete the rows of that run, and it is trained again, or choose another --out"


def rate_text(lr: float) -> str:
    """A learning rate as tables, labels and file names write it: the shortest text that reads back equal."""
    return repr(float(lr))


@dataclass(frozen=True)
class Setting:
    """What a study compares: a learning rate, and its second factor where it has one, as (("momentum", 0.9),).

    Raises DataError on a rate that is not a positive number, and on a factor that is not a finite one.
    """

    lr: float
    factors: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise DataError(f"a learning rate is a positive number, not {float(self.lr)!r}")
        for name, value in self.factors:
            if not math.isfinite(value):
                raise DataError(f"{name} is a finite number, not {float(value)!r}, at learning rate {self.lr:g}")

    def __str__(self) -> str:
        """As tables and labels write it: `0.01`, or `0.01, momentum 0.9`."""
        return ", ".join([rate_text(self.lr), *(f"{name} {value!r}" for name, value in self.factors)])

    @property
    def file_name(self) -> str:
        """As file names write it: `lr_0.01`, or `lr_0.01_momentum_0.9`."""
        return "_".join(f"{name}_{value!r}" for name, value in (("lr", float(self.lr)), *self.factors))


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's figures: `epoch` counts from 1, losses are means per image in nats, accuracies are 0..1.

    A loss may be nan or inf, and an accuracy is nan only beside such a loss. Raises DataError otherwise.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    test_accuracy: float

    def __post_init__(self) -> None:
        if self.epoch < 1:
            raise DataError(f"an epoch counts from 1, not {self.epoch}")
        for name in ("validation_accuracy", "test_accuracy"):
            value = getattr(self, name)
            unknown = math.isnan(value) and not self.finite
            if not (unknown or 0.0 <= value <= 1.0):
                raise DataError(
                    f"{name} lies in 0..1 (nan only beside a non-finite loss), not {float(value)!r}, at epoch "
                    f"{self.epoch}"
                )

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers that one can go on training with."""
        return math.isfinite(self.train_loss) and math.isfinite(self.validation_loss)


@dataclass(frozen=True)
class RunHistory:
    """One setting with one seed: epochs 1, 2, 3 ... (none for a run that never started).

    `stopped` is True for a run that was ended before its last epoch because others were better: it gets no verdict.
    Raises DataError on a gap in the epochs and on a non-finite epoch that is not the last one.
    """

    setting: Setting
    seed: int
    epochs: tuple[EpochRecord, ...]
    stopped: bool = False

    def __post_init__(self) -> None:
        for expected, record in enumerate(self.epochs, start=1):
            if record.epoch != expected:
                raise DataError(f"epochs follow one another from 1: expected {expected}, not {record.epoch}, in {self}")
            if not record.finite and expected < len(self.epochs):
                raise DataError(
                    f"a run ends at its first non-finite loss: epoch {expected} of {len(self.epochs)} has one: {self}"
                )

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        """How far it came, and its lowest validation loss."""
        best = min(((r.validation_loss, r.epoch) for r in self.epochs if r.finite), default=None)
        lowest = f", lowest validation loss {best[0]:.4g} at epoch {best[1]}" if best else ""
        ended = ", stopped" if self.stopped else ", ended by a loss that is no number" if self.ended_early else ""
        return f"RunHistory {self.name}: {len(self.epochs)} epoch{'' if len(self.epochs) == 1 else 's'}{lowest}{ended}"

    @property
    def lr(self) -> float:
        return self.setting.lr

    @property
    def name(self) -> str:
        """What its rows and files are called: `lr_0.01_seed_2`."""
        return f"{self.setting.file_name}_seed_{self.seed}"

    @property
    def ended_early(self) -> bool:
        """Whether the last epoch has a non-finite loss, with which a run ends."""
        return bool(self.epochs) and not self.epochs[-1].finite


@dataclass(frozen=True)
class EpochTiming:
    """How long one epoch of the run of that name took: `seconds` of wall time, and training images per second."""

    run: str
    epoch: int
    seconds: float
    images_per_second: float


def write_history(path: Path | str, runs: Iterable[RunHistory]) -> None:
    """Write `runs` as CSV, a row for each run and epoch, floats by repr: equal numbers give equal bytes, nan is `nan`.

    Factors are columns of their own, after the seed; all runs have the same. A run without epochs leaves no row.
    Raises DataError where a run comes twice, factors differ, or it cannot write.
    """
    runs = list(runs)
    names = _factor_names(runs)
    rows: list[Sequence[object]] = []
    seen: set[str] = set()
    for run in runs:
        if run.name in seen:
            raise DataError(f"each setting and seed has one run: {run} comes twice; remove one")
        seen.add(run.name)
        values = [_exact(value) for _, value in run.setting.factors]
        for r in run.epochs:
            figures = (r.train_loss, r.validation_loss, r.validation_accuracy, r.test_accuracy)
            rows.append((run.name, _exact(run.lr), run.seed, *values, r.epoch, *map(_exact, figures)))
    write_atomically(Path(path), csv_text((*COLUMNS[:3], *names, *COLUMNS[3:]), rows))


def read_history(path: Path | str, factors: Sequence[str] = ()) -> tuple[RunHistory, ...]:
    """The runs of a file by `write_history` with these factors, in its order; `stopped` is not in it.

    Raises DataError, naming the file and the line, where the file is not one that `write_history` writes.
    """
    path = Path(path)
    columns = (*COLUMNS[:3], *factors, *COLUMNS[3:])
    runs: dict[str, RunHistory] = {}
    last: str | None = None
    for line, row in read_rows(path, columns, HISTORY_REMEDY):
        try:
            name, setting, seed, record = _parse_row(dict(zip(columns, row)), factors)
            if name != last and name in runs:
                raise DataError(f"the rows of one run stand together: {name} comes again")
            before = runs[name].epochs if name in runs else ()
            runs[name] = run = RunHistory(setting, seed, (*before, record))
            if run.name != name:
                raise DataError(f"the run {name!r} has the numbers of {run}")
            last = name
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from error
    return tuple(runs.values())


def read_timing(path: Path | str) -> list[EpochTiming]:
    """The rows of a file by `write_timing`. Raises DataError, naming the line, where it is none or is damaged."""
    path = Path(path)
    rows: list[EpochTiming] = []
    for line, (run, epoch, *numbers) in read_rows(path, TIMING_COLUMNS, f"delete {path}: only the times are lost"):
        try:
            rows.append(EpochTiming(run, _whole("epoch", epoch), *map(float, numbers)))
        except (DataError, ValueError) as error:
            raise DataError(f"{path}, line {line}: {error}") from None
    return rows


def write_timing(path: Path | str, rows: Iterable[EpochTiming]) -> None:
    """Write timing.csv, a row per epoch in the order given. Raises DataError where it cannot be written."""
    cells = [(row.run, row.epoch, _exact(row.seconds), _exact(row.images_per_second)) for row in rows]
    write_atomically(Path(path), csv_text(TIMING_COLUMNS, cells))


def _factor_names(runs: Sequence[RunHistory]) -> tuple[str, ...]:
    found = {tuple(name for name, _ in run.setting.factors) for run in runs}
    if len(found) > 1:
        raise DataError(f"all runs of a study have the same factors, not {' and '.join(map(str, sorted(found)))}")
    return found.pop() if found else ()


def _parse_row(row: Mapping[str, str], factors: Sequence[str]) -> tuple[str, Setting, int, EpochRecord]:
    values = tuple((name, _number(name, row[name])) for name in factors)
    setting = Setting(_number("learning_rate", row["learning_rate"]), values)
    figures = (_number(name, row[name]) for name in COLUMNS[4:])
    return row["run"], setting, _whole("seed", row["seed"]), EpochRecord(_whole("epoch", row["epoch"]), *figures)


def _whole(column: str, cell: str) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) <= 20):
        raise DataError(f"{column} must be a whole number, not {cell!r}")
    return int(cell)


def _number(column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise DataError(f"{column} must be a number, not {cell!r}") from None


def _exact(value: float) -> str:
    return repr(float(value))  # float(): a NumPy scalar's repr names its type
