"""A folder of C builds with the line that it says, and its program computes what Python computes, bit for bit."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import convc
from convc.build.cache import Cache
from convc.build.toolchain import find_compiler
from convc.codegen.main_program import f32
from convc.codegen.names import quoted_c
from convc.data import batches, epoch_order, load
from convc.data.dataset import Split
from convc.data.idx import idx_bytes, parse_idx
from convc.errors import DataError
from convc.train import evaluate

CAPACITY, COUNT, EPOCHS = 24, 100, 2  # the last batch has 4 images
SOURCE = """
from convc import nn


def small():
    return nn.Sequential(
        ("conv", nn.Conv2d(1, 3, 5, stride=2)), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25),
        ('q"\\\\ é', nn.Linear(108, 10)), name="small",
    )
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.py"
    path.write_text(SOURCE)
    return path


def emit(model: Path, folder: Path, mode: str, *more: str) -> None:
    from convc.cli import main

    shape = f"{CAPACITY},1,28,28"
    args = ["compile", f"{model}:small", "--shape", shape, "--mode", mode, "--emit", str(folder), "--no-build", *more]
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 0


def build(folder: Path, compiler: list[str] | None = None) -> Path:
    """The program of the folder, built with the line that its manifest, README and main.c say."""
    manifest = json.loads((folder / "manifest.json").read_text())
    line = manifest["build"]
    assert f"\n$ {line}\n" in (folder / "README.md").read_text()
    assert f"\n//   {line}\n" in (folder / "src/main.c").read_text()
    assert len(f"$ {line}") <= 80
    command = " ".join(map(shlex.quote, compiler or find_compiler().argv))
    line = re.sub(r"^cc ", lambda _: f"{command} ", line)
    built = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, ""), "it builds without a warning"
    return folder / manifest["program"]


