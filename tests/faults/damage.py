"""What is done to the bytes of a file."""

from __future__ import annotations

import random


def damaged(data: bytes, generator: random.Random) -> bytes:
    """Cut, doubled, overwritten or a bit flipped, somewhere; now and then as it was."""
    at = generator.randrange(len(data) + 1)
    end = min(len(data), at + generator.choice((1, 1, 2, 8, 64)))
    way = generator.randrange(8)
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + data[end:]
    if way == 2:
        return data[:at] + data[at:end] * 2 + data[end:]
    if way == 3:
        return data[:at] + generator.randbytes(end - at) + data[end:]
    if way == 4:
        return data[:at] + generator.choice((b"\0", b"\xff", b"9", b"-", b"\n", b'"', b"[", b"{")) + data[end:]
    if way == 5 and len(data) >= 8:  # headers lie at the start, and a zip's directory at the end
        at = generator.randrange(min(len(data), 128)) if generator.random() < 0.5 else len(data) - 1 - at % 128
        at = max(at, 0)
    at = min(at, len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]
