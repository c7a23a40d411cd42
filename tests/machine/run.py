"""Runs the machine: `python tests/machine/run.py SEED EXAMPLES STEPS STORY [OPTIONS]`, and prints what ran as JSON.

It is a process of its own, so that a crash in a program's code is seen; the file STORY then tells how it came about.
With `drawn`, networks are drawn too; with `unshrunk`, what is found is not made short.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import Machine
from tests.machine.nets import rows


def main(number: int, examples: int, steps: int, story: Path, *options: str) -> None:
    faulthandler.enable()
    Machine.story = story
    phases = (Phase.generate,) if "unshrunk" in options else (Phase.generate, Phase.shrink)
    settings_ = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=False, database=None,
        phases=phases, suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    if "drawn" in options:
        Machine.rows = rows()
    machine: Any = seed(number)(Machine)
    run_state_machine_as_test(machine, settings=settings_)
    print(json.dumps(dict(sorted(Machine.counted.items()))))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:])
