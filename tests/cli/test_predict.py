"""`convc predict` and the images that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from convc import evaluate, models, nn, save_model
from convc.compiler import compile
from convc.data import Dataset, load
from convc.data.image_source import read_sources
from convc.errors import DataError
from convc.model_info import ModelInfo

RUN = Callable[..., Any]
MODEL = """
from convc import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of LeNet-5 as it begins, and digits as images."""
    path = tmp_path_factory.mktemp("predict")
    net, data = models.lenet5(), load("mnist5k")
    step = compile(net, (64, 1, 28, 28), mode="train")
    moved = data.normalized()
    for _ in range(3):
        step(moved.train.images[:64], moved.train.labels[:64], lr=0.01)
    save_model(path / "w.safetensors", net, moved)
    save_file({name: net.store[name] for name in net.store.names("parameter")}, path / "plain.safetensors")
    digits = path / "digits" / "more"
    digits.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(data.test.images[i, 0]).save(digits.parent / f"{i}.png")
    Image.fromarray(data.test.images[3, 0]).save(digits / "3.bmp")
    (digits / "notes.txt").write_text("no image")
    (digits / ".hidden.png").write_text("no image")
    np.save(path / "five.npy", data.test.images[:5, 0])
    np.save(path / "normalised.npy", moved.test.images[:5])
    large = Image.fromarray(255 - data.test.images[0, 0]).resize((90, 120), Image.Resampling.NEAREST)
    large.convert("RGBA").save(path / "photo.png")
    Image.new("RGB", (28, 28)).save(path / "colour.png")
    (path / "broken.png").write_bytes(b"\x89PNG no more")
    (path / "empty").mkdir()
    return path


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_a_line_an_image(convc: RUN, here: None) -> None:
    result = convc("predict", "w.safetensors", "digits", "five.npy")
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    names = [f"digits/{i}.png" for i in range(3)] + ["digits/more/3.bmp"] + [f"five.npy[{i}]" for i in range(5)]
    assert [line[2] for line in lines] == names
    assert [line[:2] for line in lines[:4]] == [line[:2] for line in lines[4:8]]  # the same images


def test_several_classes_and_json(convc: RUN, here: None) -> None:
    name, *best = convc("predict", "w.safetensors", "digits/0.png", "--top", 3).out.splitlines()
    assert name == "digits/0.png"
    (image,) = json.loads(convc("predict", "w.safetensors", "digits/0.png", "--top", 3, "--json").out)
    assert [line.split() for line in best] == [[t["class"], f"{t['probability']:.2%}"] for t in image["top"]]
    assert (image["class"], image["probability"]) == tuple(image["top"][0].values())
    assert image["image"] == "digits/0.png"


def test_resize_and_invert(convc: RUN, here: None) -> None:
    result = convc("predict", "w.safetensors", "photo.png", "--resize")
    assert "note: photo.png is light, mean 0.8" in result.err
    assert result.err.endswith("--invert swaps the two\n")
    assert convc("predict", "w.safetensors", "photo.png", "--resize", "--invert").err == ""
    odd = convc("predict", "w.safetensors", "digits", "--invert").err
    assert "digits/0.png (and 3 more) is light" in odd
    assert odd.endswith("leave out --invert\n")


def test_weights_that_say_nothing(convc: RUN, here: None) -> None:
    said = convc("predict", "w.safetensors", "digits").out
    assert "give it: load_model(weights, model), or --model" in convc("predict", "plain.safetensors", "digits").err
    known = "predict", "plain.safetensors", "digits", "--model", "lenet5"
    assert "do not say how; take it from the data" in convc(*known).err
    assert convc(*known, "--data", "mnist5k").out == said


def test_a_model_of_ones_own(convc: RUN, folder: Path, here: None) -> None:
    (folder / "mine.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 6, 6), np.uint8), np.array(["cat", "dog"])[np.arange(40) % 2]
    np.savez("pets.npz", x_train=x, y_train=np.arange(40) % 2, x_test=x, y_test=np.arange(40) % 2)
    Image.fromarray(x[0]).save("pet.png")
    trained = convc("train", "mine.py:net", "--data", "pets.npz", "--epochs", 1, "--batch", 16, "--out", "run")
    assert trained.code == 0
    weights = "run/weights.safetensors"
    refused = convc("predict", weights, "pet.png")
    assert "has weights of mine.py:net, which is code that convc runs only when told" in refused.err
    assert refused.err.count("\n") == 1
    assert convc("predict", weights, "pet.png", "--model", "mine.py:net").out.split()[0] in "01"
    assert Dataset.from_arrays(x, y).class_names == ("cat", "dog")


def test_eval_takes_images_as_the_weights_say(convc: RUN, folder: Path, here: None) -> None:
    """Normalised by their numbers, by the data's where they say nothing, and not at all where they say so."""
    (folder / "mine.py").write_text(MODEL)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(3, 9, (40, 1, 6, 6)).astype(np.float32), np.arange(40) % 2
    np.savez("floats.npz", x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1])
    data = load("floats.npz")
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    compile(net, (40, 1, 6, 6), mode="train")(data.train.images, data.train.labels, lr=0.001)
    save_model("raw.safetensors", net, data)
    save_model("moved.safetensors", net, data.normalized())
    save_file({name: net.store[name] for name in net.store.names("parameter")}, "unsaid.safetensors")
    losses = {"raw": evaluate(net, data), "moved": evaluate(net, data.normalized())}
    assert str(losses["raw"]) != str(losses["moved"])
    for name, found in (*losses.items(), ("unsaid", losses["moved"])):
        result = convc("eval", "mine.py:net", "--weights", f"{name}.safetensors", "--data", "floats.npz")
        assert result.out.splitlines()[0] == f"test: {found}", (name, result.err)


