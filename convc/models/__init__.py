"""The zoo: models that `convc` knows by name."""

from __future__ import annotations

from collections.abc import Callable

from convc.models.lenet import lenet5
from convc.nn import Module

ZOO: dict[str, tuple[Callable[[], Module], tuple[int, int, int]]] = {"lenet5": (lenet5, (1, 28, 28))}
"""For each name its constructor and its image shape (C, H, W)."""

__all__ = ["ZOO", "lenet5"]
