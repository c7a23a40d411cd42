"""`convc inspect --ptx` and `--sass`: what the CUDA of some kernels is compiled to."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from convc.build.cuda import build_cubin, build_ptx
from convc.build.sass import disassemble, listing
from convc.cli.options import working
from convc.codegen.cuda.emit import CudaSource
from convc.codegen.source import Kernel

_ENTRY = re.compile(r"^(?:\t*\.visible )?\.entry (\w+)\(", re.MULTILINE)


def print_machine_code(source: CudaSource, kernels: Sequence[Kernel], arch: str, sass: bool) -> None:
    """Prints the launches that hold the kernels: kernels that share one come together."""
    names = {launch.name for launch in source.launches if any(k in kernels for k in launch.kernels)}
    with working(f"compiling for {arch}"):
        if sass:
            functions = disassemble(build_cubin(source.text, source.entry, arch).data)
            text = listing({name: code for name, code in functions.items() if name in names})
        else:
            text = "\n".join(t for name, t in entries(build_ptx(source.text, source.entry, arch)) if name in names)
    click.echo(text)


def entries(ptx: str) -> list[tuple[str, str]]:
    """(name, text) of every kernel of a PTX module."""
    starts = [(m.start(), m[1]) for m in _ENTRY.finditer(ptx)]
    ends = [start for start, _ in starts[1:]] + [len(ptx)]
    return [(name, ptx[start:end].rstrip() + "\n") for (start, name), end in zip(starts, ends)]
