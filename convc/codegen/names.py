"""Names in generated source. What came from a model file is reduced to letters, digits and underscores."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 96


def identifier(text: str, default: str = "v") -> str:
    """An identifier that is no keyword in any target: a letter first, at most 96 characters."""
    clean = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_")[:LONGEST].rstrip("_")
    if not clean:
        return default
    return clean if clean[0].isalpha() else f"{default}{clean}"


def unique(names: Iterable[str]) -> list[str]:
    """The same names, later equal ones numbered: a, a_2, a_3."""
    taken: set[str] = set()
    counts: dict[str, int] = {}  # the number that the next equal name gets
    result = []
    for name in names:
        candidate, count = name, counts.get(name, 2)
        while candidate in taken:
            candidate, count = f"{name}_{count}", count + 1
        counts[name] = count
        taken.add(candidate)
        result.append(candidate)
    return result


def comment(text: str) -> str:
    """Text made safe inside a comment of any target: one line, printable ASCII, no comment marks."""
    line = "".join(c if 32 <= ord(c) < 127 else "?" for c in text)
    return line.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *")


def quoted_c(text: str) -> str:
    """Text as a C string: letters, digits, dots and underscores as they are, each other byte of UTF-8 by its number."""
    safe = re.compile(r"[0-9A-Za-z._]")
    data = text.encode("utf-8", "surrogatepass")
    return '"' + "".join(chr(b) if safe.match(chr(b)) else f"\\{b:03o}" for b in data) + '"'


def count(x: float) -> str:
    """Three digits and an SI prefix, a unit to follow: 15052800 -> `15.1 M`, 260 -> `260 `."""
    for prefix in ("", "k", "M", "G"):
        if x < 999.5:
            return f"{x:.3g} {prefix}"
        x /= 1000
    return f"{x:.3g} T"
