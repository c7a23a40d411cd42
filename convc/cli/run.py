"""`convc run`: a program on random inputs, checked against the interpreter, in the emulator, as C or on a GPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from convc.build.files import read_whole
from convc.cli.lowering import lower_model
from convc.cli.options import DEVICE_HELP, SHAPE_HELP, arch_option, shape_of, working
from convc.codegen.cuda.emit import CudaSource
from convc.codegen.emission import MANIFEST
from convc.compiler import MODES
from convc.emulator import Counter, Report
from convc.errors import ConvcError, DataError
from convc.ir.core import Graph
from convc.ir.text import parse_graph
from convc.passes.pipeline import Trace
from convc.runtime.capacity import check_fits
from convc.runtime.cpu import CpuExecutable
from convc.runtime.emulator import EmulatorExecutable
from convc.runtime.program_report import ProgramReport
from convc.runtime.store import ParameterStore
from convc.runtime.targets import on_device
from convc.testing.trial import trial

MOST_COUNTERS, MOST_REPORTS = 12, 4


@click.command()
@click.argument("what", metavar="DIR|MODEL")
@click.option("--target", type=click.Choice(["emulator", "cpu", "cuda"]), default="emulator", show_default=True,
              help="Where to run.")  # fmt: skip
@click.option("--device", type=click.IntRange(min=0), metavar="K", help=DEVICE_HELP)
@click.option("--check/--no-check", default=True, show_default=True, help="Check every access in the emulator.")
@click.option("--shape", type=shape_of, metavar="N,C,H,W", help=SHAPE_HELP)
@click.option("--mode", type=click.Choice(MODES), default="infer", show_default=True, help="What to compile.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Batch rows of the run; all where left out.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@click.option(
    "--counters",
    is_flag=True,
    help="Print what the emulator counted: sectors and bank conflicts, by kernel and by line.",
)
@arch_option
def run(
    what: str,
    target: str,
    device: int | None,
    check: bool,
    shape: tuple[int, ...] | None,
    mode: Literal["infer", "eval", "train"],
    rows: int | None,
    seed: int,
    counters: bool,
    arch: str,
) -> None:
    """Run a program once on random inputs and compare all its results with the interpreter's, in float64.

    DIR is a folder that `convc compile --target cuda` wrote; its .cu may have been edited since. MODEL is a name from
    the zoo (lenet5, vgg16, ...), file.py:function, or file.conv. Exits with 1 where a number is outside what
    rounding may do, or where the check finds a race, an access outside a kernel's buffers and the like.

    \b
    Examples:
      convc run lenet5 --mode train --shape 8,1,28,28
      convc run out/lenet5
      convc run out/lenet5 --counters
    """
    _refuse(("counters", "check", "arch"), target != "emulator", f"is for the emulator, not target {target}")
    _refuse(("counters",), not check, "needs the check, which counts what it sees")
    _refuse(("mode",), Path(what).is_dir(), f"is for models: {what} is a folder, compiled in a mode of its own")
    with working(f"running {what}"):
        if Path(what).is_dir():
            trace, text = _folder(Path(what), target, shape)
        else:
            trace, text = lower_model(what, shape, mode, "cpu" if target == "cpu" else "cuda").report.trace, None
        graph = trace.stages[-1][1]
        executable: Any
        on_device(target, device)
        # The interpreter holds a float64 for every number of the graph, its bounds two more.
        checking = {"the interpreter": 24 * sum(v.type.elements for v in graph.values())}
        check_fits(graph, ParameterStore(), target, checking)
        if target == "cpu":
            executable = CpuExecutable(graph)
        elif target == "cuda":
            from convc.runtime.cuda import CudaExecutable  # here: who asks for nothing else needs no driver

            executable = CudaExecutable(graph, device=device or 0, text=text)
        else:
            executable = EmulatorExecutable(graph, check=check, arch=arch, text=text, collect=True)
        compared = trial(trace, executable, rows, seed)
    reports: Sequence[Report] = []
    if isinstance(executable, EmulatorExecutable):
        reports = executable.reports
        _print_launches(executable, text or executable.source.text)
        if counters:
            click.echo(f"\n{ProgramReport(trace, executable.counted()).traffic}\n")
            _print_counters(executable)
    for c in compared:
        click.echo(str(c))
    wrong = [c for c in compared if c.wrong]
    if not wrong and not reports:
        click.echo("clean and right" if target == "emulator" and check else "right")
        return
    raise ConvcError(f"{what}: {len(reports)} findings of the check, {len(wrong)} of {len(compared)} results are wrong")


def _refuse(options: Sequence[str], condition: bool, why: str) -> None:
    """Raises ConvcError for an option that was given where it would be ignored."""
    given = click.get_current_context().get_parameter_source
    for name in options if condition else ():
        if given(name) is ParameterSource.COMMANDLINE:
            raise ConvcError(f"--{name} {why}; leave one of the two out")


def _folder(folder: Path, target: str, shape: tuple[int, ...] | None) -> tuple[Trace, str]:
    """The passes' stages and the CUDA of a folder, as they are now."""
    if shape is not None:
        raise ConvcError(f"a folder has the shape that it was compiled for: leave out --shape for {folder}")
    try:
        manifest = json.loads(_read(folder, MANIFEST))
        name = f"src/{manifest['entry']}.cu"
        files = [f"ir/{i:02}_{p}.conv" for i, p in enumerate(("input", *manifest["passes"]))]
        hashes = {file: str(manifest["files"][file]) for file in (name, *files)}
        compiled_for = str(manifest["target"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{folder}/{MANIFEST} is not what `convc compile` writes: compile the model again") from None
    if compiled_for != "cuda" or target == "cpu":
        raise ConvcError(
            f"{folder} was compiled for {compiled_for}: only CUDA runs from a folder, with --target emulator or cuda"
        )
    data = _read(folder, name)
    if hashlib.sha256(data).hexdigest() != hashes[name]:
        click.echo(f"{folder / name} was edited since it was compiled")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{folder / name} is not UTF-8 text (byte {error.start})") from None
    return Trace([(file[6:-5], _stage(folder, file, hashes[file])) for file in files]), text


def _stage(folder: Path, file: str, digest: str) -> Graph:
    """The graph in a file of the folder. Only the CUDA may be edited: it is compared with what the IR means."""
    data = _read(folder, file)
    if hashlib.sha256(data).hexdigest() != digest:
        raise DataError(
            f"{folder / file} was edited or damaged since it was compiled, and only the .cu may be: "
            "compile the model again"
        )
    return parse_graph(data.decode())


def _read(folder: Path, file: str) -> bytes:
    try:
        return read_whole(folder / file)
    except DataError as error:
        raise DataError(f"{folder} is no folder of `convc compile --target cuda`: {error}") from None


def _print_launches(executable: EmulatorExecutable, text: str) -> None:
    source: CudaSource = executable.source
    width = max(len(x.name) for x in source.launches)
    for launch in source.launches:
        found = executable.results[launch.name]
        finding = f"{len(found.reports)} findings" if found.reports else "clean" if executable.check else ""
        shape, ran = f"{launch.blocks} x {launch.threads}", f"{found.instructions:,} warp instructions"
        click.echo(f"{launch.name:<{width}}  {shape:>12}  {ran:>28}  {finding}".rstrip())
        for report in found.reports[:MOST_REPORTS]:
            _print_report(report, launch.title_of_nodes, text.split("\n"))
        if len(found.reports) > MOST_REPORTS:
            click.echo(f"  and {len(found.reports) - MOST_REPORTS} more findings")


def _print_report(report: Report, node: str, lines: Sequence[str]) -> None:
    """The report, the IR node behind the kernel, and the lines of the kernel that it comes from."""
    helpers = next((i for i, line in enumerate(lines) if line.startswith("extern") or " * from    " in line), 0)
    first, *rest = str(report).split("\n")
    click.echo(f"  {first}\n    in {node}")
    for line, access in zip(rest, (report.access, report.other)):
        click.echo(f"  {line}")
        place = access.place if access else None
        while place is not None and place.inlined_at is not None and place.line < helpers:
            place = place.inlined_at  # out of a helper, to the kernel that called it
        if place is not None and 0 < place.line <= len(lines):
            click.echo(f"      {place.line}: {lines[place.line - 1].strip()}")


def _print_counters(executable: EmulatorExecutable) -> None:
    """The instructions that moved the most over what would have done, worst first, and a total of each kind."""
    found: list[tuple[str, Counter]] = [(n, c) for n, r in executable.results.items() for c in r.counters]
    for space, unit in (("global", "sectors of 32 bytes"), ("shared", "wavefronts")):
        own = [(n, c) for n, c in found if c.space == space]
        moved, ideal = sum(c.moved for _, c in own), sum(c.ideal for _, c in own)
        requests = sum(c.requests for _, c in own)
        click.echo(f"{space}: {requests:,} requests, {moved:,} {unit}, {ideal:,} would have done")
        lines: dict[str, list[Counter]] = {}
        for name, c in own:
            lines.setdefault(f"{name}, {c.place or f'PTX line {c.ptx_line}'}", []).append(c)
        over = {line: sum(c.moved - c.ideal for c in counts) for line, counts in lines.items()}
        for line in sorted(over, key=lambda x: -over[x])[:MOST_COUNTERS]:
            if over[line]:
                counts = lines[line]
                moved, requests = sum(c.moved for c in counts), sum(c.requests for c in counts)
                click.echo(f"  {line}: {moved:,} in {requests:,} requests, {moved - over[line]:,} would have done")
