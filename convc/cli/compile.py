"""`convc compile`: a program on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from convc import __version__
from convc.cli.lowering import lower_model
from convc.cli.options import model_options, working
from convc.codegen.emission import emission, write_emission
from convc.runtime.build_log import build_logged


@click.command("compile")
@model_options
@click.option("--target", type=click.Choice(["cpu"]), default="cpu", show_default=True, help="What to emit for.")
@click.option("--emit", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to write.")
@click.option("--build/--no-build", default=True, show_default=True, help="Compile the C too, so that errors show.")
def compile_(
    model: str,
    shape: tuple[int, ...] | None,
    mode: Literal["infer", "eval", "train"],
    target: str,
    emit: Path,
    build: bool,
) -> None:
    """Write the program of MODEL to a folder: the IR after every pass, the C source, and a manifest.

    MODEL is a name from the zoo (lenet5, vgg16, ...), file.py:function, or file.conv. A folder that an earlier
    call wrote is replaced; one that holds anything else is left alone.

    \b
    Example:
      convc compile lenet5 --mode train --emit out/lenet5
    """
    with working(f"compiling {model}"):
        lowered = lower_model(model, shape, mode)
        report = lowered.report
        named = {"model": model, "mode": mode, "target": target, "input_shape": lowered.input_shape}
        files = emission(report.trace, report.source, report.summary, {"convc": __version__, **named})
        write_emission(emit, files)
    click.echo(f"wrote {emit}: {len(files)} files")
    click.echo(f"{report.headline}; {report.memory}")
    if build:
        with working("building"):
            build_logged(report.graph.name, report.source)
