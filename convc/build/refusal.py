"""The one line that is said when a compiler refuses generated source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from convc.errors import ToolchainError

MAX_QUOTED = 160
_PLACE = re.compile(r"^\s*\.loc\s+1 (\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Complaint:
    """A compiler's first error: its message and, where it gives a place, the file's name and the line, from 1."""

    message: str
    file: str = ""
    line: int = 0


def refusal(
    tool: str, work: str, own_file: str, complaint: Complaint, sources: Mapping[str, str], log: Path
) -> ToolchainError:
    """`tool` failed on `work`: the first error, its place, and that line out of `sources` (text by file name).

    A place in `own_file`, the file that `work` stands for, is given by its line alone.
    """
    place = quoted = ""
    if complaint.file:
        place = f", {'' if complaint.file == own_file else f'{complaint.file} '}line {complaint.line}"
        quoted = quote(sources.get(complaint.file, ""), complaint.line)
    return ToolchainError(f"{tool} failed on {work}{place}: {complaint.message}{quoted} (full output: {log})")


def quote(text: str, number: int) -> str:
    """`: ` and the line of that number, from 1, in backticks; nothing where the text has no such line."""
    lines = text.split("\n")
    return f": `{lines[number - 1].strip()[:MAX_QUOTED]}`" if 0 < number <= len(lines) else ""


def complaint_in_ptx(message: str, number: int, ptx: str, file: str) -> Complaint:
    """The assembler's complaint about line `number` of the PTX of `file`: it is about inline assembly.

    The last .loc before leads back to the source.
    """
    message += f", PTX line {number}{quote(ptx, number)}"
    lines = _PLACE.findall("\n".join(ptx.split("\n")[:number]))
    return Complaint(message, file, int(lines[-1])) if lines else Complaint(message)
