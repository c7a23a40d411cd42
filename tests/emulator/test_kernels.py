"""Whole kernels against NumPy, and the proof that the check is awake: every mutant is reported or computes wrongly."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from convc.emulator import Buffer, Module, Result
from tests.emulator.ptx_kernel import bytes_of

Ptx = Callable[..., str]
FOLDER = Path(__file__).parent / "kernels"
COMMON = (FOLDER / "common.cuh").read_text()
ARCHITECTURES = ("sm_80", "sm_90a", "sm_100a")


def source(name: str) -> str:
    return COMMON + (FOLDER / name).read_text()


def sums(length: int, terms: np.ndarray) -> np.ndarray:
    """The bound on the error of a sum of f32 in any order: n u / (1 - n u) times the sum of the sizes."""
    u = 2.0**-24
    return length * u / (1 - length * u) * terms


def bfloats(x: np.ndarray) -> np.ndarray:
    return ((x.view(np.uint32) >> 16) << 16).view(np.float32)


def gemm(ptx: str, kernel: str, m: int, n: int, k: int) -> tuple[Result, bool]:
    """Runs one of the matrix products; whether C is right within what rounding may do."""
    rng = np.random.default_rng(m * n * k)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    c = np.full((m, n), np.nan, np.float32)
    loss, grid, block, sizes = 0.0, (-(-n // 32), -(-m // 32), 1), (256, 1, 1), [m, n, k]
    given = a, b
    if kernel == "naive":
        grid, block = (-(-n // 16), -(-m // 8), 1), (16, 8, 1)
    elif kernel == "gemm_tf32":
        loss = 2 * 2.0**-11 + 2.0**-22  # each factor is rounded to 11 bits
        grid, block, sizes = (n // 8, m // 16, 1), (32, 1, 1), [n, k]
    elif kernel == "gemm_f16":
        given = a.astype(np.float16), b.astype(np.float16)
        a, b = (x.astype(np.float32) for x in given)
        block, sizes = (128, 1, 1), [n, k]
    elif kernel == "gemm_bf16":
        a, b = bfloats(a), bfloats(b)
        given = tuple((x.view(np.uint32) >> 16).astype(np.uint16) for x in (a, b))
        block, sizes = (128, 1, 1), [n, k]
    arguments = [
        Buffer("A", bytes_of(given[0]), False),
        Buffer("B", bytes_of(given[1]), False),
        Buffer("C", bytes_of(c)),
        *sizes,
    ]
    result = Module(ptx)[kernel].launch(grid, block, arguments)
    terms = np.abs(a).astype(np.float64) @ np.abs(b)
    exact = a.astype(np.float64) @ b
    right = np.abs(c - exact) <= sums(k, terms) + loss * terms
    return result, bool(right.all())


def reduction(ptx: str, kernel: str, n: int) -> tuple[Result, bool]:
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    blocks = -(-n // 128)
    y = np.full(blocks, np.nan, np.float32)
    shared = 512 if kernel == "sum" else 0
    buffers = [Buffer("x", bytes_of(x), False), Buffer("y", bytes_of(y))]
    result = Module(ptx)[kernel].launch((blocks, 1, 1), (128, 1, 1), [*buffers, n], shared)
    rows = np.pad(x, (0, 128 * blocks - n)).reshape(blocks, 128).astype(np.float64)
    return result, bool((np.abs(y - rows.sum(1)) <= sums(128, np.abs(rows).sum(1))).all())


@dataclass(frozen=True)
class Program:
    file: str
    run: Callable[..., tuple[Result, bool]]
    kernel: str
    sizes: tuple[int, ...]


PROGRAMS = [
    Program("sgemm.cu", gemm, "naive", (19, 37, 23)),
    Program("sgemm.cu", gemm, "tiled", (50, 37, 29)),
    Program("sgemm_async.cu", gemm, "pipelined", (50, 37, 29)),
    Program("mma.cu", gemm, "gemm_f16", (64, 32, 64)),
    Program("mma.cu", gemm, "gemm_bf16", (32, 64, 48)),
    Program("mma.cu", gemm, "gemm_tf32", (32, 16, 40)),
    Program("reduction.cu", reduction, "sum", (300,)),
    Program("reduction.cu", reduction, "shuffled", (300,)),
]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("program", PROGRAMS, ids=[p.kernel for p in PROGRAMS])
def test_kernels_are_right_and_silent(program: Program, arch: str, ptx: Ptx) -> None:
    result, right = program.run(ptx(source(program.file), arch), program.kernel, *program.sizes)
    assert not result.reports, result.reports[0]
    assert right
    assert result.lane_instructions > 0


SYNCHRONISATIONS = re.compile(r"__syncthreads\(\);|__syncwarp\(\);|\bwait\(\d\);|\bcommit\(\);")
EDITS = {
    "tiled": [
        ("k0 < K;", "k0 < K - 8;"), ("am < M && ak < K ?", "am < M ?"), ("am < M && ak < K ?", "ak < K ?"),
        ("bk < K && bn < N ?", "bk < K ?"), ("bk < K && bn < N ?", "bn < N ?"), ("m < M && n < N", "n < N"),
        ("m < M && n < N", "m < M"), ("As[t % 8][t / 8] =", "As[t % 8][t / 8 + 1] ="),
        ("ty * 2 + i]", "ty * 2 + i + 1]"),
        ("Bs[k][tx + 16 * j]", "Bs[k][tx + 17 * j]"), ("A[am * K + ak] :", "A[am * K + ak + 1] :"),
    ],
    "pipelined": [
        ("load(0, 0);", ""), ("load(stage ^ 1, k0 + 8)", "load(stage, k0 + 8)"), ("wait(1)", "wait(2)"),
        ("stage ^= 1", "stage ^= 0"), ("am < M && ak < K)", "am < M)"), ("bk < K && bn < N)", "bn < N)"),
        ("[ty * 2 + i]", "[ty * 2 + i + 1]"),
    ],
    "gemm_f16": [
        ("load(stage ^ 1, k0 + DEPTH)", "load(stage, k0 + DEPTH)"), ("k0 + DEPTH < K", "k0 + DEPTH <= K"),
        ("lane / 16 * 8]); ", "lane / 16 * 4]); "), ("wm + lane % 16", "wm + lane % 8"), ("b + 2", "b + 1"),
        ("[32 + 8]", "[32 + 4]"), ("load4_transposed(b", "load4(b"),
    ],
    "sum": [
        ("t < 64", "t < 65"), ("s[t + 32]", "s[t + 33]"), ("i < n ?", "i <= n ?"), ("t < 32)", "t < 64)"),
        ("d > 0", "d > 1"), ("if (t == 0)", "if (t <= 1)"),
    ],
    "shuffled": [("t % 32 == 0", "t % 16 == 0"), ("s[t / 32] = v", "s[t / 64] = v"), ("int d = 16", "int d = 8")],
}  # fmt: skip


def mutants() -> list[tuple[str, Program, str]]:
    """(name, program, source): each synchronisation deleted in turn, then the edits."""
    made = []
    for program in PROGRAMS:
        text = (FOLDER / program.file).read_text()
        if program.kernel not in EDITS:
            continue
        start, end = _extent(text, program.kernel)
        body = text[start:end]
        for number, match in enumerate(SYNCHRONISATIONS.finditer(body), 1):
            changed = body[: match.start()] + ";" + body[match.end() :]
            made.append((f"{program.kernel}: {match[0]} {number}", program, text[:start] + changed + text[end:]))
        for old, new in EDITS[program.kernel]:
            assert old in body, (program.kernel, old)
            changed = body.replace(old, new, 1)
            made.append((f"{program.kernel}: {old} -> {new}", program, text[:start] + changed + text[end:]))
    return made


def _extent(text: str, kernel: str) -> tuple[int, int]:
    """The part of a file that holds a kernel's body: to the line that only closes a brace, or defines the next."""
    start = text.index("#define GEMM" if kernel.startswith("gemm_f") else f"{kernel}(const")
    end = text.find("GEMM(gemm_f16", start) if kernel.startswith("gemm_f") else text.index("\n}\n", start)
    return start, end


MUTANTS = mutants()


@pytest.mark.parametrize(("name", "program", "text"), MUTANTS, ids=[name for name, _, _ in MUTANTS])
def test_every_mutant_is_found(name: str, program: Program, text: str, ptx: Ptx) -> None:
    result, right = program.run(ptx(COMMON + text), program.kernel, *program.sizes)
    assert result.reports or not right, name
