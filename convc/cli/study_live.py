"""What `convc study` shows: a bar for each run under way on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from convc.report.history import EpochTiming, RunHistory, Setting
from convc.study import StudyPlan, StudyWatch

WIDTH = 80
"""No line is longer where the setting fits it."""


class StudyDisplay(StudyWatch):
    """Shows runs of `images` training images an epoch, several at a time."""

    def __init__(self, console: Console, plan: StudyPlan, images: int) -> None:
        self.console, self.epochs, self.images = console, plan.epochs, images
        self.told = 0  # images of epochs that are not over
        columns = (
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True),
        )
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self.all = self.progress.add_task("", total=None, note="")
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StudyDisplay:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()

    def grows(self, plan: StudyPlan) -> None:
        self.epochs = plan.epochs
        parts = [f"{len(plan.rates)} rates"]
        parts += [f"{len(plan.momenta)} momenta"] if len(plan.momenta) > 1 else []
        parts += [f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}", f"{plan.epochs} epochs"]
        self.say(f"with what the folder holds it is a study of {' x '.join(parts)}")

    def compiling(self, model: str) -> None:
        self.progress.update(self.all, description=f"compiling {model}")

    def compiled(self, seconds: float) -> None:
        self.say(f"compiled in {seconds:.1f} s")

    def phase(self, epochs: int) -> None:
        self.progress.update(self.all, description="all runs", total=epochs * self.images, completed=0)

    def refines(self, settings: Sequence[Setting], epochs_left: int) -> None:
        self.say(f"adds {'; '.join(map(str, settings))} (budget: {epochs_left} epochs)")

    def begin(self, run: RunHistory) -> None:
        done = len(run.epochs)
        if done:
            self.say(f"{_name(run)} goes on after epoch {done}")
        self.tasks[run.name] = self.progress.add_task(_name(run), total=self.epochs, completed=done, note="")

    def batch(self, images: int) -> None:
        self.told += images
        self.progress.advance(self.all, images)

    def epoch(self, run: RunHistory, timing: EpochTiming) -> None:
        told = min(self.told, self.images)
        self.told -= told
        self.progress.advance(self.all, self.images - told)
        record = run.epochs[-1]
        note = f"{record.epoch}/{self.epochs}  test {record.test_accuracy:.1%}"
        self.progress.update(self.tasks[run.name], completed=record.epoch, note=note)
        if not self.console.is_terminal:
            self.say(self._line(run))

    def end(self, run: RunHistory) -> None:
        task = self.tasks.pop(run.name, None)
        if task is not None:
            self.progress.remove_task(task)
        if self.console.is_terminal and run.epochs:
            self.say(self._line(run))
        if run.stopped:
            self.say(f"{_name(run)} stopped at epoch {len(run.epochs)}: others are better")

    def reports(self) -> None:
        self.progress.update(self.all, description="writing the report")

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _line(self, run: RunHistory) -> str:
        record = run.epochs[-1]
        epoch = f"epoch {record.epoch:>{len(str(self.epochs))}}/{self.epochs}"
        losses = f"loss {record.train_loss:.4f} val {record.validation_loss:.4f}"
        return f"{_name(run):<17} {epoch}  {losses}  test {record.test_accuracy:.1%}"


def _name(run: RunHistory) -> str:
    return f"{run.setting} seed {run.seed}"
