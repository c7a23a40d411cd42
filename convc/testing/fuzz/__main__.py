"""The command: `python -m convc.testing.fuzz --graphs 500 --seed 7`, or with the file of a case to replay it."""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
from pathlib import Path

import click

from convc.errors import ConvcError
from convc.testing.fuzz.case import read_case
from convc.testing.fuzz.run import Worker, run_jobs
from convc.testing.fuzz.sample import CHECKS, Job


@click.command(name="python -m convc.testing.fuzz")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--graphs", default=100, show_default=True, type=click.IntRange(1), help="how many to draw")
@click.option(
    "--seed", type=click.IntRange(0), help="of the first graph, the next ones count on  [default: a fresh one]"
)
@click.option("--target", default="cpu", show_default=True, type=click.Choice(("cpu", "emulator")))
@click.option("--check", default="programs", show_default=True, type=click.Choice(CHECKS))
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="processes")
@click.option("--until", metavar="PATTERN", help="end with the first failure that this regular expression is found in")
@click.option("--no-shrink", is_flag=True, help="leave graphs that fail as they were drawn")
@click.option("--out", default=Path("out/fuzz"), show_default=True, type=click.Path(file_okay=False, path_type=Path))
def main(
    file: Path | None,
    graphs: int,
    seed: int | None,
    target: str,
    check: str,
    workers: int,
    until: str | None,
    no_shrink: bool,
    out: Path,
) -> None:
    """Draw random graphs of all operators and check each, or replay the FILE of one that failed.

    \b
    programs  compiled and run: against the float64 interpreter within derived bounds, after every pass too,
              and against PyTorch's own f32 where it is installed
    passes    the graph after each pass by the interpreter, nothing is compiled; `--target emulator`: CUDA's passes
    meaning   the interpreter against PyTorch, NaN and infinities too; nothing is compiled
    invalid   graphs with something wrong: refused in one line, or computed right

    \b
    Example:
      python -m convc.testing.fuzz --graphs 500 --seed 7 --workers 2
    """
    try:
        with tempfile.TemporaryDirectory(prefix="convc-fuzz-") as cache:
            os.environ.setdefault("CONVC_CACHE_DIR", cache)
            if file is not None:
                sys.exit(replay(file, check))
            wanted = re.compile(until) if until is not None else None
            first = secrets.randbits(32) if seed is None else seed
            click.echo(f"{graphs} graphs, {check}, target {target}, from seed {first}")
            summary = run_jobs(
                [Job(check, target, first + i) for i in range(graphs)],
                out,
                workers,
                lambda failure: wanted is not None and bool(wanted.search(str(failure))),
                not no_shrink,
                lambda text: click.echo(f"\n{text}\n"),
            )
            click.echo(summary)
            sys.exit(1 if summary.failures else 0)
    except re.error as error:
        raise click.BadParameter(f"PATTERN is a regular expression, but {error}: {until!r}") from None
    except ConvcError as error:
        click.echo(f"convc: error: {error}", err=True)
        sys.exit(1)


def replay(file: Path, check: str) -> int:
    """The case's finding, from a process of its own."""
    case = read_case(file)
    worker = Worker()
    found = worker.ask({"check": check, "case": case.text})
    worker.close()
    click.echo(f"{found['kind']}: {found['message']}" if found["kind"] else "nothing is wrong")
    return 1 if found["kind"] else 0


if __name__ == "__main__":
    main()
