"""One image file, decoded by Pillow."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from convc.build.files import read_whole
from convc.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm")
RESIZE = "FOLDER:CxHxW converts them, C being 1 or 3"
_FORMATS = ("BMP", "JPEG", "PNG", "PPM")
_CHANNELS = {"L": 1, "RGB": 3}
_MODES = {channels: mode for mode, channels in _CHANNELS.items()}
# What has 8 bits a channel; Pillow would clip deeper images rather than scale them.
_CONVERTIBLE = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")


def read_image(path: Path, shape: tuple[int, int, int] | None, *, remedy: str = RESIZE) -> np.ndarray:
    """The pixels of a PNG, JPEG, BMP or PPM file: uint8 [C, H, W].

    `shape`: None for an image as it is stored, grey (C = 1) or RGB (C = 3); or the (C, H, W) to bring it to, C
    being 1 or 3, by converting its colours (transparency is dropped), then stretching it with a bilinear
    filter. A rotation that a camera noted is not applied. Raises DataError for a file that is no such image,
    is damaged, has more pixels than Pillow takes for real, is grey of more than 8 bits, or has other channels than
    those two where `shape` is None; the last line ends in `remedy`.
    """
    from PIL import Image, UnidentifiedImageError  # here, for a fast start

    raw = read_whole(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata, which is not read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=_FORMATS) as file:
                file.load()
            mode, image = file.mode, file.copy()
            if shape is not None and mode in _CONVERTIBLE:
                image = image.convert(_MODES[shape[0]])
                image = image.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise DataError(
            f"an image is a file in PNG, JPEG, BMP or PPM form; this is not, or is damaged: {path}"
        ) from error
    except Exception as error:  # broken bytes surface from Pillow as nearly any exception, all meaning the same
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot read {path} as an image, it may be damaged ({reason})") from error
    if mode not in _CONVERTIBLE:
        raise DataError(f"images must have 8 bits a channel, and this has Pillow's mode {mode}: {path}")
    if image.mode not in _CHANNELS:
        raise DataError(f"images must be grey or RGB, and this has Pillow's mode {mode}: {path}; {remedy}")
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
