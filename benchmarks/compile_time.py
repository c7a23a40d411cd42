"""What compiling costs for each node of a graph, pass by pass: from 50 nodes to 1,500, for both targets.

    python benchmarks/compile_time.py [--family chain] [--target cpu] [--sizes 50,150,500,1500] [--gcc]

No program is built: passes and emission are timed, in seconds of a processor, so that what else runs is of no matter;
the verifier's time counts with the pass that it follows. The growth exponent is the slope of log(seconds) over
log(nodes): 1 where time grows with the nodes, 2 where it grows with their square.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

import convc
from convc import nn
from convc.build.toolchain import COMPILE_FLAGS, find_compiler
from convc.codegen.source import Source
from convc.compiler import model_graph
from convc.ir.core import Graph
from convc.ir.text import parse_graph
from convc.ir.verify import verify
from convc.passes.pipeline import Pass, pass_name, pipeline
from convc.passes.registry import apply
from convc.runtime.targets import EMITTED, emit, passes_target

BATCH = 8
SHARE = 0.02
"""Passes that take a smaller part of the whole, at the largest size, are one line together."""


def chain(nodes: int) -> tuple[Graph, bool]:
    """One sigmoid after the other."""
    lines = [f"%{i + 1}: f32[n<={BATCH},64] = sigmoid(%{i})" for i in range(nodes)]
    return parse_graph("\n".join([f"graph @chain(%0: f32[n<={BATCH},64]) {{", *lines, f"return %{nodes} }}"])), False


def branches(nodes: int) -> tuple[Graph, bool]:
    """Small branches side by side, each a product, a bias, an activation and a sum over the rows: all are returned."""
    count = max(1, nodes // 4)
    head = ", ".join(["%x: f32[n<=8,12]", *(f"%w{i}: f32[5,12], %b{i}: f32[5]" for i in range(count))])
    lines = [
        f"%p{i}: f32[n<=8,5] = linear(%x, %w{i}) %q{i}: f32[n<=8,5] = bias_add(%p{i}, %b{i})"
        f" %r{i}: f32[n<=8,5] = tanh(%q{i}) %s{i}: f32[5] = sum(%r{i}) {{axes=[0]}}"
        for i in range(count)
    ]
    returned = ", ".join(f"%s{i}" for i in range(count))
    return parse_graph("\n".join([f"graph @branches({head}) {{", *lines, f"return {returned} }}"])), False


def _residual(nodes: int, mode: str) -> Graph:
    """Blocks of a convolution with bias, a ReLU and the sum with what came in."""
    count = max(1, nodes // 4)
    blocks = [nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())) for _ in range(count)]
    tail = [nn.Flatten(), nn.Linear(4 * 8 * 8, 10)] if mode == "train" else []
    return model_graph(nn.Sequential(*blocks, *tail), (BATCH, 4, 8, 8), mode, "cross_entropy")[1]  # type: ignore[arg-type]


def residual(nodes: int) -> tuple[Graph, bool]:
    return _residual(nodes, "infer"), False


def training(nodes: int) -> tuple[Graph, bool]:
    """The train step of residual blocks: as many nodes again go backward, and each parameter has its update."""
    return _residual(nodes // 4, "train"), True


FAMILIES: dict[str, Callable[[int], tuple[Graph, bool]]] = {
    "chain": chain,
    "branches": branches,
    "residual": residual,
    "training": training,
}


def timed(graph: Graph, train: bool, name: str) -> tuple[dict[str, float], Source]:
    """The seconds of every pass, and of emission."""
    target = passes_target(name)
    steps: Sequence[Pass] = pipeline(train, convc.SGD(momentum=0.9).rule)
    seconds: dict[str, float] = {}
    for step in steps:
        start = time.process_time()
        graph = verify(apply(step, graph, target))
        key = pass_name(step)
        seconds[key] = seconds.get(key, 0) + time.process_time() - start
    start = time.process_time()
    source = emit(graph, name, target)
    source.files()
    seconds["emission"] = time.process_time() - start
    return seconds, source


def compiler_seconds(source: Source) -> float:
    """The C compiler's time for the same source, on one core, one unit after the other."""
    command = [*find_compiler().argv, *COMPILE_FLAGS, "-o", os.devnull, "-c"]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in source.files().items():
            Path(folder, name).write_text(text)
        start = time.perf_counter()
        for name in sorted(source.files()):
            if name.endswith(".c"):
                subprocess.run([*command, name], cwd=folder, check=True)
        return time.perf_counter() - start


def exponent(nodes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of the line through the logarithms."""
    if len(nodes) < 2 or min(seconds) <= 0:
        return float("nan")
    return float(np.polyfit(np.log(nodes), np.log(seconds), 1)[0])


def line(name: str, nodes: Sequence[int], seconds: Sequence[float]) -> str:
    each = "".join(f"{1000 * s / n:>10.3f}" for n, s in zip(nodes, seconds))
    return f"  {name:<20}{each}{seconds[-1]:>10.2f}{exponent(nodes, seconds):>8.2f}"


def report(family: str, target: str, sizes: Sequence[int], limit: float, gcc: bool) -> None:
    """The table of one family on one target; sizes behind one that took more than `limit` seconds are left out."""
    nodes: list[int] = []
    columns: list[dict[str, float]] = []
    for size in sizes:
        graph, train = FAMILIES[family](size)
        found, source = timed(graph, train, target)
        nodes.append(size)
        columns.append({**found, **({"C compiler": compiler_seconds(source)} if gcc and target == "cpu" else {})})
        if sum(found.values()) > limit:
            break
    total = [sum(s for k, s in c.items() if k != "C compiler") for c in columns]
    large = [k for k in columns[-1] if k != "C compiler" and columns[-1][k] >= SHARE * total[-1]]
    small = [sum(s for k, s in c.items() if k not in large and k != "C compiler") for c in columns]
    print(f"{family}, {target}: milliseconds a node, then seconds in all, and the growth exponent")
    print(f"  {'nodes':<20}{''.join(f'{n:>10}' for n in nodes)}{'seconds':>10}{'growth':>8}")
    for key in large:
        print(line(key, nodes, [c.get(key, 0.0) for c in columns]))
    print(line("all else", nodes, small))
    print(line("in all", nodes, total))
    if gcc and target == "cpu":
        print(line("C compiler, one core", nodes, [c["C compiler"] for c in columns]))
    print(flush=True)


@click.command()
@click.option("--family", "families", type=click.Choice(list(FAMILIES)), multiple=True, help="Graphs; all by default.")
@click.option("--target", "targets", type=click.Choice(EMITTED), multiple=True, help="Both by default.")
@click.option("--sizes", default="50,150,500,1500", show_default=True, help="Numbers of nodes.")
@click.option("--limit", default=60.0, show_default=True, help="Seconds after which larger sizes are left out.")
@click.option("--gcc", is_flag=True, help="Also time the C compiler on the C source, on one core.")
def main(families: Sequence[str], targets: Sequence[str], sizes: str, limit: float, gcc: bool) -> None:
    for family in families or FAMILIES:
        for target in targets or EMITTED:
            report(family, target, [int(s) for s in sizes.split(",")], limit, gcc)


if __name__ == "__main__":
    main()
