"""Memory is asked for before it is touched: one line says how many bytes, what for, and what would fit."""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convc
from convc import nn
from convc.build import memory
from convc.cli import main
from convc.compiler import model_graph, trace_of
from convc.data import load
from convc.errors import DataError, IRError, RunError
from convc.optim import SGD
from convc.passes.target import CUDA
from convc.runtime.capacity import needed
from convc.runtime.memory import aligned_zeros
from convc.runtime.store import ParameterStore
from convc.runtime.targets import emit

MIB = 2**20


def machine(tmp_path: Path, **files: str) -> tuple[Path, Path]:
    """/proc and /sys/fs/cgroup with these files; two underscores stand for a slash."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, groups


MEMINFO = "MemTotal:  16000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\nSwapFree:   1000 kB\n"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"proc__meminfo": MEMINFO}, 9000 * 1024),
        (
            {
                "proc__meminfo": MEMINFO,
                "proc__self__cgroup": "0::/a/b\n",
                "groups__a__b__memory_dot_max": "max\n",
                "groups__a__memory_dot_max": "3000000\n",
                "groups__a__memory_dot_current": "2000000\n",
                "groups__a__memory_dot_stat": "anon 1500000\ninactive_file 400000\n",
            },
            1_400_000,
        ),
        (
            {
                "proc__meminfo": MEMINFO,
                "proc__self__cgroup": "12:cpu:/a\n7:memory:/a\n",
                "groups__memory__a__memory_dot_limit_in_bytes": "3000000\n",
                "groups__memory__a__memory_dot_usage_in_bytes": "2000000\n",
            },
            1_000_000,
        ),
        (
            {
                "proc__meminfo": MEMINFO,
                "proc__self__cgroup": "0::/a\n",
                "groups__a__memory_dot_max": "1000\n",
                "groups__a__memory_dot_current": "2000\n",
            },
            0,
        ),
    ],
    ids=["machine", "group of version 2", "group of version 1", "more than allowed"],
)
def test_what_is_free_is_the_least_of_all_limits(files: dict[str, str], wanted: int, tmp_path: Path) -> None:
    assert memory.available(*machine(tmp_path, **files)) == wanted


def test_a_limit_of_the_address_space_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = machine(tmp_path, proc__meminfo=MEMINFO, proc__self__statm="100 50 0 0 0 0 0\n")
    page = resource.getpagesize()
    monkeypatch.setattr(memory.resource, "getrlimit", lambda kind: (page * 150, page * 999))
    assert memory.available(*places) == page * 50


def test_a_machine_that_says_nothing_has_its_pages(tmp_path: Path) -> None:
    assert memory.available(*machine(tmp_path)) > 2**20


def test_sizes_are_written_with_three_digits() -> None:
    assert [memory.text(n) for n in (0, 1023, 1024, 1536, 10**12, 2**62)] == [
        "0 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "931 GiB", "4.1e+03 PiB",
    ]  # fmt: skip


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is free, and whatever allocates or builds fails the test."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("touched before it was asked for")

    monkeypatch.setattr(memory, "available", lambda: 4 * MIB)
    for place in ("convc.runtime.memory.aligned_zeros", "convc.runtime.cpu.aligned_zeros",
                  "convc.runtime.emulator.aligned_zeros", "convc.runtime.cpu.build_logged"):  # fmt: skip
        monkeypatch.setattr(place, fail)


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("mode", ["infer", "eval", "train"])
def test_a_batch_that_does_not_fit(untouched: None, mode: Any, target: str) -> None:
    with pytest.raises(RunError) as caught:
        convc.compile(convc.models.lenet5(), (1_000_000, 1, 28, 28), mode=mode, target=target)
    line = str(caught.value)
    assert "\n" not in line
    found = re.fullmatch(
        r"a program must fit memory, but lenet5 for batches of 1000000 needs [\d.]+ GiB \((\d+) bytes: "
        r"arena [\d.]+ GiB, inputs [\d.]+ GiB, .*\), and 4 MiB are free; a batch of about (\d+) would fit",
        line,
    )
    assert found, line
    assert int(found[1]) > 1_000_000 * 28 * 28 * 4
    if target == "cpu":
        assert 1 <= int(found[2]) < 4 * MIB / (28 * 28 * 4)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_the_batch_that_is_named_fits_and_twice_as_much_does_not(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 8 * MIB
    monkeypatch.setattr(memory, "available", lambda: free)
    with pytest.raises(RunError) as caught:
        convc.compile(convc.models.lenet5(), (100_000, 1, 28, 28), mode=mode)
    fits = int(str(caught.value).split("about ")[1].split()[0])

    def bytes_for(rows: int) -> int:
        net = convc.models.lenet5()
        _, graph = model_graph(net, (rows, 1, 28, 28), mode, "cross_entropy")
        planned = trace_of(graph, mode, SGD(momentum=0.9), convc.compiler.passes_target("cpu")).stages[-1][1]
        return sum(needed(planned, ParameterStore(), "cpu").values())

    assert bytes_for(fits) <= free
    assert bytes_for(2 * fits) > free


def test_parameters_that_do_not_fit_are_named_and_the_store_stays_empty(untouched: None) -> None:
    net = nn.Sequential(nn.Linear(10**6, 10**6), name="wide")
    with pytest.raises(RunError, match=r"wide for batches of 2 needs 10\.9 TiB .*parameters 3\.64 TiB, optimizer state "
                                       r"3\.64 TiB.*; take a smaller model or image"):  # fmt: skip
        convc.compile(net, (2, 10**6), mode="train")
    assert list(net.store) == []


def test_what_the_store_holds_is_not_counted_twice() -> None:
    net = convc.models.lenet5()
    program = convc.compile(net, (4, 1, 28, 28))
    parts = needed(program.graph, net.store, "cpu")
    assert parts["parameters"] == 0
    assert needed(program.graph, ParameterStore(), "cpu")["parameters"] == 4 * 61706


def test_a_buffer_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.runtime.memory.available", lambda: MIB)
    assert aligned_zeros(MIB).size == MIB
    with pytest.raises(RunError, match=r"1048577 bytes \(1 MiB\) were asked for, and 1 MiB are free; take a smaller"):
        aligned_zeros(MIB + 1)
    with pytest.raises(RunError, match="were asked for"):
        aligned_zeros(2**70)


def test_data_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 4 * MIB)
    with pytest.raises(DataError, match=r"but 50000 images of 3x32x32 take 146 MiB, and 4 MiB are free"):
        load("synthetic:3x32x32:10:50000")


def test_float32_copies_of_the_data_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("synthetic:3x16x16:2:5000")  # 3.7 MiB of bytes, 14.6 of floats
    monkeypatch.setattr(memory, "available", lambda: 8 * MIB)
    with pytest.raises(DataError, match=r"data must fit memory, but 5000 images as float32 take 14\.6 MiB"):
        data.normalized()


@pytest.mark.parametrize(
    ("extent", "line"),
    [
        (2**31 - 1, r"a tensor has fewer than 2\^52 bytes, but %0: .* has \d+; take a smaller shape"),
        (2**20, "compiling g takes more memory than the .* that are free; take a smaller batch"),
    ],
)
def test_what_numpy_cannot_allocate_is_one_line_too(extent: int, line: str) -> None:
    kind = f"f32[2097152,{extent}]"
    graph = convc.parse_graph(
        f"graph @g(%x: f32[n<=2]) {{ %0: {kind} = full() {{value=1.0}} %1: f32[n<=2] = relu(%x) "
        f"%2: {kind} = relu(%0) return %1, %2 }}"
    )
    with pytest.raises(convc.ConvcError, match=line) as caught:
        convc.compile(graph)
    assert "\n" not in str(caught.value)


def test_cuda_counts_elements_in_32_bits_and_says_so() -> None:
    net = nn.Sequential(nn.ReLU())
    _, graph = model_graph(net, (1024, 2**21), "infer", "mse")
    planned = trace_of(graph, "infer", SGD(), CUDA).stages[-1][1]
    with pytest.raises(IRError, match=r"target cuda counts elements in 32 bits, but .* has 2147483648, not fewer"):
        emit(planned, "cuda", CUDA)


@pytest.mark.parametrize(
    "command",
    [
        ("train", "lenet5", "--data", "synthetic:1x28x28:10:200", "--batch", "100000000", "--out", "run"),
        ("study", "--data", "synthetic:1x28x28:10:200", "--batch", "100000000", "--out", "run"),
        ("run", "lenet5", "--target", "cpu", "--shape", "100000000,1,28,28"),
        ("run", "lenet5", "--shape", "100000,1,28,28"),
    ],
    ids=["train", "study", "run", "run in the emulator"],
)
def test_the_commands_say_it_in_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(command, prog_name="convc")
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert error.startswith("convc: error: a program must fit memory, but lenet5 for batches of 1")
    assert error.count("\n") == 1
    assert "would fit" in error


def test_rows_of_numpy_are_rows(capsys: pytest.CaptureFixture[str]) -> None:
    program = convc.compile(nn.Sequential(nn.ReLU()), np.array([3, 4]))
    assert program(np.ones((2, 4))).shape == (2, 4)


def test_what_a_call_returns_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    program = convc.compile(nn.ReLU(), (4, 3), target="cpu")
    x = np.ones((3, 3), np.float32)

    def nothing_left(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("convc.runtime.program.np.empty", nothing_left)
    with pytest.raises(RunError, match=r"^what a call of 3 rows returns takes more memory than the .* that are free"):
        program(x)