@pytest.fixture(scope="module")
def trained(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of mode train, built, with the first COUNT images of its sample under images and labels."""
    folder = tmp_path_factory.mktemp("train") / "out"
    emit(model, folder, "train", "--seed", "3")
    build(folder)
    for name, dimensions in (("images", 3), ("labels", 1)):
        whole = parse_idx((folder / f"data/{name}.idx").read_bytes(), dimensions, name)
        (folder / name).write_bytes(idx_bytes(whole[:COUNT]))
    return folder


def run(program: Path, *arguments: str, code: int = 0) -> str:
    """What it prints; on standard error where it is refused, which is one line."""
    done = subprocess.run([program, *arguments], cwd=program.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.count("\n") == 1
        return done.stderr
    assert done.stderr == ""
    return done.stdout


def small(model: Path) -> convc.nn.Module:
    from convc.cli.models import resolve_model

    module, _ = resolve_model(f"{model}:small")
    assert isinstance(module, convc.nn.Module)
    return module


def split() -> Split:
    """The images of the `trained` folder, as Python has them."""
    data = load("mnist5k", seed=3).normalized()
    return Split(data.train.images[:COUNT], data.train.labels[:COUNT])


@pytest.fixture(scope="module")
def python(model: Path, trained: Path) -> tuple[list[float], convc.nn.Module]:
    """The losses of all batches of EPOCHS epochs, and the model after them."""
    module = small(model)
    step = convc.compile(module, (CAPACITY, 1, 28, 28), mode="train", target="cpu", seed=3)
    images, losses = split(), []
    for epoch in range(1, EPOCHS + 1):
        for x, labels in batches(images, CAPACITY, order=epoch_order(COUNT, seed=3, epoch=epoch)):
            losses.append(step(x, labels, lr=0.05, momentum=0.8))
    return losses, module


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_training_is_pythons_bit_for_bit(trained, python, threads):
    numbers = ("--epochs", str(EPOCHS), "--lr", "0.05", "--momentum", "0.8", "--each-batch", "--threads", threads)
    said = run(trained / "train", "images", "labels", *numbers, "--out", f"{threads}.safetensors")
    losses, module = python
    assert [float(np.float32(x)) for x in re.findall(r"^batch \d+: loss (\S+)$", said, re.MULTILINE)] == losses
    means = [float(x) for x in re.findall(r"^epoch \d+: train loss (\S+), \d+ images/s$", said, re.MULTILINE)]
    sizes = [len(x) for x, _ in batches(split(), CAPACITY, order=None)]
    each = np.array(losses).reshape(EPOCHS, -1) @ sizes / COUNT
    assert means == [float(f"{x:.6f}") for x in each]
    found = load_file(trained / f"{threads}.safetensors")
    assert set(found) == set(module.store.names("parameter"))
    for name, array in found.items():
        assert array.tobytes() == module.store[name].tobytes(), name


def test_first_weights_are_those_of_the_seed(trained, model):
    module = small(model)
    convc.compile(module, (CAPACITY, 1, 28, 28), target="cpu", seed=3)
    found = load_file(trained / "data/weights.safetensors")
    assert set(found) == set(module.store.names("parameter"))
    assert all((found[name] == module.store[name]).all() for name in found)


def test_what_it_saved_is_read_by_convc_and_by_the_program_itself(trained, model, python):
    run(trained / "train", "images", "labels", "--epochs", "1", "--out", "again.safetensors")
    _, module = python
    other = small(model)
    convc.compile(other, (CAPACITY, 1, 28, 28), target="cpu")
    assert len(other.store.load(trained / "again.safetensors").loaded) == len(module.store.names("parameter"))
    first = run(
        trained / "train", "images", "labels", "--weights", "again.safetensors", "--epochs", "1", "--each-batch"
    )
    whole = run(trained / "train", "images", "labels", "--epochs", "1", "--each-batch")
    assert first.splitlines()[0] != whole.splitlines()[0]


def test_evaluation_is_pythons(trained, model, python, tmp_path):
    folder = tmp_path / "eval"
    weights = tmp_path / "weights.safetensors"
    _, module = python
    module.store.save(weights)
    emit(model, folder, "eval", "--weights", str(weights))
    said = run(build(folder))
    program = convc.compile(module, (CAPACITY, 1, 28, 28), mode="eval", target="cpu")
    metrics = evaluate(program, load("mnist5k").normalized().test)
    count = len(load("mnist5k").test)
    expected = f"loss {metrics.loss:.6f}, accuracy {metrics.accuracy:.2%} ({metrics.correct} of {count}), "
    assert said.startswith(expected.replace("%", " %"))


def test_prediction_is_pythons(trained, model, python, tmp_path):
    folder = tmp_path / "infer"
    weights = tmp_path / "weights.safetensors"
    _, module = python
    module.store.save(weights)
    emit(model, folder, "infer", "--weights", str(weights))
    said = run(build(folder), "--out", "results", "--batch", "7")
    images = load("mnist5k").normalized().test.images
    program = convc.compile(module, (CAPACITY, 1, 28, 28), target="cpu")
    expected = np.concatenate([program(images[i : i + 7]) for i in range(0, len(images), 7)])
    found = np.frombuffer((folder / "results").read_bytes(), "<f4").reshape(expected.shape)
    assert (found == expected).all()
    classes = [int(c) for c in re.findall(r"^image \d+: class (\d+) \(", said, re.MULTILINE)]
    assert classes == expected.argmax(axis=1).tolist()
    assert not (folder / "data/labels.idx").exists()


def compilers() -> Iterator[object]:
    """Those of this machine, and zig's, which the tests install."""
    for name in ("gcc", "clang"):
        if shutil.which(name):
            yield pytest.param([name], id=name)
    yield pytest.param([sys.executable, "-m", "ziglang", "cc"], id="zig", marks=pytest.mark.slow)


@pytest.mark.parametrize("compiler", [*compilers()])
def test_other_compilers_build_it(trained, tmp_path, compiler, monkeypatch):
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(Cache().root / "zig"))  # where it has built its C library before
    folder = Path(shutil.copytree(trained, tmp_path / "out"))
    (folder / "train").unlink()
    losses = [float(x) for x in re.findall(r"train loss (\S+),", run(build(folder, compiler), "images", "labels"))]
    ours = [float(x) for x in re.findall(r"train loss (\S+),", run(trained / "train", "images", "labels"))]
    assert len(losses) == 5
    assert losses[0] == pytest.approx(ours[0], abs=1e-4)  # other roundings: the first of them, over 5 steps
    assert losses[-1] < losses[0]


