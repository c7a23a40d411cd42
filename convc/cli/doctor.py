"""`convc doctor`: what this machine can run, and what is missing."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import wrap

import click
import numpy as np

from convc.build.cache import Cache
from convc.build.nvidia import INSTALL
from convc.build.nvrtc_library import find_library_file, find_nvrtc
from convc.build.sass import find_nvdisasm
from convc.build.toolchain import cpu_features, find_compiler
from convc.cli.options import in_colour, working
from convc.cli.printing import width
from convc.errors import ConvcError, ToolchainError
from convc.ir.core import Graph
from convc.ir.interp import interpret
from convc.ir.text import parse_graph
from convc.passes import pipeline
from convc.passes.target import CPU, CUDA, Target
from convc.runtime import cpu
from convc.runtime.cuda_probe import INSTALL as INSTALL_CUDA
from convc.runtime.cuda_probe import INSTALL_PYCUDA, driver_devices, what_is_missing
from convc.runtime.executable import Executable
from convc.runtime.pool import get_num_threads
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore

PYTHON = (3, 11)
UNNEEDED = "not needed for the cpu target"
TINY = """
graph @doctor(%x: f32[n<=4,3,6,5], %w: f32[5,3,3,3], %b: f32[5]) {
  %0: f32[n<=4,5,6,5] = conv2d(%x, %w) {padding=[1, 1]}
  %1: f32[n<=4,5,6,5] = bias_add(%0, %b)
  %2: f32[n<=4,5,6,5] = relu(%1)
  return %2
}
"""
TERMS = 3 * 3 * 3 + 1
ROUNDING = TERMS * TERMS * 2.0**-24
"""The most by which a float32 sum of TERMS numbers, each at most 1, can be off: u for each term and addition."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and, where something is missing, the command that mends it."""

    name: str
    text: str
    state: str = "ok"
    mend: str = ""


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what this machine can run, and what is missing, with the command that mends it.

    A tiny convolution is compiled, run, and compared with the interpreter: the exit code is 0 where that
    works, and 1 where it does not.

    \b
    Example:
      convc doctor
    """
    with working("looking"):
        findings = [_checked(name, check) for name, check in CHECKS.items()]
    for f in findings:
        _print(f)
    works = findings[-1].state == "ok"
    click.echo("\nThe cpu target works here." if works else "\nThe cpu target does not work here.")
    ctx.exit(0 if works else 1)


def _print(f: Finding) -> None:
    colours = {"ok": "green", "missing": "red", "-": None}
    mark = click.style(f"{f.state:<8}", fg=colours[f.state]) if in_colour() else f"{f.state:<8}"
    first, *rest = wrap(f.text, width() - 22, break_long_words=False, break_on_hyphens=False)
    click.echo("\n".join([f"{mark}{f.name:<14}{first}", *(f"{'':<22}{line}" for line in rest)]))
    if f.mend:
        click.echo(f"{'':<8}mend it: {f.mend}")  # whole, to be copied


def _checked(name: str, check: Callable[[str], Finding]) -> Finding:
    try:
        return check(name)
    except (ConvcError, OSError) as error:  # OSError: a library that was built, and does not load
        return Finding(name, str(error), "missing")


def _python(name: str) -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= PYTHON:
        return Finding(name, text)
    return Finding(name, f"{text}; convc needs 3.11 or later", "missing", "python3.11 -m venv .venv")


def _compiler(name: str) -> Finding:
    compiler = find_compiler()
    return Finding(name, f"{compiler.version} ({' '.join(compiler.argv)})")


def _processor(name: str) -> Finding:
    features = cpu_features()
    vectors = [flag for flag in ("avx512f", "avx2", "avx", "fma", "neon", "asimd", "sve") if flag in features.flags]
    registers = f"{features.vector_registers} vectors of {CPU.lanes} float32 in registers"
    return Finding(
        name, f"{features.model}, {features.machine}: {', '.join(vectors) or 'no vector flags'}; {registers}"
    )


def _cache(name: str) -> Finding:
    cache = Cache()
    with cache.scratch({"probe": b""}):
        pass  # raises where the folder cannot be written
    files = [path.stat() for path in cache.root.rglob("*") if path.is_file()]
    size = sum(s.st_size for s in files) / 1e6
    return Finding(name, f"{cache.root}: {len(files)} files, {size:.1f} MB, writable")


def _threads(name: str) -> Finding:
    return Finding(name, f"{get_num_threads()}; CONVC_NUM_THREADS or convc.set_num_threads changes it")


def _torch(name: str) -> Finding:
    found = _installed("torch")
    if found:
        return Finding(name, f"torch {found}, the witness of tests and benchmarks")
    return Finding(
        name, "not installed: only tests and benchmarks compare with it", "-", "pip install 'convc[witness]'"
    )


def _matplotlib(name: str) -> Finding:
    found = _installed("matplotlib")
    if found:
        return Finding(name, f"{found}, for the figures of a study")
    return Finding(name, "not installed: a study cannot draw", "missing", "pip install matplotlib")


def _nvrtc(name: str) -> Finding:
    if find_library_file() is None:
        return Finding(name, f"absent; {UNNEEDED}, only to compile CUDA", "-", INSTALL)
    nvrtc = find_nvrtc()
    version = ".".join(map(str, nvrtc.version))
    plain = [arch for arch in nvrtc.archs if arch[-1].isdigit()]
    return Finding(name, f"{version} at {nvrtc.path}, for {', '.join(plain)}; {UNNEEDED}")


def _nvdisasm(name: str) -> Finding:
    try:
        return Finding(name, f"{find_nvdisasm()}; {UNNEEDED}")
    except ToolchainError:
        return Finding(name, f"absent; {UNNEEDED}, only to read SASS", "-", INSTALL)


def _driver(name: str) -> Finding:
    devices = driver_devices()
    if devices is None:
        return Finding(name, f"absent; {UNNEEDED}", "-")
    return Finding(
        name, f"present, with {devices} GPU{'' if devices == 1 else 's'}; {UNNEEDED}", "ok" if devices else "-"
    )


def _cuda_package(name: str) -> Finding:
    use, command = {
        "PyCUDA": ("to run CUDA", INSTALL_PYCUDA),
        "cuda-bindings": ("to launch a step at once, as a CUDA graph", INSTALL_CUDA),
    }[name]
    if found := _installed(name.lower()):
        return Finding(name, f"{found}, {use}; {UNNEEDED}")
    return Finding(name, f"absent; {UNNEEDED}, only {use}", "-", command)


def _cuda_target(name: str) -> Finding:
    if missing := what_is_missing():
        return Finding(name, missing, "-")
    from convc.runtime.cuda import CudaExecutable
    from convc.runtime.cuda_device import open_device

    with _scratch_cache() as cache:
        error = _try(CUDA, lambda graph: CudaExecutable(graph, cache))
    device = open_device(0)
    if error > ROUNDING:
        return Finding(name, f"a convolution on {device.name} is wrong by {error:.2g}", "missing", "another driver")
    return Finding(name, f"ran a convolution on {device.name} ({device.arch}); it is off by {error:.1g}")


def _cpu_target(name: str) -> Finding:
    """Compiles in a cache of its own, so that the compiler does run, and compares with the interpreter."""
    with _scratch_cache() as cache:
        error = _try(cpu.target(), lambda graph: cpu.CpuExecutable(graph, cache))
    if error > ROUNDING:
        return Finding(name, f"a convolution is wrong by {error:.2g}", "missing", "CONVC_CC=... with another compiler")
    return Finding(name, f"compiled and ran a convolution; it differs from the interpreter by {error:.1g}")


def _try(target: Target, build: Callable[[Graph], Executable]) -> float:
    """How far off a tiny convolution comes out."""
    graph = parse_graph(TINY)
    draw = np.random.default_rng(0)
    inputs = {v.name: draw.uniform(-1, 1, [int(e) for e in v.type.shape]).astype(np.float32) for v in graph.inputs}
    trace = pipeline.run(graph, pipeline.pipeline(train=False), target)
    y = Program(trace, build(trace.stages[-1][1]), ParameterStore())(**inputs)
    return float(np.abs(y - interpret(graph, inputs)["2"]).max())


@contextmanager
def _scratch_cache() -> Iterator[Cache]:
    with tempfile.TemporaryDirectory(prefix="convc-doctor-") as folder:
        yield Cache(Path(folder) / "cache")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


CHECKS: dict[str, Callable[[str], Finding]] = {
    "Python": _python,
    "C compiler": _compiler,
    "CPU": _processor,
    "cache": _cache,
    "threads": _threads,
    "PyTorch": _torch,
    "matplotlib": _matplotlib,
    "CUDA driver": _driver,
    "PyCUDA": _cuda_package,
    "cuda-bindings": _cuda_package,
    "NVRTC": _nvrtc,
    "nvdisasm": _nvdisasm,
    "cuda target": _cuda_target,
    "cpu target": _cpu_target,
}
"""In order; the last decides whether the cpu target works."""
