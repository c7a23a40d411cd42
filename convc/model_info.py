"""What a weights file says of its model besides the weights: which it is, and what images it was trained on.

It lies in the safetensors metadata, in the JSON under the key `convc`, and is covered by the digest there
(convc.runtime.digest):

    {"run": "...", "epoch": 30, "model": {"architecture": "lenet5", "input_shape": [1, 28, 28], ...}, "sha256": "..."}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convc.build.files import read_whole
from convc.checks import instance, shape_of, whole
from convc.data import Dataset, Normalisation
from convc.errors import DataError
from convc.models import ZOO
from convc.modules import Module
from convc.runtime.digest import KEY, is_marked, read_mark

FIELD = "model"


@dataclass(frozen=True)
class ModelInfo:
    """What a trained model has to say of itself.

    `architecture`: a zoo name or file.py:function, "" where nobody said. `input_shape`: (C, H, W). `class_names`: one
    for each of `classes`, or none. `normalisation`: what images go through first; None where the model was trained on
    images as they stood. `dataset`: its name. Raises DataError for what does not fit together.
    """

    architecture: str
    input_shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    dataset: str = ""

    def __post_init__(self) -> None:
        for name in ("architecture", "dataset"):
            instance(getattr(self, name), str, f"{name} of a model is text", error=DataError)
        shape = shape_of(self.input_shape, "the input shape of a model", remedy="give (C, H, W)", error=DataError)
        if len(shape) != 3:
            raise DataError(f"the input shape of a model is (C, H, W), not {list(shape)}; give three numbers")
        classes = whole(self.classes, "the number of classes", 1, error=DataError)
        names = tuple(instance(n, str, "the name of a class is text", error=DataError) for n in self.class_names)
        if len(names) not in (0, classes):
            raise DataError(f"every class has a name or none, but {len(names)} of {classes} have one")
        instance(
            self.normalisation, (Normalisation, type(None)), "a normalisation is a convc.data.Normalisation or None",
            error=DataError,
        )  # fmt: skip
        if self.normalisation is not None and self.normalisation.channels != shape[0]:
            raise DataError(
                f"a normalisation has a mean for each channel, but has {self.normalisation.channels} and images have "
                f"{shape[0]}"
            )
        for name, value in (("input_shape", shape), ("classes", classes), ("class_names", names)):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, dataset: Dataset, architecture: str = "") -> ModelInfo:
        """That of a model trained on `dataset` as it stands: one that `Dataset.normalized` gave knows its numbers."""
        instance(dataset, Dataset, "what a model was trained on is a convc.data.Dataset", error=DataError)
        names, numbers = dataset.class_names, dataset.normalisation
        return cls(architecture, dataset.image_shape, dataset.classes, names, numbers, dataset.name)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each class: its number where the data gave none."""
        return self.class_names or tuple(map(str, range(self.classes)))

    def as_json(self) -> dict[str, Any]:
        numbers = self.normalisation
        return {
            "architecture": self.architecture,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "class_names": list(self.class_names),
            "normalisation": numbers.as_json() if numbers else None,
            "dataset": self.dataset,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> ModelInfo:
        """What `as_json` gave. Raises DataError, KeyError or TypeError for anything else."""
        numbers = found["normalisation"]
        return cls(
            found["architecture"],
            found["input_shape"],
            found["classes"],
            tuple(found["class_names"]),
            None if numbers is None else Normalisation.from_json(numbers),
            found["dataset"],
        )


def mark_of(about: ModelInfo | None, **more: object) -> dict[str, str]:
    """The metadata of a weights file: what is known of the model, and `more`, under convc's key."""
    return {KEY: json.dumps({**more, **({FIELD: about.as_json()} if about else {})})}


def read_info(path: Path | str) -> ModelInfo | None:
    """What the weights file says of its model, its digest checked; None where it says nothing.

    Raises DataError for a file that cannot be read or is damaged, and for one whose words on its model are no such.
    """
    path = Path(path)
    data = read_whole(path, "weights from ")
    mark = read_mark(path, data) if is_marked(data) else {}
    if FIELD not in mark:
        return None
    try:
        return ModelInfo.from_json(mark[FIELD])
    except (DataError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} does not say what its model is ({reason}); give the model with model=, or --model"
        ) from None


def save_model(path: Path | str, module: Module, about: ModelInfo | Dataset) -> None:
    """Write the module's parameters, and what is known of the model, as safetensors: `convc.load_model` reads it.

    `about`: what it was trained on, as it was trained on: `load("mnist5k").normalized()`; its architecture is then
    the module's name where that is one of the zoo's. Raises DataError where the file cannot be written.
    """
    instance(module, Module, "what is saved is a convc.nn.Module, such as convc.models.lenet5()", error=DataError)
    if not isinstance(about, ModelInfo):
        about = ModelInfo.of(about, module.name if module.name in ZOO else "")
    module.store.save(path, mark_of(about))