Damage = Callable[[Path], list[str]]


def cut(name: str, size: int) -> Damage:
    def damage(folder: Path) -> list[str]:
        data = (folder / name).read_bytes()
        (folder / "bad").write_bytes(data[:size] if size >= 0 else data + b"x")
        return (
            ["bad", "labels"] if name == "images" else ["images", "bad"] if name == "labels" else ["--weights", "bad"]
        )

    return damage


def other_weights(edit: Callable[[dict[str, np.ndarray]], object]) -> Damage:
    def damage(folder: Path) -> list[str]:
        arrays = load_file(folder / "data/weights.safetensors")
        edit(arrays)
        save_file(arrays, folder / "bad")
        return ["--weights", "bad"]

    return damage


def as_images(array: np.ndarray) -> Damage:
    def damage(folder: Path) -> list[str]:
        (folder / "bad").write_bytes(idx_bytes(array))
        return ["bad", "labels"]

    return damage


def wrong_label(folder: Path) -> list[str]:
    (folder / "bad").write_bytes(idx_bytes(np.full(COUNT, 10, np.uint8)))
    return ["images", "bad"]


def given(*arguments: str) -> Damage:
    return lambda folder: list(arguments)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("images", 3), "bad is no IDX file: it has fewer than 4 bytes"),
        (cut("images", 9), "bad ends within its header"),
        (cut("images", 1000), f"bad has not the {COUNT} items that its header says"),
        (cut("labels", -1), f"bad has not the {COUNT} items that its header says"),
        (as_images(np.zeros((3, 28, 27), np.uint8)), "bad has items of 756 bytes, and this program takes 784"),
        (as_images(np.zeros((COUNT - 1, 28, 28), np.uint8)), f"every image needs a label: bad has {COUNT - 1}, labels"),
        (wrong_label, "bad: label 0 is 10, and the model has 10 classes"),
        (cut("data/weights.safetensors", 5), "bad is no safetensors file"),
        (cut("data/weights.safetensors", 40), "bad is no safetensors file"),
        (cut("data/weights.safetensors", 2000), "bad ends before "),
        (other_weights(lambda a: a.pop("conv.bias")), "bad has no conv.bias: take weights of this model"),
        (
            other_weights(lambda a: a.update({"conv.bias": np.zeros(4, np.float32)})),
            "bad: conv.bias must have shape [3]: take weights of this model",
        ),
        (
            other_weights(lambda a: a.update({"conv.bias": np.zeros(3, np.float64)})),
            "bad: conv.bias must be F32: convert it before",
        ),
        (
            other_weights(lambda a: a["conv.bias"].__setitem__(1, np.nan)),
            "bad: weights must be finite, and element 1 of conv.bias is not",
        ),
        (given("nowhere", "labels"), "cannot read nowhere: start the program in its folder"),
        (given("--weights", "nowhere"), "cannot read nowhere (No such file or directory): "),
        (given("images"), "labels go with images: ./train IMAGES LABELS"),
        (given("images", "labels", "more"), "2 files are expected, not more too"),
        (given("--epoch", "3"), "there is no option --epoch; see --help"),
        (given("--epochs"), "--epochs is unknown, or needs a value"),
        (given("--epochs", "0"), "--epochs is a whole number from 1 to 1000000, not 0"),
        (given("--batch", str(CAPACITY + 1)), f"--batch is a whole number from 1 to {CAPACITY}, not {CAPACITY + 1}"),
        (given("--lr", "fast"), "--lr is a number of at least 0, not fast"),
        (given("--lr", "nan"), "--lr is a number of at least 0, not nan"),
        (given("images", "labels", "--lr", "1e30"), "is no number: take a lower --lr"),
        (given("images", "labels", "--epochs", "1", "--out", "no/where"), "cannot write no/where.partial: "),
    ],
)
def test_bad_input_is_one_line(trained, damage, message):
    line = run(trained / "train", *damage(trained), code=1)
    assert line.startswith("train: error: ")
    assert message in line


