"""What a study was: what its report says of the model, the data, the runs that were asked for and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from convc.errors import DataError
from convc.report.history import Setting


@dataclass(frozen=True)
class StudyFacts:
    """What was run, so that the report can say what is missing, and on what it ran.

    `settings` with every one of `seeds` were asked for, `epochs` each; `refined` are those that the study added by
    itself. `optimizer` ("SGD, momentum 0.9"), `schedule`, `machine`, `workers` ("2 single-thread workers") and `budget`
    are texts, the last one empty where nothing was limited. Seconds are wall time, None where unknown.

    Raises DataError on fewer than two classes, on no seed or setting, and on one that comes twice.
    """

    model: str
    parameters: int
    dataset: str
    train_images: int
    validation_images: int
    test_images: int
    classes: int
    batch: int
    optimizer: str
    schedule: str
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...]
    epochs: int
    target: str
    machine: str
    workers: str
    refined: tuple[Setting, ...] = ()
    budget: str = ""
    mode: str = "train"
    compile_seconds: float | None = None
    wall_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(f"a study needs two classes or more, not {self.classes}: {self.dataset}")
        for what, given in (("seed", self.seeds), ("setting", self.settings)):
            if not given:
                raise DataError(f"a study needs a {what} or more; give one")
        for what, given in (("seed", self.seeds), ("setting", (*self.settings, *self.refined))):
            twice = [str(item) for i, item in enumerate(given) if item in given[:i]]
            if twice:
                raise DataError(f"each {what} is studied once, but {twice[0]} comes twice; leave one out")
