"""Defining a model: layers in sequence, each knowing its parameters and how it becomes graph nodes.

    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1176, 10))

A module is built into a graph once a shape is known. Its parameters live in `module.store`, which every
program compiled from it shares.
"""

from convc.nn.layers import (
    HE,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Pair,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    pair,
)
from convc.nn.module import GraphBuilder, Module, Residual, Sequential, fill_uniform

__all__ = [
    "HE",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GraphBuilder",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Module",
    "Pair",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "fill_uniform",
    "pair",
]
