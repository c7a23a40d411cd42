"""What the commands that train show: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

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
        speed = f"accuracy {accuracy:.1%}  {result.images_per_second:,.0f} images/s"
        losses = f"loss {result.train_loss:.3f}  val. {result.validation.loss:.3f}"
        self.last = f"lr {result.lr:<6g} {epoch}  {losses}  {speed}"  # fits a terminal 80 wide, and so does the bar
        short = f"lr {result.lr:g} {epoch}  loss {result.train_loss:.3f}  {speed}"
        self.progress.update(self.task, description=short)
        if not self.console.is_terminal:
            self.say(self.last)

    def end(self) -> None:
        if self.last and self.console.is_terminal:
            self.say(self.last)

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
