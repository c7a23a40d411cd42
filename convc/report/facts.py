"""What a study was: what its report says of the model, the data, the runs that were asked for and the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convc.errors import DataError
from convc.report.history import Setting


@dataclass(frozen=True)
class StudyFacts:
    """What was run, so that the report can say what is missing, and on what it ran.

    `settings` with every one of `seeds` were asked for, `epochs` each; `refined` are those that the study added by
    itself. `optimizer` ("SGD, momentum 0.9"), `schedule`, `augment` (empty where images stay as they are), `machine`,
    `workers` ("2 single-thread workers") and `budget` (empty where nothing was limited) are texts. Seconds are wall
    time, None where unknown.

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
    augment: str
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


def facts_lines(facts: StudyFacts) -> list[tuple[str, str]]:
    """What was run, as (name, text)."""
    augmented = f"; augmentation: {facts.augment}" if facts.augment else ""
    lines = [
        ("Model", f"{facts.model}, {facts.parameters:,} parameters, mode {facts.mode}"),
        (
            "Data",
            f"{facts.dataset}, {facts.classes} classes; {facts.train_images} images to train on, "
            f"{facts.validation_images} for validation, {facts.test_images} for the test",
        ),
        (
            "Training",
            f"{facts.optimizer}; schedule: {facts.schedule}{augmented}; batch {facts.batch}, "
            f"{count(facts.epochs, 'epoch')}",
        ),
        ("Runs", f"{count(len(facts.settings), 'setting')}, each with {seeds_text(facts.seeds)}"),
    ]
    if facts.refined:
        lines.append(("Added by the study", listing(facts.refined)))
    if facts.budget:
        lines.append(("Budget", facts.budget))
    lines.append(("Target", f"{facts.target} on {facts.machine}; {facts.workers}"))
    times = [(facts.compile_seconds, "to compile, once for all runs"), (facts.wall_seconds, "for the whole study")]
    known = [f"{seconds:.1f} s {what}" for seconds, what in times if seconds is not None]
    if known:
        lines.append(("Time", ", ".join(known)))
    return lines


def subtitle(facts: StudyFacts, incomplete: bool) -> str:
    """The study in a line."""
    return (
        f"{facts.model} on {facts.dataset}: {count(facts.epochs, 'epoch')} of {facts.optimizer}, batch {facts.batch}, "
        f"{seeds_text(facts.seeds)}{'; incomplete' if incomplete else ''}"
    )


def seeds_text(seeds: Sequence[int]) -> str:
    """`seed 3`, `seeds 0 to 2`, or `seeds 0, 5 and 7`."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"


def listing(items: Sequence[object]) -> str:
    """`0.01, 0.005 and 0.001`; semicolons where the items themselves have commas."""
    names = [str(item) for item in items]
    comma = "; " if any("," in name for name in names) else ", "
    return names[0] if len(names) == 1 else f"{comma.join(names[:-1])} and {names[-1]}"


def count(number: int, what: str) -> str:
    """`1 epoch`, `30 epochs`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
