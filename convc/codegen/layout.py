"""The look of generated source: indentation by braces, long lines broken at commas and operators."""

from __future__ import annotations

WIDTH = 110
BREAKS = (("; ",), (" ? ", " : "), (" && ", " & "), (", ",), (" + ", " - "))
"""Where a long line is broken: at the first of these kinds that leaves half a line or more before the break."""


def tidy(text: str) -> str:
    """The same tokens: blocks indented by four, lines of at most 110 columns where a break can be found.

    Comments of several lines and preprocessor lines are left alone.
    """
    depth = 0
    hanging = 0
    in_comment = False
    branch: list[int] = []  # how deep the latest conditions stand
    lines: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("/*") and line.endswith("*/"):
            lines.append(" " * 4 * depth + line)
            continue
        if in_comment or line.startswith(("/*", "#")):
            lines.append(raw.rstrip())
            in_comment = (in_comment or line.startswith("/*")) and "*/" not in line
            continue
        if not line:
            if lines and lines[-1]:
                lines.append("")
            continue
        if line.startswith(("{", "for ", "UNROLL for ")):
            hanging = 0  # nested loop headers stand one below the other, and a block below its header
        if line.startswith("else") and branch:
            hanging = branch[-1] - depth
        closes = len(line) - len(line.lstrip("}"))
        indent = 4 * max(0, depth - closes + hanging)
        if line.startswith("if "):
            branch = [*branch[-8:], depth + hanging]
        lines.extend(_broken(" " * indent + line))
        depth = max(0, depth + line.count("{") - line.count("}"))
        code = line.rpartition(" /*")[0] if line.endswith("*/") else line
        hanging = 0 if code.endswith((";", "{", "}")) else hanging + 1
    return "\n".join(lines) + "\n"


def _broken(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 8)
    pieces: list[str] = []
    while len(line) > WIDTH:
        at = _break(line, len(indent))
        if at < 0:
            break
        pieces.append(line[:at].rstrip())
        line = indent + line[at:].lstrip()
    return [*pieces, line]


def _break(line: str, start: int) -> int:
    """The column behind the best break of a long line, or -1."""
    found = [max((line.rfind(b, start, WIDTH), len(b.rstrip())) for b in kind) for kind in BREAKS]
    good = next((f for f in found if f[0] >= (start + WIDTH) // 2), max(found))
    return sum(good) if good[0] >= 0 else -1
