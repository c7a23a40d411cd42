"""`convc opt`: passes on a graph in its text form."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from convc.cli.models import function_in, place_in_model, placed_errors, read_graph
from convc.cli.options import working
from convc.errors import ConvcError, IRError
from convc.ir.core import Graph
from convc.passes import pipeline
from convc.passes.registry import PASSES, find_pass
from convc.runtime import cpu


@click.command()
@click.argument("file", metavar="FILE.conv")
@click.option("-p", "--passes", "names", required=True, metavar="PASS,PASS",
              help="The passes to run, in order: names, or file.py:function.")  # fmt: skip
@click.option("--each", is_flag=True, help="Print the IR after every pass, not only after the last.")
@click.option("--check", is_flag=True, help="Compare the numbers before and after every pass, in the interpreter.")
def opt(file: str, names: str, each: bool, check: bool) -> None:
    """Print the IR of FILE.conv (- for standard input) after the passes; it is verified before and after each.

    A pass is one of `convc passes`, or a function of a file of your own that takes a graph and returns one. With
    --check both must compute the same, on random inputs.

    \b
    Examples:
      convc opt net.conv -p canonicalize,fuse_epilogue
      convc opt net.conv -p canonicalize,my_passes.py:drop_relu --check
      convc opt - -p lower --each < net.conv
    """
    passes = [loaded(name.strip()) for name in names.split(",")]
    trace = pipeline.run(read_graph(file), passes, cpu.target())
    if check:
        with working("comparing"):
            _check(trace)
    for i, (name, graph) in enumerate(trace.stages):
        if each and i > 0:
            click.echo(f"// after {name}")
        if (each and i > 0) or i == len(trace.stages) - 1:
            click.echo(str(graph))


def _check(trace: pipeline.Trace) -> None:
    """Raises IRError, with the pass and the value, where a pass changed what the graph computes."""
    from convc.testing.rewrite import assert_same_numbers  # here: a run without --check needs no interpreter

    for (_, before), (name, after) in zip(trace.stages, trace.stages[1:]):
        # Passes of convc's own add results (gradients), or make updates of them.
        outputs = min(len(before.outputs), len(after.outputs)) if name in PASSES else None
        try:
            assert_same_numbers(before, after, outputs=outputs)
        except AssertionError as error:
            raise IRError(f"pass {name} changed what the graph computes: {error}") from None


def loaded(name: str) -> Callable[..., Graph]:
    """The pass of that name, or of `file.py:function`. Raises ConvcError where there is none or it does not load."""
    path, _, function = name.rpartition(":")
    if path.endswith(".py"):
        return _guarded(name, function_in(Path(path), function), Path(path))
    if name.endswith(".py"):
        raise IRError(f"a pass in Python is named with its function, {name}:function, but {name} names none")
    try:
        found = find_pass(name)
    except ConvcError:
        raise
    except Exception as error:
        raise _refused(name, "does not load", error) from error
    return found if name in PASSES else _guarded(name, found, None)


def _guarded(name: str, function: Callable[..., Graph], path: Path | None) -> Callable[..., Graph]:
    """A pass of a user's file, or of another package: what goes wrong in it is no error of convc's own."""

    def run(graph: Graph, **settings: Any) -> Graph:
        with placed_errors(path) if path else nullcontext():
            try:
                result = function(graph, **settings)
            except ConvcError:
                raise
            except Exception as error:
                if path and place_in_model(error):
                    raise
                raise _refused(name, "failed", error) from error
        if not isinstance(result, Graph):
            raise IRError(f"a pass returns a graph, but pass '{name}' returned {type(result).__name__}")
        return result

    functools.update_wrapper(run, function)
    run.__name__ = name
    return run


def _refused(name: str, what: str, error: Exception) -> IRError:
    own = "" if ".py:" in name else " of another package"
    return IRError(f"pass '{name}'{own} {what}: {type(error).__name__}: {error}; --debug shows where")
