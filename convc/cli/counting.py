"""`--count` of commands that write CUDA: one run in the emulator, and what each kernel moved on its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from convc.cli.options import working
from convc.codegen.cuda.emit import CudaSource
from convc.errors import ConvcError
from convc.runtime.program_report import ProgramReport


def count_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--count."""
    text = "With target cuda: run once in the emulator and show the memory sectors and bank conflicts of each kernel."
    return click.option("--count", is_flag=True, help=text)(command)


def check_count(count: bool, target: str) -> None:
    """Raises ConvcError where there is nothing to count."""
    if count and target != "cuda":
        raise ConvcError("--count counts what CUDA's kernels move in the emulator: add --target cuda")


def counted(report: ProgramReport, arch: str) -> ProgramReport:
    """The report of a CUDA program after a run on random inputs, full batch, of what NVRTC makes of it for `arch`.

    Raises ToolchainError where there is no NVRTC, RunError where the emulator's check finds something.
    """
    from convc.runtime.emulator import EmulatorExecutable  # here, for a fast start
    from convc.testing.trial import random_run

    assert isinstance(report.source, CudaSource)
    with working(f"running {report.graph.name} in the emulator"):
        executable = EmulatorExecutable(report.graph, arch=arch, source=report.source)
        random_run(report.trace, executable)
    return replace(report, source=executable.counted())
