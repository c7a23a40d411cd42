"""Weights files that say what they are, and models that apply it: `load_model`, `predict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import convc
from convc import nn
from convc.data import load
from convc.errors import DataError, RunError
from convc.model_info import ModelInfo, mark_of, read_info
from convc.prediction import Classifier, Predictions, probabilities
from tests.prediction.conftest import NAMES, Trained, make_net


@pytest.fixture(scope="module")
def net(trained: Trained) -> Classifier:
    return convc.load_model(trained.weights, make_net())


def test_the_file_says_what_the_model_is(trained: Trained) -> None:
    about = read_info(trained.weights)
    assert about == ModelInfo("", (1, 6, 6), 3, NAMES, trained.data.normalized().normalisation, "bands")
    assert ModelInfo.from_json(json.loads(json.dumps(about.as_json()))) == about


def test_what_the_file_says_is_covered_by_its_digest(trained: Trained, tmp_path: Path) -> None:
    raw = trained.weights.read_bytes()
    at = raw.index(b"middle")
    path = tmp_path / "edited.safetensors"
    path.write_bytes(raw[:at] + b"muddle" + raw[at + 6 :])
    with pytest.raises(DataError, match="is damaged: its bytes are not those"):
        read_info(path)


def test_predictions_are_the_programs_outputs_of_normalised_images(trained: Trained, net: Classifier) -> None:
    images = trained.data.test.images
    found = net.predict(images)
    program = convc.compile(trained.net, (60, 1, 6, 6))
    outputs = program(trained.data.normalized().test.images).astype(np.float64)
    wanted = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    # The same f32 outputs; here and there float64 rounds a handful of times, relative to numbers within 1.
    np.testing.assert_allclose(found.probabilities, wanted, rtol=1e-12, atol=0)
    assert (found.labels == trained.data.test.labels).mean() > 0.9
    assert found.classes == [NAMES[label] for label in found.labels]
    assert np.array_equal(found.confidence, found.probabilities.max(axis=1))


def test_every_form_of_the_same_images_gives_the_same(trained: Trained, net: Classifier) -> None:
    images = trained.data.test.images
    wanted = net.predict(images).probabilities
    forms = {
        "no channel": net.predict(images[:, 0]),
        "scaled": net.predict(images.astype(np.float32) / np.float32(255)),
        "normalised": net.predict(trained.data.normalized().test.images, normalized=True),
        "in other batches": Classifier(trained.net, net.about, batch=7).predict(images),
    }
    for form, found in forms.items():
        assert np.array_equal(found.probabilities, wanted), form
    double = net.predict(images / 255).probabilities  # rounded once more on its way to float32
    np.testing.assert_allclose(double, wanted, rtol=1e-4)
    assert np.array_equal(net.predict(images[0, 0]).probabilities, wanted[:1])
    assert np.array_equal(net.predict(images[0]).probabilities, wanted[:1])


def test_one_program_runs_them_all(net: Classifier, trained: Trained) -> None:
    before = net.program
    for n in (1, 3, 60):
        assert len(net.predict(trained.data.test.images[:n])) == n
    assert net.program is before


def test_top(net: Classifier, trained: Trained) -> None:
    found = net.predict(trained.data.test.images[:4])
    for row, best in zip(found.probabilities, found.top(2)):
        assert [p for _, p in best] == sorted(row, reverse=True)[:2]
        assert best[0][0] == NAMES[row.argmax()]
    assert all(len(best) == 3 for best in found.top(9))
    with pytest.raises(RunError, match="top is a whole number of at least 1, not 0"):
        found.top(0)


def test_softmax_is_stable_and_taken_once() -> None:
    outputs = np.array([[1e4, 0, -1e4], [-1e30, -1e30, -1e30]], np.float32)
    assert probabilities(outputs, False).tolist() == [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]
    assert np.allclose(probabilities(np.array([[0.2, 0.8]]), True), [[0.2, 0.8]])
    with pytest.raises(RunError, match="those of image 1 are not"):
        probabilities(np.array([[0.0, 1.0], [np.nan, 0.0]]), False)


def test_the_outputs_of_a_softmax_are_the_probabilities(trained: Trained) -> None:
    ended = nn.Sequential(*(layer for _, layer in trained.net), nn.Softmax())  # shares the arrays
    about = ModelInfo.of(trained.data.normalized())
    images = trained.data.test.images[:5]
    plain = Classifier(trained.net, about).predict(images).probabilities
    # f32's softmax: the exponential is good to 2 units of the last place, sum and quotient round a few times.
    np.testing.assert_allclose(Classifier(ended, about).predict(images).probabilities, plain, rtol=1e-5, atol=1e-7)


def floats(trained: Trained) -> np.ndarray:
    return trained.data.normalized().test.images


REFUSED: dict[str, tuple[Callable[[Classifier, Trained], Any], str]] = {
    "normalised unsaid": (lambda n, t: n.predict(floats(t)), r"must be in 0..1, .* say normalized=True"),
    "0..255 as floats": (lambda n, t: n.predict(t.data.test.images.astype(np.float32)), "these go from 0 to 17"),
    "uint8 said normalised": (lambda n, t: n.predict(t.data.test.images, normalized=True), "leave out normalized=True"),
    "another size": (lambda n, t: n.predict(np.zeros((2, 1, 28, 28), np.uint8)), "must be 1x6x6, .*, not 1x28x28"),
    "RGB": (lambda n, t: n.predict(np.zeros((2, 3, 6, 6), np.uint8)), "must be 1x6x6, as in training, not 3x6x6"),
    "integers": (lambda n, t: n.predict(np.zeros((2, 1, 6, 6), int)), "images must be uint8 or float32, not int64"),
    "NaN": (lambda n, t: n.predict(np.full((1, 6, 6), np.nan)), "image 0 has NaN or infinity"),
    "nothing": (lambda n, t: n.predict(np.zeros((0, 1, 6, 6), np.uint8)), "no dimension 0"),
    "a list": (lambda n, t: n.predict([[1.0]]), r"images are a NumPy array, .* not \[\[1.0\]\]"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_images_that_do_not_fit_are_one_line(what: str, net: Classifier, trained: Trained) -> None:
    call, rule = REFUSED[what]
    with pytest.raises(DataError, match=rule) as caught:
        call(net, trained)
    assert "\n" not in str(caught.value)


def test_a_program_takes_no_uint8_image_for_a_normalised_one(trained: Trained, net: Classifier) -> None:
    with pytest.raises(RunError, match=r"these are uint8; give those of dataset.normalized\(\), call .*load_model"):
        net.program(trained.data.test.images[:2])
    unsaid = Classifier(trained.net, ModelInfo("", (1, 6, 6), 3))
    with pytest.raises(DataError, match=r"do not say how; take it from .* load_model\(..., data=D\) or --data D"):
        unsaid.predict(trained.data.test.images)
    assert len(unsaid.predict(floats(trained))) == 60  # taken as they stand


def test_a_model_of_floats_takes_floats(trained: Trained) -> None:
    x, y = trained.data.train.images[:, 0].astype(np.float32), trained.data.train.labels
    about = ModelInfo.of(convc.data.Dataset.from_arrays(x, y).normalized())
    net = Classifier(trained.net, about)
    assert np.array_equal(net.outputs(x[:3]), net.program(about.normalisation.apply(x[:3, None])))
    with pytest.raises(DataError, match="was trained on float images, and these are uint8"):
        net.predict(trained.data.test.images)


def test_weights_that_say_nothing(trained: Trained, tmp_path: Path) -> None:
    """As another tool writes them: the model and its data are given."""
    plain = tmp_path / "plain.safetensors"
    save_file({name: trained.net.store[name] for name in trained.net.store.names("parameter")}, plain)
    assert read_info(plain) is None
    with pytest.raises(DataError, match="does not say which model its weights are of; give it: load_model"):
        convc.load_model(plain)
    with pytest.raises(DataError, match="does not say which images its model reads; give data="):
        convc.load_model(plain, make_net())
    images = trained.data.test.images
    found = convc.load_model(plain, make_net(), data=trained.data.normalized()).predict(images)
    wanted = convc.load_model(trained.weights, make_net()).predict(images)
    assert np.array_equal(found.probabilities, wanted.probabilities)


def test_which_model(trained: Trained, tmp_path: Path) -> None:
    net = convc.models.lenet5()
    convc.compile(net, (4, 1, 28, 28))
    data = load("mnist5k").normalized()
    path = tmp_path / "lenet.safetensors"
    convc.save_model(path, net, data)
    again = convc.load_model(path)
    assert again.about.architecture == "lenet5"
    assert np.array_equal(again.module.store["fc3.bias"], net.store["fc3.bias"])
    three = convc.models.lenet5(3)
    convc.compile(three, (4, 1, 28, 28))
    x, y = data.test.images, data.test.labels % 3
    convc.save_model(path, three, convc.data.Dataset.from_arrays(x, y).normalized())
    assert convc.load_model(path).outputs(x[:2], normalized=True).shape == (2, 3)
    for name, rule in (
        ("mine.py:net", "has weights of mine.py:net, which is code that convc runs only when told; give it"),
        ("lenet", "'lenet', which is no model of the zoo; did you mean 'lenet5'"),
    ):
        net.store.save(path, mark_of(ModelInfo.of(data, name)))
        with pytest.raises(DataError, match=rule):
            convc.load_model(path)
    with pytest.raises(DataError, match=r"lacks fc\.weight, fc\.bias; use the model"):
        convc.load_model(trained.weights, convc.nn.Sequential(("fc1", nn.Flatten()), ("fc", nn.Linear(36, 3))))


def test_words_that_are_none_are_refused(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    good = ModelInfo.of(trained.data.normalized()).as_json()
    odd: dict[str, object] = {"classes": 0, "input_shape": [1, 6], "class_names": ["a"], "normalisation": {"mean": [1]}}
    for field, value in odd.items():
        trained.net.store.save(path, {"convc": json.dumps({"model": {**good, field: value}})})
        with pytest.raises(DataError, match="does not say what its model is") as caught:
            read_info(path)
        assert "\n" not in str(caught.value)


def test_a_model_that_is_no_classifier_of_these_is_refused(trained: Trained) -> None:
    about = ModelInfo.of(trained.data.normalized())
    for module in (nn.Sequential(nn.Conv2d(1, 3, 3)), nn.Sequential(nn.Flatten(), nn.Linear(36, 2))):
        with pytest.raises(RunError, match=r"a classifier gives \[N, K\] with a K of at least 3, its classes"):
            Classifier(module, about).predict(trained.data.test.images)


def test_it_shows_itself(net: Classifier, trained: Trained) -> None:
    assert repr(net).splitlines()[0] == "Classifier bands: 1x6x6 images, 3 classes"
    assert "images in 0..1" in repr(net)
    found = net.predict(trained.data.test.images)
    assert repr(found).splitlines()[0] == "Predictions of 60 images, 3 classes"
    assert "50 more" in repr(found)
    assert found._repr_html_().startswith("<table>")
    assert "top" in repr(Predictions(np.array([[1.0, 0.0]]), ("top", "<b>")))
