"""A small model of three bands, trained, and its weights as a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import convc
from convc import nn
from convc.data import Dataset

NAMES = ("top", "middle", "bottom")


def make_net() -> nn.Sequential:
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    return nn.Sequential(*layers, name="bands")


def make_arrays(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 6, 6] of which one of three bands is bright, and its number."""
    labels = np.arange(rows) % 3
    images = np.random.default_rng(seed).integers(0, 120, (rows, 6, 6), np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label : 2 * label + 2] += 60
    return images, labels


@dataclass(frozen=True)
class Trained:
    net: nn.Sequential
    data: Dataset  # as loaded
    weights: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    data = Dataset.from_arrays(*make_arrays(150, 0), *make_arrays(60, 1), class_names=NAMES, name="bands")
    moved, net = data.normalized(), make_net()
    step = convc.compile(net, (120, 1, 6, 6), mode="train")
    for _ in range(12):
        step(moved.train.images[:120], moved.train.labels[:120], lr=0.1)
    path = tmp_path_factory.mktemp("weights") / "bands.safetensors"
    convc.save_model(path, net, moved)
    return Trained(net, data, path)
