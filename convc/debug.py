"""The ladder of CONVC_DEBUG: how much convc says on standard error about what it does.

1: a line for the passes and one for the build of each compilation. 2: also each pass, with its time and the
number of nodes. 3: also the IR after every pass. 4: also the generated source.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from time import perf_counter

from convc.errors import RunError

LINES, PASSES, IR, SOURCE = 1, 2, 3, 4


def level() -> int:
    """$CONVC_DEBUG, 0 where it is not set. Raises RunError where it is no number from 0 to 4."""
    text = os.environ.get("CONVC_DEBUG", "").strip() or "0"
    if text not in ("0", "1", "2", "3", "4"):
        raise RunError(f"CONVC_DEBUG must be a number from 0 to 4, not {text!r}: set it to one, or unset it")
    return int(text)


def say(rung: int, text: object) -> None:
    """Write to standard error from this rung of the ladder on; `text` is only made a string if it is shown."""
    if level() >= rung:
        print(text, file=sys.stderr, flush=True)


@dataclass
class PassLog:
    """What a run of the passes says. `nodes` is the count before the first."""

    graph: str
    nodes: int
    passes: int = 0
    started: float = field(default_factory=perf_counter)
    last: float = field(default_factory=perf_counter)

    def after(self, name: str, nodes: int, graph: object) -> None:
        """One pass is done and verified; `graph` prints as its result."""
        now = perf_counter()
        say(PASSES, f"convc:   {name:<16} {1e3 * (now - self.last):7.1f} ms  {nodes:4} nodes")
        say(IR, graph)
        self.passes, self.last = self.passes + 1, perf_counter()

    def done(self, nodes: int) -> None:
        seconds = perf_counter() - self.started
        counts = f"{self.nodes} nodes became {nodes}"
        say(LINES, f"convc: {self.graph}: {self.passes} passes in {1e3 * seconds:.0f} ms, {counts}")
