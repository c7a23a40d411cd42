"""A tiny model, its data, and a process that runs convc's commands on them again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

MODEL = """
from convc import nn

def tiny():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
"""


@dataclass
class Commands:
    """`run(args, ...)` runs `convc ARGS` in `folder`, as `runner.py` says."""

    folder: Path
    process: subprocess.Popen[str]

    def run(self, *args: str, **request: Any) -> dict[str, Any]:
        send: IO[str] | None = self.process.stdin
        receive: IO[str] | None = self.process.stdout
        assert send is not None
        assert receive is not None
        send.write(json.dumps({"args": list(args), **request}) + "\n")
        send.flush()
        line = receive.readline()
        assert line, "the runner has ended"
        return dict(json.loads(line))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "model.py").write_text(MODEL)
    generator = np.random.default_rng(0)
    arrays = {}
    for part, rows in (("train", 44), ("val", 18), ("test", 21)):
        labels = np.arange(rows, dtype=np.int32) % 3
        images = generator.normal(0, 0.3, (rows, 1, 6, 6)).astype(np.float32)
        for row, label in enumerate(labels):
            images[row, 0, 2 * label : 2 * label + 2] += 1
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    np.savez(folder / "bands.npz", **arrays)
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("runner.py"), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CONVC_NUM_THREADS": "1", "CONVC_TARGET": "cpu", "PYTHONPATH": os.getcwd()},
    )
    yield Commands(folder, process)
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()
