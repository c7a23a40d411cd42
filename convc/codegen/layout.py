"""The look of generated source: indentation by braces, long lines broken at commas and operators."""

from __future__ import annotations

WIDTH = 110
BREAKS = (", ", " && ", " ? ", " : ", " + ", " - ", "; ")


def tidy(text: str) -> str:
    """The same tokens: blocks indented by four, lines of at most 110 columns where a break can be found.

    Comments and preprocessor lines are left alone.
    """
    depth = 0
    hanging = 0
    in_comment = False
    branch: list[int] = []  # how deep the latest conditions stand
    lines: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
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
        hanging = 0 if line.endswith((";", "{", "}")) else hanging + 1
    return "\n".join(lines) + "\n"


def _broken(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 8)
    pieces: list[str] = []
    while len(line) > WIDTH:
        found = [(line.rfind(b, len(indent), WIDTH), len(b.rstrip())) for b in BREAKS]
        at, length = max(found)
        if at < 0:
            break
        at += length
        pieces.append(line[:at].rstrip())
        line = indent + line[at:].lstrip()
    return [*pieces, line]
