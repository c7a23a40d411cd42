"""A process that checks cases, one a line of JSON: what crashes it is seen by who started it.

    {"check": "programs", "target": "cpu", "seed": 7}  or  {"check": "programs", "case": "// fuzz: ..."}
->  {"kind": null | "wrong", "message": "...", "operators": {"relu": 2}, "nodes": 5}
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

from convc.build.cache import Cache
from convc.ir.text import parse_graph
from convc.testing.fuzz.case import Case, settings_in
from convc.testing.fuzz.draw import operators
from convc.testing.fuzz.invalid import check_invalid
from convc.testing.fuzz.oracle import Finding, check
from convc.testing.fuzz.sample import Job, draw_case

TORCH = importlib.util.find_spec("torch") is not None


def answer(request: dict[str, Any], cache: Cache | None = None) -> dict[str, Any]:
    """The finding of one request and what its graph holds."""
    if request["check"] == "invalid":
        finding, what = check_invalid(request["seed"], cache)
        return _answer(finding) | {"operators": {what: 1}, "nodes": 0}
    case = case_of(request)
    finding = run_check(request["check"], case, cache)
    return _answer(finding) | {"operators": dict(operators(case.graph)), "nodes": len(case.graph.nodes)}


def case_of(request: dict[str, Any]) -> Case:
    if "case" in request:
        return Case(parse_graph(request["case"]), settings_in(request["case"]))
    return draw_case(Job(request["check"], request["target"], request["seed"]))


def run_check(name: str, case: Case, cache: Cache | None = None) -> Finding | None:
    """One of the checks of convc.testing.fuzz.sample.CHECKS that a graph's text serves for."""
    if name == "meaning":
        from convc.testing.fuzz.judge import judge_meaning  # PyTorch is asked for by who asks for this check

        return judge_meaning(case)
    compiled = name == "programs"
    return check(case, cache, compiled=compiled, witness=compiled and TORCH)


def _answer(finding: Finding | None) -> dict[str, Any]:
    return {"kind": finding and finding.kind, "message": finding.message if finding else ""}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
