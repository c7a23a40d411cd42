"""Small pictures of a data set, for notebooks."""

from __future__ import annotations

import base64
import io

import numpy as np

MOST = 10
"""Images side by side."""


def strip(images: np.ndarray) -> str:
    """HTML of the first images, uint8 or float32 [N, C, H, W], side by side; empty unless they are grey or RGB.

    Floats are shown from their least number to their greatest.
    """
    if images.shape[1] not in (1, 3):
        return ""
    from PIL import Image  # here, for a fast start

    pixels = images[:MOST]
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    row = np.concatenate(list(pixels), axis=2)  # [C, H, N W]
    png = io.BytesIO()
    Image.fromarray(row[0] if len(row) == 1 else row.transpose(1, 2, 0)).save(png, "PNG")
    data = base64.b64encode(png.getvalue()).decode()
    return f'<img alt="the first images" style="image-rendering: pixelated" src="data:image/png;base64,{data}">'
