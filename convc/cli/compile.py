"""`convc compile`: a program on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from convc import __version__
from convc.build.archs import check_arch
from convc.build.cuda import build_cubin, find_cuda_compiler, resources
from convc.build.log import build_logged
from convc.build.nvidia import INSTALL
from convc.cli.counting import check_count, count_option, counted
from convc.cli.lowering import lower_model
from convc.cli.options import arch_option, level_option, model_options, target_option, working
from convc.codegen.cuda.emit import CudaSource
from convc.codegen.emission import emission, write_emission
from convc.codegen.emit import CSource
from convc.codegen.source import Source


@click.command("compile")
@model_options
@target_option
@arch_option
@level_option
@count_option
@click.option("--emit", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to write.")
@click.option("--build/--no-build", default=True, show_default=True, help="Compile the source too, so errors show.")
def compile_(
    model: str,
    shape: tuple[int, ...] | None,
    mode: Literal["infer", "eval", "train"],
    target: str,
    arch: str,
    level: int,
    count: bool,
    emit: Path,
    build: bool,
) -> None:
    """Write the program of MODEL to a folder: the IR after every pass, the source, and a manifest.

    MODEL is a name from the zoo (lenet5, vgg16, ...), file.py:function, or file.conv. A folder that an earlier
    call wrote is replaced; one that holds anything else is left alone. CUDA needs no GPU: with the extra `emit`,
    or a toolkit's nvcc, the folder also gets the binary for --arch, and the manifest what each kernel takes.

    \b
    Examples:
      convc compile lenet5 --mode train --emit out/lenet5
      convc compile lenet5 --mode train --target cuda --arch sm_90a --emit out/lenet5-cuda
      convc compile lenet5 --target cuda --count --emit out/lenet5-counted
    """
    check_arch(arch)
    check_count(count, target)
    with working(f"compiling {model}"):
        lowered = lower_model(model, shape, mode, target, level)
    report = counted(lowered.report, arch) if count else lowered.report
    with working(f"writing {emit}"):
        facts: dict[str, Any] = {"convc": __version__, "model": model, "mode": mode, "target": target}
        facts |= {"input_shape": lowered.input_shape}
        binaries, remark = _binaries(report.source, arch, build, facts)
        files = emission(report.trace, report.source, report.summary, facts, binaries)
        write_emission(emit, files)
    click.echo(f"wrote {emit}: {len(files)} files")
    click.echo(f"{report.headline}; {report.memory}")
    if remark:
        click.echo(remark)
    if build and isinstance(report.source, CSource):
        with working("building"):
            build_logged(report.graph.name, report.source)


def _binaries(source: Source, arch: str, build: bool, facts: dict[str, Any]) -> tuple[Mapping[str, bytes], str]:
    """Files of CUDA's binaries, and a remark where there are none; adds what kernels take to the facts."""
    if not isinstance(source, CudaSource):
        return {}, ""
    facts["arch"] = arch
    if not build:
        return {}, ""
    compiler = find_cuda_compiler()
    if compiler is None:
        return {}, f"no binary for {arch}: there is neither NVRTC nor nvcc; run `{INSTALL}`"
    cubin = build_cubin(source.text, source.entry, arch)
    facts |= {"compiler": compiler, "resources": resources(source, [cubin], arch)}
    return {f"bin/{source.entry}.{arch}.cubin": cubin.data}, _resources_line(facts["resources"], arch)


def _resources_line(found: Mapping[str, Any], arch: str) -> str:
    most = max(found, key=lambda name: found[name]["registers"])
    spills = sum(r["spill_stores"] + r["spill_loads"] for r in found.values())
    low = min(found, key=lambda name: found[name]["occupancy"]["fraction"])
    kernels = "1 kernel" if len(found) == 1 else f"{len(found)} kernels"
    return (
        f"{arch}: {kernels}, {spills} bytes spilled, at most {found[most]['registers']} registers ({most}),"
        f" occupancy {found[low]['occupancy']['fraction']:.0%} and more"
    )
