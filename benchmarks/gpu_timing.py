"""Timing on a GPU: events, a cold L2 before each run, peers in turn, and what the device can do at most."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

from convc.runtime.cuda import CudaExecutable
from convc.runtime.cuda_device import Device, driver

FLUSH = 256 << 20
"""Bytes written before each run: more than any L2 holds."""
WARM_UP = 3
TORCH = "cuda"
"""Where PyTorch's tensors are made."""


class Peer(Protocol):
    """Something that is timed: `time` gives the seconds of one run."""

    def time(self) -> float: ...


class ConvcPeer:
    """A program of convc, whose inputs lie on the device; `runs` of them are timed at once."""

    def __init__(self, executable: CudaExecutable, flush: bool = True, runs: int = 1) -> None:
        self._executable, self._device, self._runs = executable, executable.device, runs
        self._flushed = scratch(self._device) if flush else None
        with self._device.active():
            self._events = driver().Event(), driver().Event()

    def time(self) -> float:
        start, end = self._events
        with self._device.active():
            stream = self._device.stream
            if self._flushed is not None:
                memory, size = self._flushed
                driver().memset_d8_async(memory, 0, size, stream)
            start.record(stream)
            for _ in range(self._runs):
                self._executable.enqueue()
            end.record(stream)
            end.synchronize()
            return 1e-3 * float(start.time_till(end)) / self._runs


class TorchPeer:
    """A call of PyTorch on its own stream of the same device."""

    def __init__(self, torch: Any, run: Callable[[], object], flush: bool = True, runs: int = 1) -> None:
        self._torch, self._run, self._runs = torch, run, runs
        self._flushed = torch.empty(FLUSH, dtype=torch.uint8, device=TORCH) if flush else None
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def time(self) -> float:
        start, end = self._events
        if self._flushed is not None:
            self._flushed.zero_()
        start.record()
        for _ in range(self._runs):
            self._run()
        end.record()
        end.synchronize()
        return 1e-3 * float(start.elapsed_time(end)) / self._runs


@cache
def scratch(device: Device) -> tuple[Any, int]:
    """Memory to flush the L2 with, and its bytes."""
    size = min(FLUSH, device.memory()[0] // 4)
    return device.allocate(size, "what flushes the L2"), size


def measure(peers: Mapping[str, Peer], rounds: int) -> dict[str, float]:
    """The median seconds of each: every round runs all of them in turn, so that a change of clock meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(WARM_UP + rounds):
        for name, peer in peers.items():
            seconds = peer.time()
            if number >= WARM_UP:
                times[name].append(seconds)
    return {name: statistics.median(t) for name, t in times.items()}


def copy_bandwidth(device: Device, size: int, rounds: int) -> float:
    """GB/s of copies from the device's memory to itself, bytes read and written both counted."""
    drv = driver()
    source, target = device.allocate(size, "a copy"), device.allocate(size, "a copy")
    with device.active():
        drv.memset_d8_async(source, 0, size, device.stream)
        events = drv.Event(), drv.Event()
        times = []
        for _ in range(rounds + WARM_UP):
            events[0].record(device.stream)
            drv.memcpy_dtod_async(target, source, size, device.stream)
            events[1].record(device.stream)
            events[1].synchronize()
            times.append(1e-3 * events[0].time_till(events[1]))
    return 2e-9 * size / max(statistics.median(times[WARM_UP:]), 1e-9)


def matmul_rate(torch: Any, n: int, rounds: int) -> float:
    """GFLOP/s of a product of two f32 n x n matrices, without TF32: what multiply-adds the device gets to at most."""
    a, b = (torch.randn(n, n, device=TORCH) for _ in range(2))
    seconds = measure({"matmul": TorchPeer(torch, lambda: a @ b, flush=False)}, rounds)["matmul"]
    return 2e-9 * n**3 / seconds
