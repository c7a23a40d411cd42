"""`convc predict`: which class images are of."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from convc.checks import whole
from convc.cli.models import resolve_model
from convc.cli.options import place_options, working
from convc.cli.training import MODULE_RULE
from convc.data import load
from convc.data.image_source import Source, read_sources
from convc.errors import ConvcError, DataError
from convc.ir.lexer import printable
from convc.model_info import ModelInfo
from convc.nn import Module
from convc.prediction import Classifier, Predictions, load_model

DARK, LIGHT = 0.25, 0.5
"""Training images are dark where their mean is below the first, light above 1 minus it; others beyond the second."""


@click.command()
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", type=int, default=1, show_default=True, help="Classes to print, the most probable first.")
@click.option("--resize", is_flag=True, help="Bring images to the model's size and colours: stretched, not cut.")
@click.option("--invert", is_flag=True, help="Swap dark and light first, as for dark digits on white.")
@click.option("--model", help="The model, where it is none of the zoo: file.py:function.")
@click.option("--data", help="What the model was trained on, where the weights do not say.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", type=int, default=64, show_default=True, help="Images in a batch.")
@place_options
def predict(
    weights: Path,
    images: tuple[Path, ...],
    top: int,
    resize: bool,
    invert: bool,
    model: str | None,
    data: str | None,
    as_json: bool,
    batch: int,
    target: str,
) -> None:
    """Print the class of each IMAGE, and its probability.

    IMAGE is a picture (PNG, JPEG, BMP, PPM), an array (.npy) or a folder of
    these. It goes through the normalisation that WEIGHTS carries. It must be of
    the size and the colours that the model was trained on, unless --resize
    brings it there.

    \b
    Examples:
      convc predict out/lenet5/weights.safetensors three.png
      convc predict out/lenet5/weights.safetensors photo.jpg --resize --invert
      convc predict out/lenet5/weights.safetensors digits/ --top 3
    """
    whole(top, "top", 1, remedy="give another --top")
    net = trained(weights, model, data, batch, target)
    channels, height, width = net.about.input_shape
    sources = read_sources(images, (channels, height, width), resize=resize, invert=invert)
    names = [name for source in sources for name in source.names()]
    with working(f"predicting {len(names)} images"):
        found = predictions(net, sources)
    for line in hints(net.about, sources, invert):
        click.echo(f"convc: note: {printable(line)}", err=True)
    click.echo(as_text(names, found, top) if not as_json else as_document(names, found, top))


def trained(weights: Path, model: str | None, data: str | None, batch: int, target: str) -> Classifier:
    """The model with its weights. Raises ConvcError where it cannot be told, or does not fit them."""
    dataset = load(data).normalized() if data is not None else None
    module, image = (
        resolve_model(model, dataset.image_shape if dataset else None) if model is not None else (None, None)
    )
    if module is not None and not isinstance(module, Module):
        raise ConvcError(f"{MODULE_RULE}, and {model} is a graph")
    if module is not None and module.input_shape is None:
        module.input_shape = image
    with working(f"compiling for {weights}"):
        return load_model(weights, module, data=dataset, batch=batch, target=target)


def predictions(net: Classifier, sources: list[Source]) -> Predictions:
    """Of all images in order; those of one kind together. Raises DataError, naming the file of an array."""
    parts: list[Predictions] = []
    for is_float, group in _groups(sources):
        try:
            parts.append(net.predict(np.concatenate([s.images for s in group])))
        except DataError as error:
            raise DataError(f"{error}: {group[0].path}") if is_float else error from None
    return Predictions(np.concatenate([p.probabilities for p in parts]), parts[0].class_names)


def _groups(sources: list[Source]) -> list[tuple[bool, list[Source]]]:
    """Neighbours that are uint8 together, each array of floats by itself, for its own error line."""
    groups: list[tuple[bool, list[Source]]] = []
    for source in sources:
        is_float = source.images.dtype.kind == "f"
        if groups and not is_float and not groups[-1][0]:
            groups[-1][1].append(source)
        else:
            groups.append((is_float, [source]))
    return groups


def hints(about: ModelInfo, sources: list[Source], inverted: bool) -> list[str]:
    """A line where images are light and those of training were dark, or the other way round."""
    numbers = about.normalisation
    if numbers is None or not numbers.scaled:
        return []
    usual = sum(numbers.mean) / len(numbers.mean)
    means = [(s, float(s.images.mean()) / (255 if s.images.dtype == np.uint8 else 1)) for s in sources]
    odd = [(s, m) for s, m in means if (usual < DARK and m > LIGHT) or (usual > 1 - DARK and m < LIGHT)]
    if not odd:
        return []
    source, mean = odd[0]
    more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
    kinds = ("light", "dark") if usual < DARK else ("dark", "light")
    remedy = "leave out --invert" if inverted else "--invert swaps the two"
    return [
        f"{source.path}{more} is {kinds[0]}, mean {mean:.2f}, and training's images {kinds[1]}, {usual:.2f}: {remedy}"
    ]


def as_text(names: list[str], found: Predictions, top: int) -> str:
    """A line an image, or, of several classes each, a line a class under it."""
    if top == 1:
        labels = list(map(printable, found.classes))
        width = max(map(len, labels))
        rows = zip(labels, found.confidence, map(printable, names))
        return "\n".join(f"{label:<{width}}  {p:7.2%}  {name}" for label, p, name in rows)
    lines = []
    for name, best in zip(names, found.top(top)):
        width = max(len(printable(label)) for label, _ in best)
        lines += [printable(name), *(f"  {printable(label):<{width}}  {p:7.2%}" for label, p in best)]
    return "\n".join(lines)


def as_document(names: list[str], found: Predictions, top: int) -> str:
    """JSON: for each image its name, its class and probability, and the classes asked for."""
    images = [
        {
            "image": name,
            "class": label,
            "probability": float(p),
            "top": [{"class": c, "probability": q} for c, q in best],
        }
        for name, label, p, best in zip(names, found.classes, found.confidence, found.top(top))
    ]
    return json.dumps(images, indent=2)
