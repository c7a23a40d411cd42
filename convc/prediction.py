"""Trained models at work: images in, classes and their probabilities out.

net = convc.load_model("out/lenet5/weights.safetensors")
net.predict(images)          # uint8 [N, C, H, W] or [N, H, W]: normalised as in training
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from convc.checks import flag, instance, whole
from convc.compiler import check_model, compile
from convc.data import Dataset
from convc.data.dataset import check_images
from convc.errors import DataError, RunError
from convc.ir.lexer import did_you_mean
from convc.ir.ops.loss import Softmax
from convc.model_info import ModelInfo, read_info
from convc.models import ZOO
from convc.modules import Module
from convc.runtime.program import Program
from convc.show import wrapped
from convc.table import Table, first

MOST_SHOWN = 10
"""Images that a `repr` shows."""


class Predictions:
    """What a model says of N images.

    `probabilities`: float64 [N, K], every row's sum 1. `class_names`: a name for each of the K classes.
    """

    def __init__(self, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
        self.probabilities = probabilities
        self.class_names = tuple(class_names)

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each image, the first of equal ones: int64 [N]."""
        labels: np.ndarray = self.probabilities.argmax(axis=1)
        return labels

    @property
    def classes(self) -> list[str]:
        """Its name, for each image."""
        return [self.class_names[label] for label in self.labels]

    @property
    def confidence(self) -> np.ndarray:
        """Its probability, for each image: float64 [N]."""
        confidence: np.ndarray = self.probabilities.max(axis=1)
        return confidence

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """For each image the `k` most probable classes and their probabilities, or all where there are fewer."""
        k = whole(k, "top", 1, remedy="ask for the first class or more")
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return [[(self.class_names[c], float(row[c])) for c in best] for row, best in zip(self.probabilities, order)]

    def table(self) -> Table:
        """The first images, each with its most probable class and the next one."""
        head = Predictions(self.probabilities[:MOST_SHOWN], self.class_names).top(2)
        rows = (
            (str(i), best[0][0], f"{best[0][1]:.2%}", *((best[1][0], f"{best[1][1]:.2%}") if best[1:] else ("", "")))
            for i, best in enumerate(head)
        )
        title = f"Predictions of {len(self)} images, {len(self.class_names)} classes"
        headings = ("image", "class", "probability", "next", "its probability")
        return Table(title, headings, first(rows, MOST_SHOWN, len(self)), ("probability", "its probability"))

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table().html()


class Classifier:
    """A model with trained weights, and what images go through before it reads them.

    `about`: what it was trained on. It is compiled when it is first asked, for `batch` images at a time, and runs any
    number of them. Raises RunError where the model does not give [N, K] with K >= the classes.
    """

    def __init__(self, module: Module, about: ModelInfo, *, batch: int = 64, target: str = "auto") -> None:
        self.module = check_model(module)
        self.about: ModelInfo = instance(about, ModelInfo, "about is a convc.ModelInfo, such as ModelInfo.of(dataset)")
        self.batch = whole(batch, "batch", 1)
        self.target = target

    @cached_property
    def program(self) -> Program:
        """Mode `infer`, for batches of `batch`; it shares its parameters with all programs of the model."""
        program = compile(self.module, (self.batch, *self.about.input_shape), target=self.target)
        check_classifier(self.module, self.about)
        return program

    def predict(self, images: np.ndarray, *, normalized: bool = False) -> Predictions:
        """Classes and probabilities: softmax of the model's outputs in float64; outputs of a softmax as they are.

        `images`: [N, C, H, W], or [N, H, W] where C = 1, or one image without N. uint8 is scaled and normalised as in
        training. Floats are normalised too; where training began with uint8, they are such images divided by 255.
        `normalized`: float images that went through that already, as those of `Dataset.normalized`. Raises DataError
        for images of another shape or dtype, and where they are not of the range or kind that was said.
        """
        return self.predictions_of(self.outputs(images, normalized=normalized))

    def outputs(self, images: np.ndarray, *, normalized: bool = False) -> np.ndarray:
        """What the model gives for them: float32 [N, K]."""
        ready = prepared(images, self.about, flag(normalized, "normalized", error=DataError))
        parts = [self.program(ready[i : i + self.batch]) for i in range(0, len(ready), self.batch)]
        return np.concatenate(parts)

    def predictions_of(self, outputs: np.ndarray) -> Predictions:
        """What the model's outputs, float32 [N, K], say."""
        return Predictions(probabilities(outputs, self._softmax), names_of(self.about, outputs.shape[1]))

    @property
    def _softmax(self) -> bool:
        """Whether the model's last layer is a softmax."""
        nodes = self.program.trace.stages[0][1].producers()
        last = nodes.get(self.program.trace.stages[0][1].outputs[0])
        return last is not None and isinstance(last.op, Softmax)

    def summary(self) -> Table:
        """The model's layers on its images: see `Module.summary`."""
        return self.module.summary((1, *self.about.input_shape))

    def __repr__(self) -> str:
        a = self.about
        name = a.architecture or self.module.name or type(self.module).__name__
        lines = [f"Classifier {name}: {'x'.join(map(str, a.input_shape))} images, {a.classes} classes"]
        lines += [f"trained on {a.dataset}"] if a.dataset else []
        lines.append(
            f"images are normalised: {a.normalisation}" if a.normalisation else "images are taken as they stand"
        )
        return wrapped(*lines)


