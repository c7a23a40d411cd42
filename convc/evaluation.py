"""How good a trained model is: loss, accuracy and its interval, which classes are taken for which, what is misread.

found = convc.evaluate(convc.load_model(weights), load("mnist5k"))
found.accuracy, found.interval(), found.confusion, found.misread
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from convc.checks import choice, instance, real
from convc.data import Dataset, Split
from convc.errors import DataError
from convc.model_info import ModelInfo
from convc.modules import Module
from convc.prediction import Classifier
from convc.show import WIDTH, paragraph
from convc.table import Table, first

PARTS = ("train", "validation", "test")
MOST_CLASSES = 12
"""Of a confusion matrix that is shown whole: with more, the worst classes and pairs are."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model made of a split of N images.

    `loss`: the mean cross-entropy in nats, worked out in float64. `labels`, `predicted`: int64 [N]. `confidence`: the
    probability of what was predicted, float64 [N]. `class_names`: a name for each of the K outputs.
    """

    loss: float
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    class_names: tuple[str, ...]
    part: str = "test"

    @property
    def images(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> int:
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """0..1"""
        return self.correct / self.images

    @property
    def standard_error(self) -> float:
        """Of the accuracy, by the number of images: sqrt(p (1 - p) / N)."""
        return sqrt(self.accuracy * (1 - self.accuracy) / self.images)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Wilson's interval of the accuracy: what other images of the same kind would let it be.

        Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927. It says nothing of
        other seeds of training. Raises RunError unless 0 < level < 1.
        """
        return wilson(self.correct, self.images, level)

    @property
    def confusion(self) -> np.ndarray:
        """How many images of class i (row) were taken for class j (column): int64 [K, K]."""
        k = len(self.class_names)
        return np.bincount(self.labels * k + self.predicted, minlength=k * k).reshape(k, k)

    @property
    def per_class(self) -> np.ndarray:
        """The share of each class's images that was recognised: float64 [K], nan where there are none."""
        confusion = self.confusion
        counts = confusion.sum(axis=1)
        return np.where(counts > 0, confusion.diagonal() / np.maximum(counts, 1), np.nan)

    @property
    def misread(self) -> np.ndarray:
        """The numbers of the images that were taken for another class, the surest mistakes first: int64 [M]."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    def tables(self) -> list[Table]:
        """The confusion matrix with each class's accuracy; of many classes the worst, and who is taken for whom."""
        if len(self.class_names) <= MOST_CLASSES and (matrix := self._matrix()).width <= WIDTH:
            return [matrix]
        return [self._worst(), self._pairs()]

    def _matrix(self) -> Table:
        names = self.class_names
        # Columns by their number where names are not that short: the rows have both.
        columns = names if max(map(len, names)) <= 3 else tuple(map(str, range(len(names))))
        rows = [
            (name if columns is names else f"{i} {name}", *(str(n) if n else "." for n in counts), _percent(share))
            for i, (name, counts, share) in enumerate(zip(names, self.confusion, self.per_class))
        ]
        title = "rows: the class; columns: what it was taken for"
        return Table(title, ("class", *columns, "right"), rows, (*columns, "right"))

    def _worst(self) -> Table:
        share, counts = self.per_class, self.confusion.sum(axis=1)
        order = [c for c in np.argsort(share, kind="stable") if counts[c]]
        rows = ((self.class_names[c], str(counts[c]), _percent(share[c])) for c in order)
        title = "the classes that were recognised least"
        return Table(title, ("class", "images", "right"), first(rows, MOST_CLASSES, len(order)), ("images", "right"))

    def _pairs(self) -> Table:
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        order = [p for p in np.argsort(-wrong, axis=None, kind="stable")[:MOST_CLASSES] if wrong.flat[p]]
        pairs = [divmod(int(p), len(self.class_names)) for p in order]
        rows = [(self.class_names[a], self.class_names[b], str(wrong[a, b])) for a, b in pairs]
        return Table("the confusions that were most frequent", ("class", "taken for", "times"), rows, ("times",))

    def __str__(self) -> str:
        """As training says it, in one line."""
        return f"loss {self.loss:.4f}, accuracy {self.accuracy:.2%} ({self.correct} of {self.images})"

    @property
    def uncertainty(self) -> str:
        """What the number of images leaves open, in one line."""
        low, high = self.interval()
        return f"accuracy of such images: {low:.1%} to {high:.1%} (95 %), one standard error {self.standard_error:.2%}"

    def __repr__(self) -> str:
        return "\n".join([f"{self.part}: {self}", self.uncertainty, *map(str, self.tables())])

    def _repr_html_(self) -> str:
        return "".join([paragraph(f"{self.part}: {self}; {self.uncertainty}"), *(t.html() for t in self.tables())])


def evaluate(
    model: Classifier | Module, data: Dataset | Split, part: str = "test", *, batch: int = 128, target: str = "auto"
) -> Evaluation:
    """Loss, accuracy and confusions of a model on one part of a data set, or on a split.

    A `Classifier` normalises images as it does to predict; those of a data set that its own numbers normalised are
    taken as they are. A module takes images as training gave them to it, those of `dataset.normalized()`; it is
    compiled for batches of `batch`. Raises DataError where the images are of another kind, or have more classes than
    the model.
    """
    choice(part, "part of the data", PARTS, error=DataError)
    instance(data, (Dataset, Split), "what a model is measured on is a convc.data.Dataset or Split", error=DataError)
    split = data.parts()[part] if isinstance(data, Dataset) else data
    normalisation = data.normalisation if isinstance(data, Dataset) else None
    if not isinstance(model, Classifier):
        about = ModelInfo("", split.images.shape[1:], _classes(data), getattr(data, "class_names", ()))
        model = Classifier(model, about, batch=batch, target=target)
        normalisation = None
    elif normalisation is not None and normalisation != model.about.normalisation:
        raise DataError("the images were normalised by other numbers than the model's; give the data set as loaded")
    outputs = model.outputs(split.images, normalized=normalisation is not None)
    labels = split.labels.astype(np.int64)
    if labels.max() >= outputs.shape[1]:
        raise DataError(
            f"a model must tell apart the classes of its data, but it has {outputs.shape[1]} and a label is "
            f"{labels.max()}; choose another model"
        )
    found = model.predictions_of(outputs)
    name = part if isinstance(data, Dataset) else "split"
    names = found.class_names
    return Evaluation(cross_entropy(outputs, labels), labels, found.labels, found.confidence, names, name)


def cross_entropy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """The mean of log(sum of exp(outputs)) - outputs[label] over rows [N, K], in float64: what training minimises."""
    outputs = outputs.astype(np.float64)
    most = outputs.max(axis=1)
    sums = most + np.log(np.exp(outputs - most[:, None]).sum(axis=1))
    return float((sums - outputs[np.arange(len(labels)), labels]).mean())


def wilson(correct: int, images: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, `correct` of `images`."""
    level = real(level, "the level of an interval", 0.0, 1.0, above=True)
    z = NormalDist().inv_cdf((1 + level) / 2)
    p, n = correct / images, images
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _classes(data: Dataset | Split) -> int:
    return data.classes if isinstance(data, Dataset) else int(data.labels.max()) + 1


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.1%}"
