"""LeNet-5's train step, batch 64, beside PyTorch in one process: interleaved, medians and ratios.

    python benchmarks/lenet_step.py [--threads 1 2] [--rounds 60] [--json FILE]

Peers: PyTorch eager, channels_last, torch.compile, and both. Every round times each of them once, in turn,
so that a noisy machine disturbs all alike. The FMA peak is measured in the same run.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from peak import fma_peak
from rich.console import Console
from rich.table import Table
from torch import nn as tnn

import convc

BATCH, STEPS = 64, 10
PAUSE = 0.05
"""Seconds before each peer's turn: threads of the one before may spin for a while and would take its cores."""
FLOPS_FORWARD = 2 * BATCH * (28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10)
FLOPS_STEP = 3 * FLOPS_FORWARD - 2 * BATCH * 28 * 28 * 6 * 25  # the first layer needs no data gradient


def torch_lenet() -> tnn.Module:
    return tnn.Sequential(
        tnn.Conv2d(1, 6, 5, padding=2), tnn.ReLU(), tnn.MaxPool2d(2),
        tnn.Conv2d(6, 16, 5), tnn.ReLU(), tnn.MaxPool2d(2), tnn.Flatten(),
        tnn.Linear(400, 120), tnn.ReLU(), tnn.Linear(120, 84), tnn.ReLU(), tnn.Linear(84, 10),
    )  # fmt: skip


def torch_step(images: torch.Tensor, labels: torch.Tensor, channels_last: bool, compiled: bool) -> Callable[[], object]:
    model = torch_lenet()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=True)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(x), y)

    forward = torch.compile(loss_of) if compiled else loss_of

    def step() -> None:
        optimizer.zero_grad()
        forward(images, labels).backward()
        optimizer.step()

    return step


def measure(peers: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds a step of each peer; the first rounds warm up and do not count."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    for round_number in range(rounds + 3):
        for name, step in peers.items():
            time.sleep(PAUSE)
            step()
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            if round_number >= 3:
                times[name].append((time.perf_counter() - start) / STEPS)
    return {name: statistics.median(t) for name, t in times.items()}


@click.command(help=__doc__)
@click.option("--threads", multiple=True, type=int, default=(1, 2))
@click.option("--rounds", type=int, default=60)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(threads: tuple[int, ...], rounds: int, json_path: Path | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, 1, 28, 28)).astype(np.float32)
    y = rng.integers(0, 10, BATCH).astype(np.int32)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y).long()
    started = time.perf_counter()
    step = convc.compile(convc.models.lenet5(), (BATCH, 1, 28, 28), mode="train", optimizer=convc.SGD(momentum=0.9))
    print(f"convc compiled in {time.perf_counter() - started:.2f} s")
    results = []
    for count in threads:
        torch.set_num_threads(count)
        convc.set_num_threads(count)
        peers = {
            "convc": lambda: step(x, y, lr=0.01),
            "eager": torch_step(tx, ty, False, False),
            "eager channels_last": torch_step(tx, ty, True, False),
            "torch.compile": torch_step(tx, ty, False, True),
            "torch.compile channels_last": torch_step(tx, ty, True, True),
        }
        peak = fma_peak(count)
        medians = measure(peers, rounds)
        peak = max(peak, fma_peak(count))
        show(count, medians, peak)
        results.append({"threads": count, "seconds": medians, "fma_peak_gflops": peak, "flops": FLOPS_STEP})
    if json_path:
        json_path.write_text(json.dumps(results, indent=2) + "\n")


def show(threads: int, medians: dict[str, float], peak: float) -> None:
    best = min(t for name, t in medians.items() if name != "convc")
    table = Table(title=f"LeNet-5 train step, batch {BATCH}, {threads} thread(s); FMA peak {peak:.0f} GFLOP/s")
    for column in ("", "µs a step", "GFLOP/s", "of peak", "convc is faster by"):
        table.add_column(column, justify="left" if not column else "right")
    for name, t in medians.items():
        rate = FLOPS_STEP / t * 1e-9
        table.add_row(name, f"{t * 1e6:.0f}", f"{rate:.1f}", f"{rate / peak:.0%}", f"{t / medians['convc']:.2f}x")
    Console().print(table)
    print(f"best peer / convc: {best / medians['convc']:.2f}x")


if __name__ == "__main__":
    main()
