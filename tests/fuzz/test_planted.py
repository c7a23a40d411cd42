"""Bugs planted in a copy of convc, each of a kind that once was there: the generator finds them all."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.planted.planting import planted


@dataclass(frozen=True)
class Bug:
    """A patch, the check that finds it, a pattern of what it then says, and within how many graphs from seed 0."""

    patch: str
    says: str
    within: int
    check: str = "programs"


BUGS = (
    Bug("lane_masks", r"wrong: .* numbers are wrong", 300),
    Bug("two_results_of_one_producer", r"ill-formed: pass fuse_loops|exception KeyError", 800, "passes"),
    Bug(
        "folding_in_f64",
        r"pass fold_constants: .* in f32, and is|attribute 'value' of full must be a number that f32 holds",
        2000,
        "passes",
    ),
    Bug("adding_zero", r"pass canonicalize: .* was -?0.0 in f32, and is -?0.0", 1500, "passes"),
    Bug("cross_entropy_cancels", r"conditioning: .* PyTorch in f32", 300),
    Bug("any_dtype", r"wrong: |ill-formed: |refused: |exception ", 150),
    Bug("whole_numbers_through_f32", r"wrong: .* numbers are wrong", 250),
    Bug("scalar_of_any_shape", r"(exception \w+|wrong): role", 400, "invalid"),
    Bug("update_of_data", r"(exception \w+|wrong|ill-formed): (update|role)", 1200, "invalid"),
    Bug("broadcast_axes", r"(exception \w+|wrong|assertion|crash|pass \w+): ", 3000, "invalid"),
    Bug("unchecked_attributes", r"exception \w+: attribute", 150, "invalid"),
    Bug("labels_of_kernels", r"refused: labels must be between", 150),
    Bug("relu_grad_at_nan", r"meaning: .* by PyTorch", 600, "meaning"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", [pytest.param(b, id=b.patch, marks=[pytest.mark.witness] if "PyTorch" in b.says else []) for b in BUGS]
)
def test_it_is_found(bug: Bug, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convc.testing.fuzz", "--seed", "0", "--graphs", str(bug.within)]
    command += ["--check", bug.check, "--until", bug.says, "--no-shrink", "--out", str(tmp_path / "out")]
    found = subprocess.run(
        command, env=planted(bug.patch, tmp_path / "copy"), cwd=tmp_path, capture_output=True, text=True
    )
    assert re.search(bug.says, found.stdout), f"not found in {bug.within} graphs:\n{found.stdout}{found.stderr}"
    ran = re.search(r"^(\d+) graphs \(", found.stdout, flags=re.MULTILINE)
    assert ran
    print(f"{bug.patch}: found by the check of {bug.check} within {ran[1]} graphs")
