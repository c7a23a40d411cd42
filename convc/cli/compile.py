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
from convc.cli.lowering import OPTIMIZER, Lowered, lower_model
from convc.cli.options import arch_option, level_option, model_options, refuse, target_option, working
from convc.cli.printing import say
from convc.codegen.cuda.emit import CudaSource
from convc.codegen.emission import emission, write_emission
from convc.codegen.emit import CSource
from convc.codegen.names import count as abbreviated
from convc.codegen.source import Source
from convc.standalone import Weights, standalone_files

MAIN_OPTIONS = ("main", "weights", "data", "seed")


@click.command("compile")
@model_options
@target_option
@arch_option
@level_option
@count_option
@click.option("--emit", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to write.")
@click.option(
    "--build/--no-build", default=True, show_default=True, help="Compile the source too, to be sure that it compiles."
)
@click.option("--main/--no-main", default=True, show_default=True,
              help="With target cpu: add a main, weights and sample images.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE",
              help="With target cpu: weights of the model for the main. Where left out, untrained ones.")  # fmt: skip
@click.option(
    "--data",
    metavar="DATA",
    help="With target cpu: where sample images come from. Where left out, mnist5k, or made-up ones.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, metavar="N",
              help="With target cpu: seed of untrained weights and of the order of images.")  # fmt: skip
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
    main: bool,
    weights: Path | None,
    data: str | None,
    seed: int,
) -> None:
    """Write the program of MODEL to a folder: the IR after every pass, the source, and a manifest.

    MODEL is a name from the zoo (lenet5, vgg16, ...), file.py:function, or file.conv. A folder that an earlier
    call wrote is replaced; one that holds anything else is left alone.

    With target cpu the folder of a model of layers is a program of its own: it has a main, weights and sample
    images, and its README says the one line that builds it. A main that trains reads MNIST's files too.

    CUDA needs no GPU: with the extra `emit`, or a toolkit's nvcc, the folder also gets the binary for --arch, and
    the manifest what each launch takes.

    \b
    Examples:
      convc compile lenet5 --mode train --emit out/lenet5
      convc compile lenet5 --mode train --target cuda --emit out/lenet5-cuda
      convc compile lenet5 --target cuda --count --emit out/counted
    """
    check_arch(arch)
    check_count(count, target)
    refuse(MAIN_OPTIONS, target != "cpu", f"is for target cpu, not {target}")
    refuse(MAIN_OPTIONS[1:], not main, "is for the main that --no-main leaves out")
    with working(f"compiling {model}"):
        lowered = lower_model(model, shape, mode, target, level)
    refuse(MAIN_OPTIONS, lowered.model is None, f"is for models of layers, and {model} is a graph")
    report = counted(lowered.report, arch) if count else lowered.report
    with working(f"writing {emit}"):
        facts: dict[str, Any] = {"convc": __version__, "model": model, "mode": mode, "target": target}
        facts |= {"input_shape": lowered.input_shape}
        more, remarks = _binaries(report.source, arch, build, facts)
        if main:
            more, remarks = _main(lowered, mode, Weights(weights, seed), data, emit, facts) or (more, remarks)
        files = emission(report.trace, report.source, report.summary, facts, more)
        write_emission(emit, files)
    click.echo(f"wrote {emit}: {len(files)} files, {abbreviated(sum(map(len, files.values())))}B")
    for line in (*report.lines, *remarks):
        say(line)
    if build and isinstance(report.source, CSource):
        with working("building"):
            build_logged(report.graph.name, report.source)


def _main(
    lowered: Lowered,
    mode: Literal["infer", "eval", "train"],
    weights: Weights,
    data: str | None,
    folder: Path,
    facts: dict[str, Any],
) -> tuple[Mapping[str, bytes], list[str]] | None:
    """The files that make a model's C a program, and how to build it; None where it is CUDA, or a graph's."""
    source = lowered.report.source
    if not isinstance(source, CSource) or lowered.model is None or lowered.builder is None:
        return None
    files, program = standalone_files(
        lowered.model, lowered.builder, lowered.report.trace, source, mode, OPTIMIZER, weights, data
    )
    facts |= {"program": program.program, "build": program.build_line}
    return files, [f"build it:  cd {folder}", f"           {program.build_line}", f"run it:    ./{program.program}"]


def _binaries(source: Source, arch: str, build: bool, facts: dict[str, Any]) -> tuple[Mapping[str, bytes], list[str]]:
    """Files of CUDA's binaries, and remarks; adds what launches take to the facts."""
    if not isinstance(source, CudaSource):
        return {}, []
    facts["arch"] = arch
    if not build:
        return {}, []
    compiler = find_cuda_compiler()
    if compiler is None:
        return {}, [f"no binary for {arch}: there is neither NVRTC nor nvcc; run `{INSTALL}`"]
    cubin = build_cubin(source.text, source.entry, arch)
    facts |= {"compiler": compiler, "resources": resources(source, [cubin], arch)}
    return {f"bin/{source.entry}.{arch}.cubin": cubin.data}, [_resources_line(facts["resources"], arch)]


def _resources_line(found: Mapping[str, Any], arch: str) -> str:
    most = max(found, key=lambda name: found[name]["registers"])
    spills = sum(r["spill_stores"] + r["spill_loads"] for r in found.values())
    low = min(found, key=lambda name: found[name]["occupancy"]["fraction"])
    launches = "1 launch" if len(found) == 1 else f"{len(found)} launches"
    return (
        f"{arch}: {launches}, {spills} bytes spilled, at most {found[most]['registers']} registers ({most}),"
        f" occupancy {found[low]['occupancy']['fraction']:.0%} and more"
    )
