"""Cold compile of LeNet-5's train step on the C target: a new process and an empty cache each time.

    python benchmarks/cold_compile.py [--rounds 7]

From after `import convc` to the program that can be called. The floor, measured in the same run: what the C
compiler takes for the same units one by one, spread over the cores.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from convc.build.toolchain import COMPILE_FLAGS, find_compiler

COMPILE_ONCE = """
import time, convc
start = time.perf_counter()
convc.compile(convc.models.lenet5(), (64, 1, 28, 28), mode="train", target="cpu", optimizer=convc.SGD(momentum=0.9))
print(time.perf_counter() - start)
"""


def cold_seconds(cache: str) -> float:
    """One compilation in a process of its own, into the empty folder `cache`."""
    environment = {**os.environ, "CONVC_CACHE_DIR": cache}
    command = [sys.executable, "-c", COMPILE_ONCE]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def compiler_seconds(cache: str) -> float:
    """The C compiler's time for the units that lie in `cache`, one after the other, by the number of cores."""
    command = [*find_compiler().argv, *COMPILE_FLAGS, "-o", os.devnull, "-c"]
    start = time.perf_counter()
    for unit in Path(cache).glob("*/*.c"):
        subprocess.run([*command, unit.name], cwd=unit.parent, check=True)
    return (time.perf_counter() - start) / (os.cpu_count() or 1)


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Compilations to time.")
def main(rounds: int) -> None:
    seconds, floors = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            seconds.append(cold_seconds(cache))
            floors.append(compiler_seconds(cache))
    median, floor = statistics.median(seconds), statistics.median(floors)
    print(f"cold compile of LeNet-5's train step: median {median:.2f} s, {min(seconds):.2f} to {max(seconds):.2f} s")
    print(f"the C compiler alone, {os.cpu_count()} cores: {floor:.2f} s; ratio {median / floor:.2f}")


if __name__ == "__main__":
    main()
