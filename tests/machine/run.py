"""Runs the machine: `python tests/machine/run.py SEED EXAMPLES STEPS [drawn]`, and prints what ran as JSON.

It is a process of its own, so that a crash in a program's code is seen. With `drawn`, networks are drawn too.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import Machine
from tests.machine.nets import rows


class DrawnMachine(Machine):
    row = rows()


def main(number: int, examples: int, steps: int, drawn: bool) -> None:
    faulthandler.enable()
    # Told as it goes: what a crash leaves behind is the steps that led to it.
    faulthandler.dump_traceback_later(1500, exit=True)
    phases = (Phase.generate, Phase.shrink)
    settings_ = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=False, database=None,
        phases=phases, suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    machine: Any = seed(number)(DrawnMachine if drawn else Machine)
    run_state_machine_as_test(machine, settings=settings_)
    print(json.dumps(dict(sorted(Machine.counted.items()))))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), drawn="drawn" in sys.argv[4:])
