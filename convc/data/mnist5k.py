"""The data set that comes with convc: 5000 MNIST digits, 500 of each; mnist5k.md tells their origin."""

from __future__ import annotations

from importlib import resources

import numpy as np

from convc.data.dataset import Dataset, make_split
from convc.data.hold_out import hold_out

NAME = "mnist5k"
CLASSES = 10


def load(*, seed: int) -> Dataset:
    """4000 train, 500 validation and 500 test images, uint8 [1, 28, 28]; 400, 50 and 50 of each digit.

    `seed` orders the train split; the three splits hold the same images whatever it is.
    """
    with (resources.files("convc.data") / "mnist5k.npz").open("rb") as file, np.load(file) as arrays:
        whole = make_split(arrays["images"], arrays["labels"], CLASSES, NAME)
    train, validation, test = hold_out(whole, 2, seed=seed, place=NAME)
    return Dataset(NAME, train, validation, test, CLASSES)
