"""The targets by name: what passes may know of each, how it is emitted, and what runs it here."""

from __future__ import annotations

from dataclasses import replace

from convc.build.cache import Cache
from convc.codegen.cuda.emit import emit_cuda
from convc.codegen.emit import emit_c
from convc.codegen.source import Source
from convc.errors import RunError
from convc.ir.core import Graph
from convc.passes.target import CUDA, Target
from convc.runtime import cpu
from convc.runtime.cpu import CpuExecutable
from convc.runtime.executable import Executable

EMITTED = ("cpu", "cuda")
"""Targets that source is written for."""
TARGETS = ("auto", "cpu", "emulator")
"""Targets that programs run on: the emulator runs what is written for cuda."""


def resolve_target(name: str) -> str:
    """The target that a name means on this machine: `auto` is the C target. Raises RunError for any other name."""
    if name not in TARGETS:
        raise RunError(f"unknown target '{name}'; known are {', '.join(TARGETS)}")
    return cpu.CpuExecutable.target if name == "auto" else name


def passes_target(name: str, level: int = CUDA.level) -> Target:
    """The numbers that passes work with; `level` is CUDA's rung of the ladder of optimizations, 0 to 5."""
    return cpu.target() if name == "cpu" else replace(CUDA, level=level)


def emit(graph: Graph, name: str, target: Target) -> Source:
    """The source of a planned graph."""
    return emit_c(graph) if name == "cpu" else emit_cuda(graph, target)


def executable(graph: Graph, name: str, cache: Cache | None = None) -> Executable:
    """A planned graph, built and ready to be called."""
    if name == "cpu":
        return CpuExecutable(graph, cache)
    from convc.runtime.emulator import EmulatorExecutable  # here, for a fast start

    return EmulatorExecutable(graph, cache)
