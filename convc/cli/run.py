"""`convc run`: a program on random inputs, checked against the interpreter, in the emulator, as C or on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from convc.cli.findings import print_counters, print_launches
from convc.cli.folders import Folder, read_folder
from convc.cli.lowering import lower_model
from convc.cli.options import DEVICE_HELP, MODE_HELP, SHAPE_HELP, arch_option, refuse, shape_of, working
from convc.cli.printing import fitted, say
from convc.compiler import MODES
from convc.emulator import Report
from convc.errors import ConvcError
from convc.ir.core import Graph
from convc.passes.pipeline import Trace
from convc.runtime.capacity import check_fits
from convc.runtime.cpu import CpuExecutable
from convc.runtime.emulator import EmulatorExecutable
from convc.runtime.executable import Executable
from convc.runtime.program_report import ProgramReport
from convc.runtime.store import ParameterStore
from convc.runtime.targets import on_device
from convc.testing.inputs import random_inputs
from convc.testing.kernels_apart import first_wrong_kernel
from convc.testing.trial import Comparison, trial

TARGETS = ("emulator", "cpu", "cuda")


@click.command()
@click.argument("what", metavar="DIR|MODEL")
@click.option("--target", type=click.Choice(TARGETS), metavar="TARGET",
              help="Where to run: emulator, cpu or cuda.  [default: emulator, and cpu for a folder of C]")  # fmt: skip
@click.option("--device", type=click.IntRange(min=0), metavar="K", help=DEVICE_HELP)
@click.option("--check/--no-check", default=True, show_default=True, help="Check every access in the emulator.")
@click.option("--shape", type=shape_of, metavar="N,C,H,W", help=SHAPE_HELP)
@click.option("--mode", type=click.Choice(MODES), default="infer", show_default=True, help=MODE_HELP)
@click.option(
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    help="Rows of the batch to run; as many as it may have where left out.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random inputs.")
@click.option(
    "--counters",
    is_flag=True,
    help="Print the memory sectors and bank conflicts that the emulator counted, by kernel and by line.",
)
@arch_option
def run(
    what: str,
    target: str | None,
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

    DIR is a folder that `convc compile` wrote; its .cu, or its kernels in C, may have been edited since: they are
    built as they are now. MODEL is a name from the zoo (lenet5, vgg16, ...), file.py:function, or file.conv.

    Exits with 1 where a number is outside what rounding may do, or where the emulator's check finds a race, an
    access outside a kernel's buffers and the like. Of a folder of C it names the first kernel that is wrong.

    \b
    Examples:
      convc run lenet5 --mode train --shape 8,1,28,28
      convc run out/lenet5
      convc run out/lenet5-cuda --counters
    """
    folder = _folder(Path(what), target, shape) if Path(what).is_dir() else None
    target = target or (folder.compiled_for if folder and folder.compiled_for == "cpu" else "emulator")
    refuse(("counters", "arch"), target != "emulator", f"is for the emulator, not target {target}")
    if not check:
        refuse(("check",), target != "emulator", f"is for the emulator, not target {target}", prefix="no-")
    refuse(("counters",), not check, "needs the check, which counts what it sees")
    refuse(("mode",), folder is not None, f"is for models: {what} is a folder, compiled in a mode of its own")
    for name in folder.changed if folder else ():
        click.echo(f"{Path(what) / name} was edited since it was compiled")
    with working(f"running {what}"):
        if folder is not None:
            trace = folder.trace
        else:
            trace = lower_model(what, shape, mode, "cpu" if target == "cpu" else "cuda").report.trace
        graph = trace.stages[-1][1]
        on_device(target, device)
        # The interpreter holds a float64 for every number of the graph, its bounds two more.
        checking = {"the interpreter": 24 * sum(v.type.elements for v in graph.values())}
        check_fits(graph, ParameterStore(), target, checking)
        executable = _executable(graph, target, folder, device, check, arch)
        compared, culprit = _tried(trace, executable, rows, seed, folder)
    reports: Sequence[Report] = []
    if isinstance(executable, EmulatorExecutable):
        reports = executable.reports
        print_launches(executable, folder.text if folder else executable.source.text)
        if counters:
            click.echo(f"\n{fitted(ProgramReport(trace, executable.counted()).traffic)}\n")
            print_counters(executable)
    for c in compared:
        say(str(c))
    wrong = [c for c in compared if c.wrong]
    if not wrong and not reports and not culprit:
        click.echo("clean and right" if target == "emulator" and check else "right")
        return
    counts = f"{len(wrong)} of {len(compared)} results are wrong"
    if target == "emulator":
        counts = f"{len(reports)} findings of the check, {counts}"
    raise ConvcError(f"{what}: {counts}{f'; {culprit}' if culprit else ''}")


def _folder(path: Path, target: str | None, shape: tuple[int, ...] | None) -> Folder:
    """The folder. Raises ConvcError where it cannot run there, or in that shape."""
    if shape is not None:
        raise ConvcError(f"a folder has the shape that it was compiled for: leave out --shape for {path}")
    folder = read_folder(path)
    runs = ("cpu",) if folder.compiled_for == "cpu" else ("emulator", "cuda")
    if target is not None and target not in runs:
        raise ConvcError(f"{path} was compiled for {folder.compiled_for}: it runs with --target {' or '.join(runs)}")
    return folder


def _executable(
    graph: Graph, target: str, folder: Folder | None, device: int | None, check: bool, arch: str
) -> Executable:
    """The program, built, from the folder's source where there is one."""
    if target == "cpu":
        return CpuExecutable(graph, edited=folder.texts if folder else None)
    text = folder.text if folder else None
    if target == "cuda":
        from convc.runtime.cuda import CudaExecutable  # here: who asks for nothing else needs no driver

        return CudaExecutable(graph, device=device or 0, text=text)
    return EmulatorExecutable(graph, check=check, arch=arch, text=text, collect=True)


def _tried(
    trace: Trace, executable: Executable, rows: int | None, seed: int, folder: Folder | None
) -> tuple[list[Comparison], str]:
    """What one run gave, and what is wrong with a kernel of a folder of C, in words.

    Edited C runs in a process of its own, which it may bring down. Raises ConvcError where it does.
    """
    if folder is None or not isinstance(executable, CpuExecutable):
        return trial(trace, executable, rows, seed), ""
    from concurrent.futures import ProcessPoolExecutor  # here, for a fast start
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(_tried_apart, trace, executable, rows, seed).result()
    except BrokenProcessPool:
        raise ConvcError(
            f"{folder.path}: what was built ended its process, so a kernel reads or writes where it must not: "
            f"look at {', '.join(folder.changed) or 'its source'}"
        ) from None


def _tried_apart(trace: Trace, executable: CpuExecutable, rows: int | None, seed: int) -> tuple[list[Comparison], str]:
    """The run, and each kernel alone: of a long program's results there is often no bound, of a kernel's there is."""
    compared = trial(trace, executable, rows, seed)
    inputs = random_inputs(executable.graph, rows, seed) | random_inputs(trace.stages[0][1], rows, seed)
    found = first_wrong_kernel(executable.source, executable.graph, executable.module, inputs)
    if found is not None:
        return compared, f"kernel src/{found[0]}.c is the first that is wrong, in {found[1]}"
    if any(c.wrong for c in compared):
        return compared, f"each kernel is right by itself: look at src/{executable.source.entry}.c, which runs them"
    return compared, ""
