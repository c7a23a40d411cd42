"""The digest that convc's safetensors files carry, so that one flipped bit is seen when they are read.

It lies in the metadata, in the JSON under the key `convc`, beside what else is noted there:

    {"run": "0.1", "epoch": 3, "sha256": "..."}

and is the SHA-256 of the whole file with those 64 digits written as zeros. Any tool for safetensors reads the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convc.errors import DataError

KEY = "convc"
_BLANK = b"0" * 64
_DIGEST = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')


def blank_mark(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata with room for the digest. Under one key: several are written in an order that differs each time."""
    mark = json.loads((metadata or {}).get(KEY, "{}"))
    return {**(metadata or {}), KEY: json.dumps({**mark, "sha256": _BLANK.decode()})}


def stamped(data: bytes) -> bytes:
    """A safetensors file that was made with `blank_mark`, its digest filled in."""
    start, end = _place(data)
    assert data[start:end] == _BLANK
    return b"".join((data[:start], hashlib.sha256(data).hexdigest().encode(), data[end:]))


def check_digest(path: Path, data: bytes) -> None:
    """Raise DataError where the file's bytes are not those that its digest was made of.

    Files that other tools made carry none.
    """
    start, end = _place(data)
    if start == end and not is_marked(data):
        return
    digest, view = hashlib.sha256(), memoryview(data)
    for part in (view[:start], _BLANK, view[end:]):
        digest.update(part)
    if digest.hexdigest().encode() != data[start:end]:  # which is empty where the digest itself is damaged
        raise DataError(f"{path} is damaged: its bytes are not those that its SHA-256 was made of")


def is_marked(data: bytes) -> bool:
    """Whether anything is noted under `convc`: files of other tools have nothing there."""
    return f'"{KEY}":"'.encode() in _header(data)


def read_mark(path: Path, data: bytes) -> dict[str, Any]:
    """What is noted under `convc`, the digest checked. Raises DataError where there is none."""
    check_digest(path, data)
    try:
        mark = json.loads(json.loads(_header(data))["__metadata__"][KEY])
        if len(mark["sha256"]) == len(_BLANK) and _place(data)[1]:
            return dict(mark)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise DataError(f"{path} is damaged, or not written by a run of convc: it has no digest")


def _header(data: bytes) -> bytes:
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def _place(data: bytes) -> tuple[int, int]:
    """From where to where in the file its digest stands; (0, 0) where it has none."""
    found = _DIGEST.search(_header(data))
    return (8 + found.start(1), 8 + found.end(1)) if found else (0, 0)