def load_model(
    weights: Path | str,
    model: Module | None = None,
    *,
    data: Dataset | None = None,
    batch: int = 64,
    target: str = "auto",
) -> Classifier:
    """The model that a weights file holds, ready to predict.

    A model of the zoo is made by the name in the file; any other is given as `model`, which then holds these weights:
    a file names code, and does not run it. `data`: for files that say nothing of their images, what the model was
    trained on, `load(...).normalized()`. Raises DataError where the file is none, is damaged, or does not fit the
    model, and where it names none and none is given.
    """
    path = Path(weights)
    about = read_info(path)
    if model is None:
        model = _named(path, about)
    if data is not None:
        about = ModelInfo.of(data, about.architecture if about else "")
    about = about or _of_model(check_model(model), path)
    net = Classifier(model, about, batch=batch, target=target)
    _ = net.program  # the store has its arrays once a program is compiled
    model.store.load(path)
    return net


def prepared(images: np.ndarray, about: ModelInfo, normalized: bool) -> np.ndarray:
    """The images as the model reads them: float32 [N, C, H, W], normalised. Raises DataError."""
    place = "images to predict"
    instance(images, np.ndarray, "images are a NumPy array, uint8 or float32 [N, C, H, W]", error=DataError)
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what becomes infinite is refused as such
            images = images.astype(np.float32, copy=False)
    images = _with_rows(images, about.input_shape)
    check_images(images, place)
    if images.shape[1:] != about.input_shape:
        raise DataError(
            f"images must be {_text(about.input_shape)}, as in training, not {_text(images.shape[1:])}; bring them to "
            "that size (convc predict --resize does)"
        )
    numbers, whole_numbers = about.normalisation, images.dtype == np.uint8
    if normalized and whole_numbers:
        raise DataError("normalized images are float32, and these are uint8; leave out normalized=True")
    if numbers is None and whole_numbers:
        raise DataError(
            "uint8 images must be normalised as in training, and the model's weights do not say how; take it from the "
            "data that it was trained on, load_model(..., data=D) or --data D, or give float32 images as in training"
        )
    if normalized or numbers is None:
        return images
    if whole_numbers and not numbers.scaled:
        raise DataError("the model was trained on float images, and these are uint8; give them in training's range")
    if numbers.scaled and not whole_numbers and not (images.min() >= 0 and images.max() <= 1):
        raise DataError(
            f"float images must be in 0..1, as uint8 divided by 255, but these go from {images.min():.3g} to "
            f"{images.max():.3g}; give uint8, divide, or say normalized=True where they are normalised"
        )
    return numbers.apply(images)


def probabilities(outputs: np.ndarray, softmax: bool) -> np.ndarray:
    """Of outputs [N, K], in float64: their softmax, or, where one was taken, each row brought to the sum 1.

    Raises RunError where an output is NaN or infinite.
    """
    outputs = outputs.astype(np.float64)
    if not np.isfinite(outputs).all():
        row = int(np.argmin(np.isfinite(outputs).all(axis=1)))
        raise RunError(f"outputs must be finite, but those of image {row} are not; take weights that did not diverge")
    if not softmax:
        outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    outputs /= outputs.sum(axis=1, keepdims=True)
    return outputs


def names_of(about: ModelInfo, outputs: int) -> tuple[str, ...]:
    """A name for each output: outputs beyond the data's classes are numbered."""
    return (*about.names, *map(str, range(about.classes, outputs)))


def check_classifier(module: Module, about: ModelInfo) -> int:
    """The K of the [N, K] that the model gives. Raises RunError where it gives something else, or has fewer classes."""
    _, y = module.forward_graph((1, *about.input_shape))
    if y.type.rank != 2 or int(y.type.shape[1]) < about.classes:
        raise RunError(
            f"a classifier gives [N, K] with a K of at least {about.classes}, its classes, but "
            f"{module.name or type(module).__name__} gives {y.type}; take another model"
        )
    return int(y.type.shape[1])


def _named(path: Path, about: ModelInfo | None) -> Module:
    name = about.architecture if about else ""
    if about and name in ZOO:
        make, _ = ZOO[name]
        usual = make()
        return usual if _holds(path, usual, about) else make(about.classes)
    remedy = "give it: load_model(weights, model), or --model MODEL"
    if not name:
        raise DataError(f"{path} does not say which model its weights are of; {remedy}")
    if ".py:" in name:
        raise DataError(f"{path} has weights of {name}, which is code that convc runs only when told; {remedy}")
    raise DataError(f"{path} has weights of {name!r}, which is no model of the zoo{did_you_mean(name, ZOO)}; {remedy}")


def _holds(path: Path, model: Module, about: ModelInfo) -> bool:
    """Whether the file's arrays have the shapes of the model's, as far as it has them; only its header is read."""
    from safetensors import safe_open  # here: a program that runs needs no file format

    g, _ = model.forward_graph((1, *about.input_shape))
    with safe_open(path, "np") as file:
        names = file.keys()
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    return all(stored.get(v.name, v.type.shape) == v.type.shape for v in g.inputs if g.roles[v.name] == "parameter")


def _of_model(model: Module, path: Path) -> ModelInfo:
    """What a model knows of itself where its weights say nothing: shape and outputs."""
    if model.input_shape is None:
        raise DataError(f"{path} does not say which images its model reads; give data=, what it was trained on")
    _, y = model.forward_graph((1, *model.input_shape))
    return ModelInfo("", model.input_shape, int(y.type.shape[-1]))


def _with_rows(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[N, C, H, W] of [H, W], [C, H, W] or [N, H, W]; the latter two are told apart by the C of `shape`."""
    if images.ndim == 2 and shape[0] == 1:
        return images[None, None]
    if images.ndim == 3:
        return images[:, None] if shape[0] == 1 else images[None]
    return images


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
