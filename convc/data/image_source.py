"""Images to predict: files that Pillow reads, .npy arrays and folders of both, brought to what a model reads."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convc.build.files import check_memory, read_whole
from convc.data.image_file import SUFFIXES, read_image
from convc.errors import DataError

ARRAY = ".npy"
RESIZE = "--resize brings it to that"
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """A file and the images in it: uint8 or float32 [N, C, H, W]; a file of one image has N = 1."""

    path: Path
    images: np.ndarray

    def names(self) -> list[str]:
        """What each image is called: the file, with a number where an array holds several."""
        path = str(self.path)
        return [path] if len(self.images) == 1 else [f"{path}[{i}]" for i in range(len(self.images))]


def read_sources(paths: Iterable[Path], shape: Shape, *, resize: bool = False, invert: bool = False) -> list[Source]:
    """The images of files and of all files in folders, in the order given, in folders by name.

    Each must be of `shape` (C, H, W); with `resize` image files are converted to its colours and stretched to its size,
    as `read_image` does it. `invert` swaps dark and light: 255 - x of uint8, 1 - x of floats. In folders, at any
    depth, files that are no images, and what is hidden or a link, are passed over. Raises DataError, naming the file,
    for what is no such image, is damaged or does not fit, for a folder without any, and for no paths.
    """
    sources = [_read(path, shape, resize) for path in _files(paths)]
    if not sources:
        raise DataError("there is nothing to predict; name an image, an array (.npy) or a folder of them")
    return [Source(s.path, _inverted(s.images)) for s in sources] if invert else sources


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        found = list(_inside(path))
        if not found:
            raise DataError(f"a folder must hold images ({', '.join((*SUFFIXES, ARRAY))}), and this holds none: {path}")
        yield from found


def _inside(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            seen = sorted(
                (e for e in entries if not e.name.startswith(".") and not e.is_symlink()), key=lambda e: e.name
            )
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error
    for entry in seen:
        if entry.is_dir():
            yield from _inside(folder / entry.name)
        elif Path(entry.name).suffix.lower() in (*SUFFIXES, ARRAY):
            yield folder / entry.name


def _read(path: Path, shape: Shape, resize: bool) -> Source:
    if path.suffix.lower() == ARRAY:
        return Source(path, _array(path, shape))
    pixels = read_image(path, shape if resize else None, remedy=RESIZE)
    if pixels.shape != shape:
        raise DataError(
            f"an image must be {_kind(shape)}, as in training, but {path} is {_kind(pixels.shape)}; {RESIZE}"
        )
    return Source(path, pixels[None])


def _array(path: Path, shape: Shape) -> np.ndarray:
    """The images in a .npy file: uint8 or floats, [N, C, H, W], [C, H, W], and [N, H, W] or [H, W] where C = 1."""
    raw = read_whole(path)
    try:
        # Its header says how large it is; the bytes are there already, so nothing larger is made of them.
        array: object = np.load(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:  # broken bytes surface from NumPy as nearly any exception, all meaning the same
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read {path} as an array, it may be damaged ({reason}); numpy.save writes one"
        ) from error
    if not isinstance(array, np.ndarray) or not (array.dtype == np.uint8 or array.dtype.kind == "f"):
        raise DataError(f"an array of images is uint8 or float32, and this is not: {path}; convert it")
    check_memory(4 * array.size, f"{array.size} numbers as float32", str(path))
    if array.ndim == 2 or (array.ndim == 3 and shape[0] == 1):
        array = array.reshape(-1, 1, *array.shape[-2:])
    elif array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[1:] != shape or not len(array):
        raise DataError(f"an array must hold images of {_text(shape)}, as in training, not {list(array.shape)}: {path}")
    return array


def _inverted(images: np.ndarray) -> np.ndarray:
    return (255 if images.dtype == np.uint8 else 1) - images


def _kind(shape: tuple[int, ...]) -> str:
    """`grey 28x28`."""
    colours = {1: "grey", 3: "RGB"}.get(shape[0], f"{shape[0]} channels,")
    return f"{colours} {_text(shape[1:])}"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
