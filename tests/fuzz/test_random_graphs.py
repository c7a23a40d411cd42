"""Random graphs: a slice whose seed is the commit's in every run of the tests, thousands with fresh seeds among the
slow ones. Shrunk cases are written to the folder that a failure names, with the command that replays them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

import pytest

from convc.testing.fuzz.run import run_jobs
from convc.testing.fuzz.sample import Job
from convc.testing.fuzz.seeds import commit_seed
from tests.build.helpers import needs_nvrtc

CHUNKS = range(4)
"""The workers of the test run take these side by side."""
APART = 1_000_000
"""Between the seeds of chunks and of tests."""


def run(check: str, target: str, graphs: int, first: int, folder: Path) -> None:
    """Fails with each case that is wrong; says what ran."""
    print(f"{graphs} graphs from seed {first}: python -m convc.testing.fuzz --check {check} --target {target}"
          f" --seed {first} --graphs {graphs}")  # fmt: skip
    summary = run_jobs([Job(check, target, first + i) for i in range(graphs)], folder)
    print(summary)
    assert not summary.failures, "\n\n".join(map(str, summary.failures))
    assert sum(summary.graphs.values()) == graphs


@pytest.mark.parametrize("chunk", CHUNKS)
def test_programs(chunk: int, tmp_path: Path) -> None:
    run("programs", "cpu", 10, commit_seed() + chunk * APART, tmp_path)


@needs_nvrtc
def test_programs_in_the_emulator(tmp_path: Path) -> None:
    run("programs", "emulator", 10, commit_seed(), tmp_path)


@pytest.mark.parametrize("target", ["cpu", "emulator"])
def test_passes(target: str, tmp_path: Path) -> None:
    """The passes of both targets; the emulator's are CUDA's, and nothing of it is needed here."""
    run("passes", target, 30, commit_seed() + 5 * APART, tmp_path)


@pytest.mark.parametrize("chunk", CHUNKS[:2])
def test_invalid_graphs(chunk: int, tmp_path: Path) -> None:
    run("invalid", "cpu", 40, commit_seed() + chunk * APART, tmp_path)


@pytest.mark.witness
@pytest.mark.parametrize("chunk", CHUNKS[:2])
def test_meaning(chunk: int, tmp_path: Path) -> None:
    run("meaning", "cpu", 40, commit_seed() + chunk * APART, tmp_path)


@pytest.mark.witness
def test_conditioning(tmp_path: Path) -> None:
    """With PyTorch there, programs are judged by it too."""
    run("programs", "cpu", 10, commit_seed() + 9 * APART, tmp_path)


FRESH: Iterable[tuple[str, str, int]] = (
    *(("programs", "cpu", 400),) * 5,
    *(("programs", "emulator", 300),) * 2,
    *(("passes", "cpu", 1000), ("passes", "emulator", 1000)),
    *(("invalid", "cpu", 1000),) * 2,
    *(("meaning", "cpu", 1000),) * 2,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "target", "graphs"),
    [
        pytest.param(*p, id=f"{p[0]}-{p[1]}-{i}", marks=[needs_nvrtc] if p[1] == "emulator" else [])
        for i, p in enumerate(FRESH)
    ],
)
def test_fresh_seeds(check: str, target: str, graphs: int, tmp_path: Path) -> None:
    run(check, target, graphs, secrets.randbits(40), tmp_path)
