"""`convc inspect`: a program's kernels, their source, and what each pass did."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from convc.build.archs import check_arch
from convc.cli.counting import check_count, count_option, counted
from convc.cli.lowering import lower_model
from convc.cli.machine_code import print_machine_code
from convc.cli.options import arch_option, in_colour, level_option, model_options, target_option, working
from convc.cli.printing import fitted, say
from convc.codegen.cuda.emit import CudaSource
from convc.codegen.source import Kernel
from convc.errors import ConvcError
from convc.ir.lexer import did_you_mean
from convc.passes.pipeline import Trace
from convc.passes.stages import find_stages, stage_diff
from convc.runtime.program_report import ProgramReport


@click.command()
@model_options
@target_option
@arch_option
@level_option
@count_option
@click.option("--kernel", metavar="NAME", help="Print the source of the kernels whose names start with NAME.")
@click.option("--pass", "pass_name", metavar="NAME", help="Print what the pass NAME changed, each time it ran.")
@click.option("--ir", is_flag=True, help="Print the IR after the last pass (with --pass: after that pass).")
@click.option("--ptx", is_flag=True, help="With target cuda: print the PTX (with --kernel: of these kernels).")
@click.option(
    "--sass", is_flag=True, help="With target cuda: print the machine code (with --kernel: of these kernels)."
)
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE", help="Write everything to FILE, one HTML page."
)
def inspect(
    model: str,
    shape: tuple[int, ...] | None,
    mode: Literal["infer", "eval", "train"],
    target: str,
    arch: str,
    level: int,
    count: bool,
    kernel: str | None,
    pass_name: str | None,
    ir: bool,
    ptx: bool,
    sass: bool,
    html: Path | None,
) -> None:
    """Show the program of MODEL: its kernels and memory, a kernel's source, or what a pass did.

    MODEL is a name from the zoo (lenet5, vgg16, ...), file.py:function, or file.conv.

    \b
    Examples:
      convc inspect lenet5 --mode train
      convc inspect lenet5 --kernel conv1
      convc inspect lenet5 --pass fuse_epilogue
      convc inspect lenet5 --html lenet5.html
      convc inspect lenet5 --target cuda --kernel conv1 --sass
      convc inspect lenet5 --target cuda --shape 8,1,28,28 --count
    """
    check_arch(arch)
    if (ptx or sass) and target != "cuda":
        raise ConvcError(f"--{'ptx' if ptx else 'sass'} shows what CUDA is compiled to: add --target cuda")
    check_count(count, target)
    with working(f"compiling {model}"):
        report = lower_model(model, shape, mode, target, level).report
    if count:
        report = counted(report, arch)
    if html is not None:
        with working(f"writing {html}"):
            report.save(html)
        click.echo(f"wrote {html}")
    kernels = matching(report.source.kernels, kernel) if kernel is not None else list(report.source.kernels)
    if ptx or sass:
        assert isinstance(report.source, CudaSource)
        print_machine_code(report.source, kernels, arch, sass)
    elif kernel is not None:
        for k in kernels:
            _print_highlighted(k.source, report.source.language)
    if pass_name is not None:
        _print_pass(report.trace, pass_name, ir)
    elif ir:
        click.echo(str(report.graph))
    if html is None and kernel is None and pass_name is None and not (ir or ptx or sass):
        _print_table(report)


def matching(kernels: tuple[Kernel, ...], prefix: str) -> list[Kernel]:
    """The kernels whose names start with `prefix`; raises ConvcError where there is none."""
    found = [k for k in kernels if k.name.startswith(prefix)]
    if not found:
        raise ConvcError(f"no kernel starts with '{prefix}'{did_you_mean(prefix, [k.name for k in kernels])}")
    return found


def _print_pass(trace: Trace, name: str, whole: bool) -> None:
    stages = find_stages(trace, name)
    for i in stages:
        if whole:
            click.echo(str(trace.stages[i][1]))
        elif diff := stage_diff(trace, i):
            _print_highlighted("\n".join(diff), "diff")
        else:
            click.echo(f"{i:02}_{name} changed nothing")


def _print_highlighted(text: str, language: str) -> None:
    if not in_colour():
        click.echo(text)
        return
    from pygments import highlight  # here, for a fast start
    from pygments.formatters import TerminalFormatter
    from pygments.lexers import get_lexer_by_name

    click.echo(highlight(text, get_lexer_by_name(language, stripnl=False), TerminalFormatter()), nl=False)


def _print_table(report: ProgramReport) -> None:
    headline, *rest = report.lines
    say(headline, {"bold": True} if in_colour() else None)
    say("\n".join(rest))
    for table in report.tables:
        click.echo(f"\n{fitted(table)}")
