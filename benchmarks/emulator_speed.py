"""How fast the emulator runs: lane-instructions a second, with and without its check, on one core.

    python benchmarks/emulator_speed.py

Needs NVRTC, as the emulator's tests do.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from convc.build.nvrtc import compile_ptx
from convc.emulator import Buffer, Kernel, Module


def buffer(name: str, array: np.ndarray) -> Buffer:
    return Buffer(name, array.reshape(-1).view(np.uint8))


def measure(kernel: Kernel, grid: tuple[int, int, int], arguments: list[Buffer | int]) -> None:
    for check in (True, False):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            result = kernel.launch(grid, (256, 1, 1), arguments, check=check)
            seconds.append(time.perf_counter() - start)
            assert not result.reports, result.reports[0]
        rate = result.lane_instructions / min(seconds) / 1e6
        name = f"{kernel.name}, {'with' if check else 'without'} the check"
        print(f"{name:32} {min(seconds) * 1e3:8.1f} ms {rate:8.0f} million lane-instructions/s")


def main() -> None:
    module = Module(compile_ptx(Path(__file__).with_suffix(".cu").read_text(), "kernel", "sm_90a"))
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((256, 256), np.float32) for _ in range(3))
    measure(module["sgemm"], (4, 4, 1), [buffer("A", a), buffer("B", b), buffer("C", c), 256, 256, 256])
    assert np.allclose(c, a @ b, atol=1e-3)
    x = rng.standard_normal(1 << 20, np.float32)
    measure(module["pointwise"], (32, 1, 1), [buffer("x", x), buffer("y", np.zeros_like(x)), x.size])


if __name__ == "__main__":
    main()