def test_weights_with_blanks_in_their_header_are_read(trained):
    data = (trained / "data/weights.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), indent=1, ensure_ascii=False).encode()
    (trained / "spaced").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    arguments = ("images", "labels", "--epochs", "1", "--each-batch")
    assert (
        run(trained / "train", *arguments, "--weights", "spaced").splitlines()[0]
        == run(trained / "train", *arguments).splitlines()[0]
    )


def test_help_fits_the_terminal(trained):
    said = run(trained / "train", "--help")
    assert said.startswith("Usage: ./train [IMAGES] [LABELS] [OPTIONS]\n")
    for option in ("--epochs", "--lr", "--momentum", "--weight-decay", "--seed", "--batch", "--threads", "--out"):
        assert f"  {option} " in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lenet5", "--target", "cuda", "--no-main"), "--main is for target cpu, not cuda"),
        (("lenet5", "--target", "cuda", "--seed", "1"), "--seed is for target cpu, not cuda"),
        (("lenet5", "--no-main", "--data", "mnist5k"), "--data is for the main that --no-main leaves out"),
        (("MODEL", "--shape", "4,1,28,28", "--data", "synthetic:3x8x8:10:100"), "sample images must be those that the"),
        (("lenet5", "--data", "synthetic:1x28x28:11:110"), "a sample's labels are bytes below the model's 10 classes"),
        (("GRAPH", "--weights", "x"), "--weights is for models of layers, and "),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(capsys, model, tmp_path, arguments, message):
    from convc.cli import main

    graph = tmp_path / "g.conv"
    graph.write_text("graph @g(%x: f32[n<=4,3]) { %y: f32[n<=4,3] = relu(%x) return %y }")
    places = {"MODEL": f"{model}:small", "GRAPH": str(graph)}
    with pytest.raises(SystemExit) as stop:
        main(["compile", *(places.get(a, a) for a in arguments), "--emit", str(tmp_path / "out"), "--no-build"])
    error = capsys.readouterr().err
    assert stop.value.code == 1
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_graph_and_no_main_have_the_kernels_alone(model, tmp_path):
    emit(model, tmp_path / "out", "infer", "--no-main")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["ir", "manifest.json", "src"]
    assert not (tmp_path / "out/src/main.c").exists()


@pytest.mark.parametrize(("number", "text"), [(1.0, "1.0f"), (0.1, "0.1f"), (1e-8, "1e-08f"), (-3.5, "-3.5f")])
def test_numbers_in_c(number, text):
    assert f32(number) == text


@pytest.mark.parametrize("seed", range(5))
def test_numbers_in_c_have_all_their_bits(seed):
    for x in np.random.default_rng(seed).standard_normal(100).astype(np.float32):
        assert np.float32(f32(float(x))[:-1]) == x


@pytest.mark.parametrize(
    ("text", "quoted"),
    [("conv1.weight", '"conv1.weight"'), ('"; system("x"); //', None), ("??/", '"\\077\\077\\057"'), ("a\nb\\", None)],
)
def test_strings_in_c_hold_no_code(text, quoted):
    found = quoted_c(text)
    assert quoted is None or found == quoted
    assert re.fullmatch(r'"(?:[A-Za-z0-9._]|\\[0-7]{3})*"', found)
    octal = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), found[1:-1])
    assert octal.encode("latin-1").decode() == text


def test_idx_is_read_back():
    for shape in ((3,), (2, 5, 4), (2, 3, 5, 4)):
        array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        assert (parse_idx(idx_bytes(array), len(shape), "here") == array).all()
    with pytest.raises(DataError, match="holds uint8, not float32"):
        idx_bytes(np.zeros(3, np.float32))
