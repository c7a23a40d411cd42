"""The zoo: models that `convc` knows by name."""

from __future__ import annotations

from collections.abc import Callable

from convc.models.alexnet import alexnet
from convc.models.lenet import lenet5
from convc.models.vgg import vgg11, vgg16, vgg_small
from convc.nn import Module

ZOO: dict[str, tuple[Callable[..., Module], tuple[int, int, int]]] = {
    "lenet5": (lenet5, (1, 28, 28)),
    "alexnet": (alexnet, (3, 224, 224)),
    "vgg11": (vgg11, (3, 224, 224)),
    "vgg16": (vgg16, (3, 224, 224)),
    "vgg_small": (vgg_small, (3, 32, 32)),
}
"""For each name its constructor, which takes the number of classes, and its image shape (C, H, W)."""

__all__ = ["ZOO", "alexnet", "lenet5", "vgg11", "vgg16", "vgg_small"]
