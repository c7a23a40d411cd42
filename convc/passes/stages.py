"""What each pass of a trace changed, as a diff of the text form."""

from __future__ import annotations

from difflib import unified_diff

from convc.errors import IRError
from convc.ir.lexer import did_you_mean
from convc.passes.pipeline import Trace


def find_stages(trace: Trace, name: str) -> list[int]:
    """The numbers of all stages that the pass `name` made; raises IRError where there is none."""
    names = [n for n, _ in trace.stages]
    found = [i for i, n in enumerate(names) if n == name and i > 0]
    if not found:
        raise IRError(f"no pass '{name}' ran{did_you_mean(name, names[1:])}")
    return found


def stage_diff(trace: Trace, number: int, context: int = 3) -> list[str]:
    """The unified diff from the stage before `number` to it, line by line; empty where nothing changed."""
    (before_name, before), (name, after) = trace.stages[number - 1 : number + 1]
    sides = f"{number - 1:02}_{before_name}", f"{number:02}_{name}"
    return list(unified_diff(str(before).splitlines(), str(after).splitlines(), *sides, lineterm="", n=context))
