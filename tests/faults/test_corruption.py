"""Every kind of file that convc reads, cut and flipped at random: it is right, or refused in one line."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import convc
from convc import nn
from convc.build.cache import Cache
from convc.build.toolchain import Unit, build_shared
from convc.checkpoint import check_settings, saved_epoch, write_settings
from convc.cli import main
from convc.cli.folders import read_folder
from convc.data import Dataset, load
from convc.errors import ConvcError
from convc.report.history import (
    EpochRecord,
    EpochTiming,
    RunHistory,
    Setting,
    read_history,
    read_timing,
    write_history,
    write_timing,
)
from convc.training_run import TrainRecord, read_train_history, write_train_history
from tests.faults.damage import damaged

SLICE, MANY = 60, 4000
"""Damages of each file: in the ordinary tests, and in the slow ones."""


@dataclass(frozen=True)
class Case:
    """Files to damage and a call that reads them; `exact`: what it returns must then be what it returned before."""

    files: tuple[Path, ...]
    read: Callable[[], object]
    exact: bool = True


def check(case: Case, count: int, seed: int) -> int:
    """Damages the files one at a time; returns how many damages were refused."""
    expected = case.read()
    generator = random.Random(seed)
    whole = {path: path.read_bytes() for path in case.files}
    refused, lines = 0, []
    for _ in range(count):
        path = generator.choice(case.files)
        data = damaged(whole[path], generator)
        path.write_bytes(data)
        try:
            found = case.read()
        except ConvcError as error:
            refused += 1
            lines.append((str(error), data))
        except BaseException as error:
            raise AssertionError(f"{path.name}, {len(data)} bytes, raised {error!r}: {data[:2000]!r}") from error
        else:
            if case.exact and data != whole[path]:
                assert found == expected, (path, data)
        path.write_bytes(whole[path])
    for line, data in lines:
        assert line, "an empty line"
        assert "\n" not in line, (line, data)
    return refused


# The kinds of files


def as_text(dataset: Dataset) -> str:
    """Everything that is in a data set."""
    parts = {name: (s.images.tobytes(), s.labels.tobytes()) for name, s in dataset.parts().items()}
    return f"{dataset.image_shape} {dataset.classes} {dataset.class_names} {parts}"


def npz(folder: Path, save: Callable[..., None]) -> Case:
    path = folder / "data.npz"
    y = np.arange(30, dtype=np.int32) % 3
    x = np.arange(30 * 16, dtype=np.uint8).reshape(30, 1, 4, 4)
    save(path, x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    return Case((path,), lambda: as_text(load(str(path))))


def idx(folder: Path, packed: bool) -> Case:
    files = []
    for part, rows in (("train", 30), ("t10k", 10)):
        for what, shape in (("images-idx3", (rows, 4, 4)), ("labels-idx1", (rows,))):
            content = np.arange(np.prod(shape), dtype=np.uint8) % 10
            data = struct.pack(f">{1 + len(shape)}I", 0x0800 | len(shape), *shape) + content.tobytes()
            path = folder / f"{part}-{what}-ubyte"
            path.write_bytes(gzip.compress(data) if packed else data)
            files.append(path)
    # gzip's flags and times, and all of a file without a checksum, may change unseen.
    return Case(tuple(files), lambda: as_text(load(str(folder))), exact=False)


def cifar(folder: Path) -> Case:
    files = [folder / f"data_batch_{i}.bin" for i in range(1, 6)] + [folder / "test_batch.bin"]
    for i, path in enumerate(files):
        path.write_bytes(b"".join(bytes([(i + j) % 10]) + bytes([j]) * 3072 for j in range(4)))
    (folder / "batches.meta.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    return Case((*files, folder / "batches.meta.txt"), lambda: as_text(load(str(folder))), exact=False)


def images(folder: Path) -> Case:
    files = []
    for kind in ("a", "b"):
        for i in range(12):
            path = folder / kind / f"{i:02}.{('png', 'jpg', 'bmp', 'ppm')[i % 4]}"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(path)
            files.append(path)
    return Case(tuple(files), lambda: as_text(load(f"{folder}:1x6x6")), exact=False)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def weights(folder: Path) -> Case:
    model = network()
    convc.compile(model, (2, 1, 4, 4))
    path = folder / "weights.safetensors"
    model.store.save(path, {"convc": '{"run": "a", "epoch": 2}'})

    def read() -> list[bytes]:
        model.reset(1)
        model.store.load(path)
        return [model.store[name].tobytes() for name in model.store]

    return Case((path,), read)


def foreign_weights(folder: Path) -> Case:
    """As other tools write them, without a digest."""
    from safetensors.numpy import save_file

    model = network()
    convc.compile(model, (2, 1, 4, 4))
    path = folder / "weights.safetensors"
    save_file(model.store.snapshot(), path)
    return Case((path,), lambda: model.store.load(path), exact=False)


def checkpoint(folder: Path) -> Case:
    model = network()
    convc.compile(model, (2, 1, 4, 4))
    path = folder / "weights.safetensors"
    model.store.save(path, {"convc": '{"run": "a", "epoch": 2}'})
    return Case((path,), lambda: saved_epoch(path, "a"))


def settings(folder: Path) -> Case:
    held = {"model": "lenet5", "rates": [0.1, 0.01], "epochs": 3, "momentum": 0.9}
    path = folder / "study.json"
    write_settings(path, held)
    return Case((path,), lambda: check_settings(path, held))


def history(folder: Path) -> Case:
    path = folder / "history.csv"
    rows = (EpochRecord(1, 0.1 + 0.2, 1e-30, 1.0, 0.5), EpochRecord(2, 0.0, 2.0, 0.5, 0.25))
    settings = Setting(0.1, (("momentum", 0.5),)), Setting(0.01, (("momentum", 0.5),))
    runs = (RunHistory(settings[0], 0, rows), RunHistory(settings[0], 1, rows), RunHistory(settings[1], 0, rows[:1]))
    write_history(path, runs)

    def read() -> int:
        found = read_history(path, ("momentum",))
        flat = [(run.name, record) for run in found for record in run.epochs]
        expected = [(run.name, record) for run in runs for record in run.epochs]
        # Rows that are gone as a whole are epochs that are trained again.
        assert all(each in expected for each in flat)
        return 0

    return Case((path,), read)


def timing(folder: Path) -> Case:
    path = folder / "timing.csv"
    rows = [EpochTiming("lr_0.1_seed_0", 1, 1.5, 2.25), EpochTiming("lr_0.1_seed_0", 2, 1.25, 2.5)]
    write_timing(path, rows)

    def read() -> int:
        assert all(row in rows for row in read_timing(path))
        return 0

    return Case((path,), read)


def train_history(folder: Path) -> Case:
    path = folder / "history.csv"
    rows = [TrainRecord(1, 0.1, 2.0, 3.0, 0.5), TrainRecord(2, 0.1, 1.0, 2.0, 0.75)]
    write_train_history(path, rows, 0.5)

    def read() -> int:
        assert all(row in rows for row in read_train_history(path))
        return 0

    return Case((path,), read)


GRAPH = """graph @g(%x: f32[n<=4,3,8,8], %w: f32[4,3,3,3], %b: f32[4]) {
  %0: f32[n<=4,4,6,6] = conv2d(%x, %w)
  %1: f32[n<=4,4,6,6] = bias_add(%0, %b)
  %2: f32[n<=4,4,3,3] = max_pool(%1) {kernel=[2, 2], stride=[2, 2]}
  return %2
}
"""


def graph(folder: Path) -> Case:
    path = folder / "net.conv"
    path.write_text(GRAPH)

    def read() -> None:
        result = CliRunner().invoke(main, ["opt", str(path), "-p", "canonicalize"])
        assert result.exit_code in (0, 1), result.output
        if result.exit_code:
            raise ConvcError(result.stderr.removesuffix("\n"))

    return Case((path,), read, exact=False)


def cache(folder: Path) -> Case:
    root = folder / "cache"
    unit = Unit("twice", "int twice(int x) { return 2 * x; }\n")
    build_shared([unit], cache=Cache(root))
    files = tuple(sorted(path for pattern in ("*.o", "*.so", "SHA*") for path in root.glob(f"*/{pattern}")))
    return Case(files, lambda: build_shared([unit], cache=Cache(root)).read_bytes())


def emission(folder: Path) -> Case:
    (folder / "net.conv").write_text(GRAPH)
    out = folder / "out"
    made = CliRunner().invoke(main, ["compile", str(folder / "net.conv"), "--target", "cuda", "--emit", str(out)])
    assert made.exit_code == 0, made.output
    files = (out / "manifest.json", *sorted(out.glob("ir/*.conv")))

    def read() -> str:
        found = read_folder(out)
        return f"{found.trace.stages[-1][1]}{found.text}"

    return Case(files, read)


CASES: dict[str, Callable[[Path], Case]] = {
    "npz": lambda folder: npz(folder, np.savez),
    "npz, packed": lambda folder: npz(folder, np.savez_compressed),
    "idx": lambda folder: idx(folder, packed=False),
    "idx, packed": lambda folder: idx(folder, packed=True),
    **{
        make.__name__: make
        for make in (cifar, images, weights, foreign_weights, checkpoint, settings, history, timing, train_history)
    },
    **{make.__name__: make for make in (graph, cache, emission)},
}
COSTLY = {"cache": 6, "emission": 4, "images": 2}
"""Those that take long a time are damaged fewer times: by this factor."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_right_or_refused(name: str, folder: Path) -> None:
    assert check(CASES[name](folder), SLICE // COSTLY.get(name, 1), seed=0) > 0 or name == "cache"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_thousands_of_damaged_files(name: str, folder: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    count = MANY // (10 * COSTLY[name]) if name in COSTLY else MANY
    print(f"seed {seed}")  # shown where it fails
    refused = check(CASES[name](folder), count, seed)
    print(f"{name}: {count} damaged files, {refused} refused in one line")


# Files that are none


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command, which must fail; returns its one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from convc import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_bytes(b"\xff\xfe not UTF-8 \0")
    (tmp_path / "huge_header").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    (tmp_path / "deep").write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000)
    os.mkfifo(tmp_path / "pipe")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == 1, (result.exit_code, result.output)
        assert result.stderr.startswith("convc: error: ")
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr

    return run


