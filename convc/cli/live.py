"""What the commands that train show: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from convc.runtime.weights import Loaded
from convc.train import EpochResult, Watch


class Display(Watch):
    """Shows runs of `epochs` epochs of `images` training images each."""

    def __init__(self, console: Console, epochs: int, images: int) -> None:
        self.console, self.epochs, self.images = console, epochs, images
        self.last = ""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=6),
            TimeRemainingColumn(compact=True),
        )
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self.task = self.progress.add_task("", total=None)

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()

    def compiling(self, model: str) -> None:
        self.progress.update(self.task, description=f"compiling {model}")

    def compiled(self, seconds: float) -> None:
        self.say(f"compiled in {seconds:.1f} s")

    def loaded(self, path: Path, found: Loaded) -> None:
        self.say(f"weights from {path}: {found}")

    def begin(self, lr: float, start: int, epochs_left: int) -> None:
        self.last = ""
        if start:
            self.say(f"lr {lr:g} goes on after epoch {start}")
        trained = self.progress.tasks[0].completed  # what an unfinished run left over is not made up for
        total = trained + epochs_left * self.images
        self.progress.update(self.task, total=total, description=f"lr {lr:g}  epoch {start + 1}/{self.epochs}")

    def batch(self, images: int) -> None:
        self.progress.advance(self.task, images)

    def epoch(self, result: EpochResult, accuracy: float) -> None:
        epoch = f"epoch {result.epoch:>{len(str(self.epochs))}}/{self.epochs}"
        right = f"{result.validation_accuracy:.1%}"
        measured = f"loss {result.train_loss:.4f}  validation loss {result.validation.loss:.4f}, accuracy {right}"
        self.last = f"lr {result.lr:<6.3g} {epoch}  {measured}"
        # Fits a terminal 80 wide, bar and all.
        short = f"lr {result.lr:.3g} {epoch}  validation accuracy {right}  {result.images_per_second:,.0f} images/s"
        self.progress.update(self.task, description=short)
        if not self.console.is_terminal:
            self.say(self.last)

    def end(self) -> None:
        if self.last and self.console.is_terminal:
            self.say(self.last)

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
