"""The machine over the public calls, in a process of its own: a slice in every run, seeded by the sources."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from convc.testing.fuzz.seeds import commit_seed
from tests.planted.planting import planted

ROOT = Path(__file__).parent.parent.parent
STEPS = 12
ALL = (
    "compile infer", "compile eval", "compile train sgd", "compile train momentum", "compile train nesterov",
    "compile train adam", "compile train adamw", "compile train rmsprop", "compile train clipped",
    "call infer", "call eval", "call train", "call into its input", "call from threads, infer",
    "call from threads, eval", "call from threads, train", "keep weights", "keep all", "keep snapshot", "load",
    "load refused", "restore", "restore refused", "reset", "deepcopy of a model", "pickle of a model",
    "deepcopy of a program", "pickle of a program", "equal", "refused",
)  # fmt: skip
"""What the machine does."""

BUGS = {
    "calls_without_a_lock": r"numbers are wrong|has changed|steps from|after \d steps|exit status -",
    "out_over_an_input": r"result 0: \d+ of \d+ numbers are wrong",
    "one_array_for_two_outputs": r"out=\[o, o\] must be refused",
    "steps_not_saved": r"adam.step",
    "seeds_through_floats": r"weights of seeds",
    "seeds_that_are_fractions": r"must be refused, but is accepted",
    "layers_of_any_numbers": r"must be refused|AssertionError: (stride|padding|groups|kernel|window)",
    "tied_modules_apart": r"hold a parameter twice",
    "parts_with_weights_of_their_own": r"weight has changed, or is another",
}
"""For each planted bug what the machine says of it."""


def run(
    seed: int, examples: int, folder: Path, *options: str, environment: dict[str, str] | None = None
) -> tuple[Counter[str], str]:
    """How often each rule ran, and what went wrong: the shortest sequence, or what led to a crash."""
    story = folder / "story.txt"
    environment = dict(environment or os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([*filter(None, [environment.get("PYTHONPATH")]), str(ROOT)])
    command = [sys.executable, str(Path(__file__).parent / "run.py"), str(seed), str(examples), str(STEPS), str(story)]
    done = subprocess.run([*command, *options], env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode == 0:
        return Counter(json.loads(done.stdout.splitlines()[-1])), ""
    told = f"\n{story.read_text()}" if done.returncode < 0 else ""
    return Counter(), f"seed {seed}, exit status {done.returncode}\n{done.stdout}{done.stderr[-20000:]}{told}"


def check(seed: int, examples: int, folder: Path, *options: str) -> Counter[str]:
    print(f"seed {seed}, {examples} examples of {STEPS} steps")
    counted, wrong = run(seed, examples, folder, *options)
    assert not wrong, wrong
    print(dict(sorted(counted.items())))
    return counted


@pytest.mark.parametrize("part", [0, 1])
def test_a_slice(part: int, tmp_path: Path) -> None:
    check(commit_seed() + part, 16, tmp_path)


@pytest.mark.slow
def test_many_models(tmp_path: Path) -> None:
    counted = check(int.from_bytes(os.urandom(4)), 500, tmp_path)
    assert not [name for name in ALL if not counted[name]], "nothing is left out"


@pytest.mark.slow
def test_many_drawn_models(tmp_path: Path) -> None:
    check(int.from_bytes(os.urandom(4)), 150, tmp_path, "drawn")


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug: str, tmp_path: Path) -> None:
    _, wrong = run(1, 200, tmp_path, "unshrunk", environment=planted(bug, tmp_path / "copy"))
    assert wrong, f"{bug} is not found in 200 examples"
    assert re.search(BUGS[bug], wrong), wrong
