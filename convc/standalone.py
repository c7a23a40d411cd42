"""A folder of C that builds with one line and runs by itself: sources, first weights, and images to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from convc.build.files import check_memory
from convc.build.toolchain import PROGRAM_FLAGS
from convc.codegen.emit import CSource
from convc.codegen.main_program import MainProgram, Sample
from convc.compiler import Mode, known_numbers
from convc.data import Dataset, Normalisation, load
from convc.data.idx import idx_bytes
from convc.data.mnist5k import NAME as MNIST
from convc.errors import DataError
from convc.ir.core import Graph
from convc.modules import GraphBuilder
from convc.nn import Module
from convc.optim import Optimizer
from convc.passes.pipeline import Trace
from convc.runtime.arguments import label_limits
from convc.runtime.digest import blank_mark, stamped

MOST_BYTES = 4 * 2**20
"""Of the sample's images; there is one at least."""
MNIST_SHAPE, MNIST_CLASSES = (1, 28, 28), 10


@dataclass(frozen=True)
class Weights:
    """Where the weights come from: a file, or None for the first ones of `seed`."""

    file: Path | None = None
    seed: int = 0

    def __str__(self) -> str:
        return f"the weights of {self.file.name}" if self.file else f"the first weights of seed {self.seed}"


def standalone_files(
    model: Module,
    builder: GraphBuilder,
    trace: Trace,
    source: CSource,
    mode: Mode,
    optimizer: Optimizer,
    weights: Weights,
    data: str | None = None,
) -> tuple[dict[str, bytes], MainProgram]:
    """Path and content of each file beside the kernels', and the program that they make.

    `builder`: what wrote the model's graph; `trace`, `source`: the program of it. `data`: what convc.data.load takes,
    for the sample and for how pixels become numbers; None is mnist5k where the model takes its images, and synthetic
    images where not. Raises ConvcError where data or weights are not the model's.
    """
    graph = trace.stages[-1][1]
    shape = tuple(int(e) for e in builder.inputs[0].type.shape[1:])
    classes = next(iter(label_limits(trace.stages[0][1]).values()), 0) or _last_extent(graph)
    dataset = _dataset(shape, classes, data, weights.seed)
    split = "train" if mode == "train" else "test"
    part = dataset.parts()[split]
    count = min(len(part), max(1, MOST_BYTES // prod(shape)))
    images, labels = part.images[:count], part.labels[:count]
    numbers = Normalisation.of(dataset.train.images)
    mean, std = numbers.mean, numbers.std
    if len(shape) != 3:
        images = images.reshape(count, -1)
    elif shape[0] == 1:
        images = images[:, 0]
    sample = Sample(dataset.name, split, count, mean, std, str(weights))
    program = MainProgram(
        graph, source, mode, PROGRAM_FLAGS, known_numbers(mode, optimizer, weights.seed), classes, sample, weights.seed
    )
    files = {name: text.encode() for name, text in program.files().items()}
    files["data/images.idx"] = idx_bytes(images)
    if program.labelled:
        # A model of one class has one label; synthetic images have two classes at least.
        files["data/labels.idx"] = idx_bytes(np.minimum(labels, classes - 1).astype(np.uint8))
    files["data/weights.safetensors"] = _weights(model, builder, weights)
    return files, program


def _last_extent(graph: Graph) -> int:
    return int(graph.outputs[0].type.shape[-1]) if graph.outputs[0].type.shape else 1


def _dataset(shape: tuple[int, ...], classes: int, data: str | None, seed: int) -> Dataset:
    image = shape if len(shape) == 3 else (1, 1, prod(shape))
    if data is None and image == MNIST_SHAPE and classes >= MNIST_CLASSES:
        data = MNIST
    if data is None:
        drawn = min(max(classes, 2), 10)
        count = min(5000, max(10 * drawn, MOST_BYTES // prod(shape)))
        data = f"synthetic:{'x'.join(map(str, image))}:{drawn}:{count}"
        return load(data, seed=seed)
    found = load(data, seed=seed)
    if found.image_shape != image:
        raise DataError(
            f"sample images must be those that the model takes, {list(image)}, but those of {found.name} are "
            f"{list(found.image_shape)}; give other --data or another --shape"
        )
    if found.classes > min(classes, 256):
        raise DataError(
            f"a sample's labels are bytes below the model's {classes} classes, but {found.name} has {found.classes}; "
            "give other --data"
        )
    return found


def _weights(model: Module, builder: GraphBuilder, weights: Weights) -> bytes:
    size = sum(v.type.nbytes for v in builder.inputs if v.name in builder.initial)
    check_memory(3 * size, "weights, and the file that they go to", "the main's weights")
    model.initialise(builder, weights.seed)
    if weights.file:
        model.store.load(weights.file)
    with model.store.locked():
        return stamped(save({name: model.store[name] for name in builder.initial}, blank_mark(None)))
