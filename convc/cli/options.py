"""Options that several commands share."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from convc.build.archs import DEFAULT_ARCH
from convc.compiler import MODES
from convc.errors import ConvcError
from convc.runtime.targets import COMPILERS, EMITTED, TARGETS, on_device

DEVICE_HELP = "The GPU to run on, by number.  [default: 0]"
COMPILER_VARIABLE = "CONVC_CUDA_COMPILER"
_EXTENT = re.compile("0*[1-9][0-9]{0,18}")
SHAPE_HELP = "The input's shape; N is the most rows of a batch. Zoo models have one, with N = 64."
MODE_HELP = "The model alone, with its loss and accuracy, or the step that trains it."


def shape_of(text: str) -> tuple[int, ...]:
    """`64,1,28,28` as a tuple; raises click.BadParameter unless it is two numbers or more of at least 1."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 2 or not all(_EXTENT.fullmatch(part) for part in parts):
        raise click.BadParameter(f"a shape is N,C,H,W (or N,features), numbers of at least 1, not '{text}'")
    return tuple(int(part) for part in parts)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL, --shape and --mode."""
    decorators = (
        click.argument("model"),
        click.option("--shape", type=shape_of, metavar="N,C,H,W", help=SHAPE_HELP),
        click.option("--mode", type=click.Choice(MODES), default="infer", show_default=True, help=MODE_HELP),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def in_colour() -> bool:
    """Whether standard output is a terminal that wants colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def target_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--target of commands that write source."""
    choice = click.Choice(EMITTED)
    return click.option("--target", type=choice, default="cpu", show_default=True, help="Write C or CUDA.")(command)


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--target, --device and --compiler of commands that run programs; the command gets `target` alone."""

    @functools.wraps(command)
    def placed(*args: Any, target: str, device: int | None, compiler: str, **rest: Any) -> Any:
        with _cuda_compiler(compiler):
            return command(*args, target=on_device(target, device), **rest)

    decorators = (
        click.option("--target", type=click.Choice(TARGETS), default="auto", show_default=True, help="Where to run."),
        click.option("--device", type=click.IntRange(min=0), metavar="K", help=DEVICE_HELP),
        click.option(
            "--compiler", type=click.Choice(COMPILERS), default="auto", show_default=True, help="What compiles CUDA."
        ),
    )
    for decorate in reversed(decorators):
        placed = decorate(placed)
    return placed


@contextmanager
def _cuda_compiler(name: str) -> Iterator[None]:
    before = os.environ.get(COMPILER_VARIABLE)
    if name != "auto":
        os.environ[COMPILER_VARIABLE] = name
    try:
        yield
    finally:
        if name != "auto":
            del os.environ[COMPILER_VARIABLE]
        if before is not None:
            os.environ[COMPILER_VARIABLE] = before


def level_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--level of commands that write CUDA."""
    text = "With target cuda: how many optimizations its kernels have, from 0 (no shared memory) to 5 (all)."
    return click.option("--level", type=click.IntRange(0, 5), default=5, show_default=True, help=text)(command)


def arch_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--arch of commands that compile CUDA."""
    text = "The GPU architecture that CUDA is compiled for, such as sm_80, sm_90a, sm_100."
    return click.option("--arch", default=DEFAULT_ARCH, show_default=True, metavar="ARCH", help=text)(command)


def refuse(options: Sequence[str], condition: bool, why: str, *, prefix: str = "") -> None:
    """Raises ConvcError for an option that was given where it would be ignored; `prefix`: of its name."""
    given = click.get_current_context().get_parameter_source
    for name in options if condition else ():
        if given(name) is ParameterSource.COMMANDLINE:
            raise ConvcError(f"--{prefix}{name} {why}; leave one of the two out")


@contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on standard error, where that is a terminal, that something is going on."""
    from rich.console import Console  # here, for a fast start

    with Console(stderr=True).status(text):
        yield
