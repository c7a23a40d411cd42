"""Augmentation: in every epoch each training image is shifted, mirrored, cropped or partly covered another way.

    Augmentation.parse("shift:2,flip,cutout:8")      # or Augmentation(Shift(2), Flip(), Cutout(8))

What happens to an image depends on (seed, epoch, its number in the split) alone: row i of an epoch's table of Philox
words (convc.data.order) belongs to image i. So neither the batch size nor the order nor a resumption changes anything.
Images are float32 as the network reads them; pixels that come from outside become 0, which in images that
`Dataset.normalized` gave is the mean of the channel over the training split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from convc.checks import instance, real, seed_of, shown, whole
from convc.data.dataset import Split, check_images
from convc.data.order import Stream, generator
from convc.errors import DataError
from convc.ir.lexer import did_you_mean

_ROWS_AT_A_TIME = 2048  # bounds the temporaries
MOST = 2**15
"""Of pixels: more than any side."""


def augmentation_text(text: str) -> str:
    """The steps that the text names, written in one way only; nothing stays nothing. Raises DataError."""
    return str(Augmentation.parse(text)) if text else ""


class Step:
    """One thing that is done to images. A subclass is a frozen dataclass of at most one number, and has a `name`."""

    name: ClassVar[str]
    words: ClassVar[int]
    """How many random words it takes for each image."""

    def apply(self, images: np.ndarray, words: np.ndarray) -> np.ndarray:
        """The images, float32 [N, C, H, W], as the words, uint64 [N, words], have them; may be `images` itself."""
        raise NotImplementedError

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{getattr(self, f.name):g}" for f in fields(self))])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shift(Step):
    """y[h, w] = x[h - dy, w - dx], dy and dx whole numbers in -most..most, all equally likely; 0 outside."""

    most: int
    name = "shift"
    words = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", whole(self.most, "shift: the most pixels", 0, MOST, error=DataError))

    def apply(self, images: np.ndarray, words: np.ndarray) -> np.ndarray:
        for axis in (2, 3):
            images = _moved(images, axis, _below(words[:, axis - 2], 2 * self.most + 1) - self.most)
        return images


@dataclass(frozen=True)
class Flip(Step):
    """Mirrored left to right, y[h, w] = x[h, W - 1 - w], with probability 1/2."""

    name = "flip"
    words = 1

    def apply(self, images: np.ndarray, words: np.ndarray) -> np.ndarray:
        mirrored = images.copy()
        rows = _below(words[:, 0], 2) == 1
        mirrored[rows] = images[rows][..., ::-1]
        return mirrored


@dataclass(frozen=True)
class Crop(Step):
    """A window of `share` of each side, anywhere in the image, stretched to the whole of it by a bilinear filter.

    The window has round(share * H) x round(share * W) pixels, at least one each; with share 1 nothing changes.
    """

    share: float
    name = "crop"
    words = 2

    def __post_init__(self) -> None:
        share = real(self.share, "crop: the share of a side", 0.0, above=True, error=DataError)
        if share > 1:
            raise DataError(f"crop: the share of a side is at most 1, not {share:g}; give 0.8, say")
        object.__setattr__(self, "share", share)

    def apply(self, images: np.ndarray, words: np.ndarray) -> np.ndarray:
        for axis in (2, 3):
            side = images.shape[axis]
            window = max(round(self.share * side), 1)
            if window < side:
                start = _below(words[:, axis - 2], side - window + 1)
                images = _stretched(images, axis, start, window)
        return images


@dataclass(frozen=True)
class Cutout(Step):
    """A square of `size` x `size` pixels becomes 0; its middle is anywhere in the image, its part outside is nothing.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
    """

    size: int
    name = "cutout"
    words = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", whole(self.size, "cutout: the side in pixels", 0, MOST, error=DataError))

    def apply(self, images: np.ndarray, words: np.ndarray) -> np.ndarray:
        inside = []
        for axis in (2, 3):
            side = images.shape[axis]
            first = _below(words[:, axis - 2], side)[:, None] - self.size // 2
            inside.append((np.arange(side) >= first) & (np.arange(side) < first + self.size))
        covered = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return np.where(covered, np.float32(0), images)


STEPS: dict[str, Callable[..., Step]] = {"shift": Shift, "flip": Flip, "crop": Crop, "cutout": Cutout}
FORMS = "shift:PIXELS, flip, crop:SHARE and cutout:PIXELS, joined by commas"


class Augmentation:
    """Steps that every training image goes through, in order. Raises DataError for none, and for what is no step."""

    def __init__(self, *steps: Step) -> None:
        for step in steps:
            instance(step, Step, "an augmentation is made of steps, such as Shift(2) or Flip()", error=DataError)
        if not steps:
            raise DataError(f"an augmentation has a step at least: {FORMS}")
        self.steps = steps

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """The augmentation of a text such as "shift:2,flip,cutout:8". Raises DataError for any other text."""
        instance(text, str, f"an augmentation is a text, {FORMS}", error=DataError)
        return cls(*map(_step, text.split(",")))

    def split(self, split: Split, *, seed: int, epoch: int) -> Split:
        """The split as epoch `epoch`, from 1, of a run with `seed` sees it: images of its own, the same labels."""
        return Split(self.apply(split.images, seed=seed, epoch=epoch), split.labels)

    def apply(self, images: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
        """Images, float32 [N, C, H, W], as that epoch sees them: a new array. Raises DataError for others."""
        seed = seed_of(seed, error=DataError)
        epoch = whole(epoch, "an epoch", 0, 2**64 - 1, error=DataError)
        check_images(images, "images to augment")
        if images.dtype != np.float32:
            raise DataError("images to augment are float32, and these are uint8; give those of dataset.normalized()")
        result = np.empty_like(images)
        table = self._words(len(images), seed, epoch)
        for first in range(0, len(images), _ROWS_AT_A_TIME):
            rows = slice(first, first + _ROWS_AT_A_TIME)
            part, column = images[rows], 0
            for step in self.steps:
                part = step.apply(part, table[rows, column : column + step.words])
                column += step.words
            result[rows] = part
        return result

    def _words(self, n: int, seed: int, epoch: int) -> np.ndarray:
        """uint64 [n, words of all steps]: more images leave the rows of the first as they are."""
        each = sum(step.words for step in self.steps)
        return generator(seed, epoch, Stream.AUGMENT).random_raw(n * each).reshape(n, each)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Augmentation) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return ",".join(map(str, self.steps))

    def __repr__(self) -> str:
        return f"Augmentation.parse({str(self)!r})"


def _step(text: str) -> Step:
    name, colon, number = text.strip().partition(":")
    make = STEPS.get(name)
    if make is None:
        raise DataError(f"an augmentation is made of {FORMS}, but {shown(name)} is none{did_you_mean(name, STEPS)}")
    if make is Flip:
        if colon:
            raise DataError(f"flip takes no number, but {text.strip()!r} has one; write flip")
        return make()
    kind: type = float if make is Crop else int
    try:
        return make(kind(number))
    except ValueError:
        raise DataError(f"{name} takes a number, as in {_EXAMPLES[name]}, but {text.strip()!r} has none") from None


_EXAMPLES = {"shift": "shift:2", "crop": "crop:0.8", "cutout": "cutout:8"}


def _below(words: np.ndarray, limit: int) -> np.ndarray:
    """Of uint64 words, numbers in 0..limit-1, equally likely but for limit / 2^32: int64 [N]."""
    return ((words >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def _moved(images: np.ndarray, axis: int, by: np.ndarray) -> np.ndarray:
    """Along one axis each image moved on by its number of `by`, int64 [N]; 0 where nothing comes from."""
    side = images.shape[axis]
    result = np.zeros_like(images)
    for step in np.unique(by):
        rows = np.flatnonzero(by == step)
        into, out = slice(max(step, 0), side + min(step, 0)), slice(max(-step, 0), side - max(step, 0))
        if abs(step) < side:
            result[_at(rows, axis, into)] = images[_at(rows, axis, out)]
    return result


def _stretched(images: np.ndarray, axis: int, start: np.ndarray, window: int) -> np.ndarray:
    """Along one axis the `window` pixels from `start`, int64 [N], brought to the whole side by linear interpolation."""
    side = images.shape[axis]
    place = ((np.arange(side) + 0.5) * window / side - 0.5).clip(0, window - 1)  # within the window, pixels' middles
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, window - 1)
    share = (place - low).astype(np.float32).reshape([side if a == axis else 1 for a in range(4)])
    result = np.empty_like(images)
    for first in np.unique(start):
        rows = np.flatnonzero(start == first)
        part = images[_at(rows, axis, slice(first, first + window))]
        a, b = (np.take(part, index, axis) for index in (low, high))
        result[rows] = a + (b - a) * share
    return result


def _at(rows: np.ndarray, axis: int, part: slice) -> tuple[np.ndarray | slice, ...]:
    """The index of a part of one axis, 2 or 3, of some images."""
    return (rows, slice(None), part) if axis == 2 else (rows, slice(None), slice(None), part)
