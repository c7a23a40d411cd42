"""The targets by name: what passes may know of each, how it is emitted, and what runs it here."""

from __future__ import annotations

import os
from dataclasses import replace

from convc.build.cache import Cache
from convc.checks import choice, shown
from convc.codegen.emit import emit_c
from convc.codegen.source import Source
from convc.errors import RunError
from convc.ir.core import Graph
from convc.ir.lexer import did_you_mean
from convc.passes.target import CUDA, Target
from convc.runtime import cpu
from convc.runtime.cpu import CpuExecutable
from convc.runtime.executable import Executable

EMITTED = ("cpu", "cuda")
"""Targets that source is written for."""
TARGETS = ("auto", "cpu", "cuda", "emulator")
"""Targets that programs run on: the emulator runs what is written for cuda."""

COMPILERS = ("auto", "nvrtc", "nvcc")
"""Of CUDA, for target cuda: `auto` is $CONVC_CUDA_COMPILER, else NVRTC where it is installed, else nvcc."""


def resolve_target(name: str) -> str:
    """The target that a name means on this machine, `cuda:1` for the GPU of that number.

    `auto` is $CONVC_TARGET where that is set; else cuda where PyCUDA and a GPU are there, else the C target. Raises
    RunError for any other name, and for one in the variable.
    """
    kind, _, number = name.partition(":") if isinstance(name, str) else (name, "", "")
    choice(kind, "target", TARGETS)
    if kind != name and not (kind in ("auto", "cuda") and number.isascii() and number.isdecimal() and len(number) < 5):
        raise RunError(
            f"unknown target {shown(name)}; known are {', '.join(TARGETS)}, and cuda:1 for the GPU of a number"
        )
    if kind != "auto":
        return name
    asked = os.environ.get("CONVC_TARGET", "auto")
    if asked not in TARGETS:
        raise RunError(
            f"CONVC_TARGET is one of {', '.join(TARGETS)}, not {shown(asked)}: set it to one, or unset it"
            f"{did_you_mean(asked, TARGETS)}"
        )
    if asked == "auto":
        # Imported here: only who asks for nothing else has a driver looked for.
        from convc.runtime.cuda_probe import what_is_missing

        asked = "cpu" if what_is_missing() else "cuda"
    if number and asked != "cuda":
        raise RunError(f"a device is a GPU's number, and target auto means {asked} here; leave out --device")
    return f"{asked}:{number}" if number else asked


def on_device(target: str, number: int | None) -> str:
    """The target on the GPU of that number, None standing for the first. Raises RunError for one without GPUs."""
    if number is None:
        return target
    if target not in ("auto", "cuda"):
        raise RunError(f"--device goes with target cuda, not with {target}; leave one of them out")
    return f"{target}:{number}"


def kind_of(target: str) -> str:
    """The target without the number of a device, on which no result depends."""
    return target.partition(":")[0]


def passes_target(name: str, level: int = CUDA.level) -> Target:
    """The numbers that passes work with; `level` is CUDA's rung of the ladder of optimizations, 0 to 5."""
    return cpu.target() if name == "cpu" else replace(CUDA, level=level)


def emit(graph: Graph, name: str, target: Target) -> Source:
    """The source of a planned graph."""
    if name == "cpu":
        return emit_c(graph)
    from convc.codegen.cuda.emit import emit_cuda  # here, for a fast start of the C target

    return emit_cuda(graph, target)


def executable(graph: Graph, name: str, cache: Cache | None = None) -> Executable:
    """A planned graph, built and ready to be called."""
    if name == "cpu":
        return CpuExecutable(graph, cache)
    kind, _, number = name.partition(":")
    if kind == "cuda":
        from convc.runtime.cuda import CudaExecutable

        return CudaExecutable(graph, cache, device=int(number or 0))
    from convc.runtime.emulator import EmulatorExecutable  # here, for a fast start

    return EmulatorExecutable(graph, cache)
