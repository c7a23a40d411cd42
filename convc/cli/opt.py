"""`convc opt`: passes on a graph in its text form."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from convc.cli.models import read_graph
from convc.errors import ConvcError, IRError
from convc.ir.core import Graph
from convc.passes import pipeline
from convc.passes.registry import PASSES, find_pass
from convc.runtime import cpu


@click.command()
@click.argument("file", metavar="FILE.conv")
@click.option("-p", "--passes", "names", required=True, metavar="PASS,PASS", help="The passes to run, in order.")
@click.option("--each", is_flag=True, help="Print the IR after every pass, not only after the last.")
def opt(file: str, names: str, each: bool) -> None:
    """Print the IR of FILE.conv (- for standard input) after the passes; it is verified before and after each.

    \b
    Examples:
      convc opt net.conv -p canonicalize,fuse_epilogue
      convc opt - -p lower --each < net.conv
    """
    passes = [loaded(name.strip()) for name in names.split(",")]
    trace = pipeline.run(read_graph(file), passes, cpu.target())
    for i, (name, graph) in enumerate(trace.stages):
        if each and i > 0:
            click.echo(f"// after {name}")
        if (each and i > 0) or i == len(trace.stages) - 1:
            click.echo(str(graph))


def loaded(name: str) -> Callable[..., Graph]:
    """The pass of that name. Raises IRError where there is none, and where its package does not load."""
    try:
        function = find_pass(name)
    except ConvcError:
        raise
    except Exception as error:
        raise _refused(name, "does not load", error) from error
    return function if name in PASSES else _guarded(name, function)


def _guarded(name: str, function: Callable[..., Graph]) -> Callable[..., Graph]:
    """A pass of another package: what goes wrong in it is no error of convc's own."""

    @functools.wraps(function)
    def run(graph: Graph, **settings: Any) -> Graph:
        try:
            result = function(graph, **settings)
        except ConvcError:
            raise
        except Exception as error:
            raise _refused(name, "failed", error) from error
        if not isinstance(result, Graph):
            raise IRError(f"a pass returns a graph, but pass '{name}' returned {type(result).__name__}")
        return result

    return run


def _refused(name: str, what: str, error: Exception) -> IRError:
    return IRError(f"pass '{name}' of another package {what}: {type(error).__name__}: {error}; --debug shows where")