NO_FILES = ("empty", "folder", "text", "huge_header", "deep", "pipe", "/dev/zero", "missing", "x" * 300)


@pytest.mark.parametrize("name", NO_FILES)
def test_weights_that_are_none(command: Callable[..., str], name: str) -> None:
    assert command("eval", "net.py:net", "--data", "mnist5k", "--weights", name)


@pytest.mark.parametrize("name", [n for n in NO_FILES if n != "pipe"])  # a graph may come from a pipe
def test_graphs_that_are_none(command: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convc.cli.models.MOST_TEXT", 1 << 20)
    path = Path(name)
    if len(name) < 200 and not name.startswith("/") and path.is_file():
        path = path.rename(f"{name}.conv")
    assert command("opt", str(path), "-p", "canonicalize")


@pytest.mark.parametrize("name", NO_FILES)
def test_data_that_is_none(command: Callable[..., str], name: str, tmp_path: Path) -> None:
    assert command("eval", "net.py:net", "--weights", "empty", "--data", name)
    if len(name) < 200 and not name.startswith("/") and (tmp_path / name).exists():
        (tmp_path / name).rename(tmp_path / "data.npz")
        assert command("eval", "net.py:net", "--weights", "empty", "--data", "data.npz")


@pytest.mark.parametrize("name", NO_FILES)
def test_folders_of_programs_that_are_none(command: Callable[..., str], name: str) -> None:
    Path("program").mkdir()
    if len(name) < 200 and Path(name).exists():
        Path("program/manifest.json").symlink_to(Path(name).absolute())
    assert command("run", "program")


def test_a_name_with_a_nul(folder: Path) -> None:
    with pytest.raises(ConvcError, match="a name holds no NUL"):
        network().store.load(f"{folder}/a\0b")


def test_labels_that_no_model_knows(command: Callable[..., str]) -> None:
    buffer = io.BytesIO()
    x = np.zeros((20, 28, 28), np.uint8)
    np.savez(buffer, x_train=x, y_train=np.full(20, 2**63 - 1), x_test=x, y_test=np.zeros(20, int))
    Path("data.npz").write_bytes(buffer.getvalue())
    assert command("train", "net.py:net", "--data", "data.npz", "--out", "out")