def test_names_from_a_file_do_not_reach_the_terminal_as_they_are(convc: RUN, folder: Path, here: None) -> None:
    names = tuple(f"\x1b[31m{i}\n" for i in range(10))
    data = load("mnist5k").normalized()
    net = models.lenet5()
    compile(net, (4, 1, 28, 28))
    save_model("hostile.safetensors", net, replace(ModelInfo.of(data, "lenet5"), class_names=names))
    for options in ((), ("--top", 2)):
        result = convc("predict", "hostile.safetensors", "digits/0.png", *options)
        assert "\x1b" not in result.out
        assert r"\x1b[31m" in result.out
    out = convc("eval", "lenet5", "--weights", "hostile.safetensors", "--data", "mnist5k").out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


CASES = {
    "none.safetensors digits": "cannot read weights from none.safetensors",
    "digits/0.png digits": "digits/0.png does not say which model its weights are of",
    "w.safetensors none.png": "cannot read none.png: No such file",
    "w.safetensors broken.png": "this is not, or is damaged: broken.png",
    "w.safetensors empty": "a folder must hold images (.bmp, .jpeg, .jpg, .pgm, .png, .ppm, .npy), and this holds none",
    "w.safetensors colour.png": "must be grey 28x28, as in training, but colour.png is RGB 28x28; --resize brings",
    "w.safetensors photo.png": "has Pillow's mode RGBA: photo.png; --resize brings it to that",
    "w.safetensors normalised.npy": "float images must be in 0..1, as uint8 divided by 255",
    "w.safetensors w.safetensors": "an image is a file in PNG, JPEG, BMP or PPM form",
    "w.safetensors digits --top 0": "top is a whole number of at least 1, not 0; give another --top",
    "w.safetensors digits --batch 0": "batch is a whole number of at least 1, not 0",
    "w.safetensors digits --model vgg_small": "conv1_1: conv2d(f32[n<=64,1,28,28], f32[32,3,3,3]): x has C=1 channels",
    "w.safetensors digits --model x.conv": "cannot read x.conv",
    "w.safetensors": "Missing argument 'IMAGE...'",
}


@pytest.mark.parametrize("arguments", CASES)
def test_what_does_not_fit_is_one_line(convc: RUN, here: None, arguments: str) -> None:
    result = convc("predict", *arguments.split())
    assert result.code in (1, 2)
    assert result.err.startswith("convc: error: ")
    assert result.err.count("\n") == 1
    assert CASES[arguments] in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    ("array", "shape", "wanted"),
    [
        (np.zeros((28, 28)), (1, 28, 28), (1, 1, 28, 28)),
        (np.zeros((7, 28, 28)), (1, 28, 28), (7, 1, 28, 28)),
        (np.zeros((3, 8, 9)), (3, 8, 9), (1, 3, 8, 9)),
        (np.zeros((5, 3, 8, 9)), (3, 8, 9), (5, 3, 8, 9)),
        (np.zeros((8, 9)), (3, 8, 9), None),
        (np.zeros((28, 27)), (1, 28, 28), None),
        (np.zeros((0, 28, 28)), (1, 28, 28), None),
    ],
)
def test_forms_of_arrays(
    tmp_path: Path, array: np.ndarray, shape: tuple[int, int, int], wanted: tuple[int, ...] | None
) -> None:
    for dtype in (np.uint8, np.float32):
        path = tmp_path / "a.npy"
        np.save(path, array.astype(dtype))
        if wanted is None:
            with pytest.raises(DataError, match=r"an array must hold images of .*, as in training, not"):
                read_sources([path], shape)
        else:
            (source,) = read_sources([path], shape)
            assert source.images.shape == wanted
            assert len(source.names()) == wanted[0]


def test_arrays_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((28, 28), int))
    with pytest.raises(DataError, match="an array of images is uint8 or float32, and this is not"):
        read_sources([path], (1, 28, 28))
    for raw in (b"", b"\x93NUMPY", path.read_bytes()[:-1]):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"cannot read .*a\.npy as an array, it may be damaged"):
            read_sources([path], (1, 28, 28))


def test_inverted_twice_is_as_it_was(folder: Path) -> None:
    once = read_sources([folder / "digits"], (1, 28, 28), invert=True)
    plain = read_sources([folder / "digits"], (1, 28, 28))
    assert all(np.array_equal(255 - a.images, b.images) for a, b in zip(once, plain, strict=True))
    assert all(a.images.dtype == np.uint8 for a in once)
