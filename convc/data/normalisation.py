"""The numbers that images are normalised by: taken from a train split, kept with the data set and with the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convc.checks import flag, real
from convc.errors import DataError

_ROWS_AT_A_TIME = 1024  # bounds the float64 temporaries of the statistics


@dataclass(frozen=True)
class Normalisation:
    """y = (x - mean) / std per channel, in float32; `scaled`: x is uint8 / 255, else float32 as it stands.

    `mean` and `std` have a number for each channel, which float32 holds exactly. Raises DataError for numbers that are
    not finite, a standard deviation that is not positive, and unequal counts.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scaled: bool

    def __post_init__(self) -> None:
        flag(self.scaled, "scaled of a normalisation", error=DataError)
        mean = tuple(_single(real(m, "a mean of a normalisation", error=DataError)) for m in self.mean)
        std = tuple(
            _single(real(s, "a deviation of a normalisation", 0.0, above=True, error=DataError)) for s in self.std
        )
        if not mean or len(mean) != len(std) or 0.0 in std:
            raise DataError(
                f"a normalisation has a mean and a positive deviation for each channel, not {len(mean)} and {len(std)}"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    @classmethod
    def of(cls, images: np.ndarray) -> Normalisation:
        """That of `images`, uint8 or float32 [N, C, H, W]: mean 0 and standard deviation 1 per channel over them.

        A channel that is constant is only centred.
        """
        blocks = [images[row : row + _ROWS_AT_A_TIME] for row in range(0, len(images), _ROWS_AT_A_TIME)]
        axes, count = (0, 2, 3), images.size // images.shape[1]
        total = sum(_as_float(block).sum(axis=axes, dtype=np.float64) for block in blocks)
        mean = np.reshape(total / count, (1, -1, 1, 1))
        squares = sum(np.square(_as_float(block) - mean).sum(axis=axes) for block in blocks)
        # Asked of the data: the sum of squares of a constant channel may miss 0 by a rounding.
        constant = images.min(axis=axes) == images.max(axis=axes)
        std = np.where(constant, 1.0, np.sqrt(squares / count))
        return cls(_numbers(mean.ravel()), _numbers(std), images.dtype == np.uint8)

    @property
    def channels(self) -> int:
        return len(self.mean)

    def apply(self, images: np.ndarray) -> np.ndarray:
        """The images [N, C, H, W], uint8 or float32, as a network reads them: float32, a copy.

        uint8 images are scaled to [0, 1]; of float32 ones the numbers are taken as they stand.
        """
        moved = _as_float(images)
        for numbers, step in ((self.mean, np.subtract), (self.std, np.divide)):
            step(moved, np.array(numbers, np.float32).reshape(1, -1, 1, 1), out=moved)
        return moved

    def as_json(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "std": list(self.std), "scaled": self.scaled}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Normalisation:
        """What `as_json` gave. Raises DataError, KeyError or TypeError for anything else."""
        return cls(tuple(found["mean"]), tuple(found["std"]), found["scaled"])

    def __str__(self) -> str:
        numbers = f"mean {_text(self.mean)}, deviation {_text(self.std)}"
        return f"{numbers} of images in 0..1" if self.scaled else numbers


def _as_float(images: np.ndarray) -> np.ndarray:
    """A float32 copy, uint8 scaled to [0, 1]."""
    scaled = images.astype(np.float32)
    if images.dtype == np.uint8:
        scaled /= 255
    return scaled


def _numbers(array: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, array))


def _single(number: float) -> float:
    return float(np.float32(number))


def _text(numbers: Sequence[float]) -> str:
    return " ".join(f"{n:.4g}" if math.isfinite(n) else str(n) for n in numbers)
