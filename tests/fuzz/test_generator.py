"""The generator itself: every operator is drawn, the same seed draws the same, what fails is seen and made small."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from convc.errors import DataError
from convc.ir.core import OPS, Array
from convc.ir.kernels import KernelOp
from convc.ir.ops.pointwise import Pointwise
from convc.ir.scalar import Scalar
from convc.ir.text import parse_graph
from convc.testing.fuzz.__main__ import main
from convc.testing.fuzz.case import Case, Settings, read_case, settings_in
from convc.testing.fuzz.draw import MOST_NODES, draw_graph, draw_training, operators
from convc.testing.fuzz.run import Worker
from convc.testing.fuzz.sample import Job, draw_case
from convc.testing.fuzz.seeds import commit_seed
from convc.testing.fuzz.shrink import shrink

GRAPHS = 400


def drawn(count: int, first: int = 0) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in range(first, first + count):
        found += operators(draw_case(Job("programs", "cpu", seed)).graph)
    return found


def test_every_operator_is_drawn() -> None:
    """A new operator has to be registered, no more: where the generator never draws it, it needs a hint."""
    found = drawn(GRAPHS)
    print(f"{found.total()} operators in {GRAPHS} graphs:", ", ".join(f"{k} {n}" for k, n in sorted(found.items())))
    assert not set(OPS) - set(found), f"never drawn in {GRAPHS} graphs; see convc/testing/fuzz/hints.py"


@pytest.fixture
def scaled_sum() -> Iterator[str]:
    """An operator that nobody told the generator about."""

    @dataclass(frozen=True)
    class ScaledSum(Pointwise, name="scaled_sum"):
        by: float = 1.0

        def reference(self, x: Array, y: Array) -> tuple[Array, ...]:
            return (x + self.by * y,)

        def scalar(self, *args: Scalar) -> Scalar:
            return args[0] + self.by * args[1]

    yield ScaledSum.name
    del OPS[ScaledSum.name]


def test_a_new_operator_is_drawn_for_being_registered(scaled_sum: str) -> None:
    found = [n for seed in range(200) for n in draw_graph(Random(seed)).nodes if n.op.name == scaled_sum]
    assert len({n.op for n in found}) > 1, "with different attributes"


def test_what_is_drawn_is_what_was_asked_for() -> None:
    graphs = [draw_graph(Random(seed)) for seed in range(150)]
    assert max(len(g.nodes) for g in graphs) > 20
    assert all(len(g.nodes) <= MOST_NODES + len(g.outputs) for g in graphs)
    roles = {g.role(v) for g in graphs for v in g.inputs}
    assert roles == {"data", "parameter", "state", "constant", "scalar"}
    assert any(g.updates for g in graphs)
    assert any(v in g.inputs for g in graphs for v in g.outputs)
    assert any(len(set(g.outputs)) < len(g.outputs) for g in graphs)
    assert {v.type.dtype for g in graphs for v in g.inputs} >= {"f32", "i32"}
    assert any(isinstance(n.op, KernelOp) for g in graphs for n in g.nodes)
    both = [n for g in graphs for m in g.nodes for n in g.nodes if len(set(m.outputs) & set(n.inputs)) > 1]
    assert both, "a node reads two results of one producer"
    trained = draw_training(Random(0))
    assert trained.outputs[0].type.rank == 0
    assert trained.inputs_of("parameter")


def test_a_seed_draws_the_same_and_another_something_else() -> None:
    texts = [draw_case(Job("programs", "cpu", seed)).text for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]
    assert commit_seed() == commit_seed() < 2**32


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    case = draw_case(Job("programs", "cpu", 3))
    (tmp_path / "case.conv").write_text(case.text)
    assert read_case(tmp_path / "case.conv").text == case.text
    assert settings_in("graph @g() { }") == Settings()
    with pytest.raises(DataError, match="no setting is called colour"):
        settings_in("// fuzz: target=cpu colour=red\n")
    with pytest.raises(DataError, match="cannot read"):
        read_case(tmp_path / "none.conv")


SHRUNK = """\
// fuzz: target=cpu mode=infer optimizer=sgd kind=benign rows=1 threads=1 seed=0
graph @fuzz(%1: f32[2,1]) {
  %2: f32[2,1] = tanh(%1)
  %3: f32[2,1] = relu(%2)
  return %3
}
"""


def test_a_failing_case_is_made_small() -> None:
    """What fails is a relu of a tanh with at least two numbers a row."""
    text = """graph @fuzz(%x: f32[n<=7,3,4,5], %w: f32[60,60] parameter, %s: f32[60] state) {
      %0: f32[n<=7,60] = flatten(%x)
      %1: f32[n<=7,60] = linear(%0, %w)
      %2: f32[n<=7,60] = tanh(%1)
      %3: f32[n<=7,60] = relu(%2)
      %4: f32[n<=7,60] = softmax(%3)
      %5: f32[60] = sum(%4) {axes=[0]}
      return %1, %4, %x
      update %s = %5
    }"""

    def fails(case: Case) -> bool:
        makers = case.graph.producers()
        pairs = [(makers.get(n.inputs[0]), n) for n in case.graph.nodes if n.op.name == "relu"]
        return any(m is not None and m.op.name == "tanh" and n.out.type.elements >= 2 for m, n in pairs)

    case = Case(parse_graph(text), Settings(rows=(7, 1, 3), threads=3, seed=9, kind="ties", mode="eval"))
    assert shrink(case, fails).text == SHRUNK


def test_a_crash_is_seen_and_the_next_case_runs() -> None:
    dies = "import os, sys; sys.stdin.readline(); print('last words', file=sys.stderr, flush=True); os.abort()"
    worker = Worker(command=[sys.executable, "-c", dies])
    assert worker.ask({}) == {"kind": "crash", "message": "the process ended with status -6 last words"}
    worker.command = [sys.executable, "-c", "import sys; sys.stdin.readline(); print('{}')"]
    assert worker.ask({}) == {}
    worker.close()


def test_a_case_that_does_not_end_is_seen() -> None:
    worker = Worker(0.2, [sys.executable, "-c", "import time; time.sleep(60)"])
    assert worker.ask({})["kind"] == "no end"


def test_the_command_replays_a_case(tmp_path: Path) -> None:
    good = "graph @g(%x: f32[n<=5,3]) { %y: f32[n<=5,3] = relu(%x) return %y }"
    (tmp_path / "good.conv").write_text(f"// fuzz: rows=5,2 threads=2\n{good}")
    result = CliRunner().invoke(main, [str(tmp_path / "good.conv")])
    assert (result.exit_code, result.output) == (0, "nothing is wrong\n")
    (tmp_path / "bad.conv").write_text("graph @g( {")
    result = CliRunner().invoke(main, [str(tmp_path / "bad.conv")])
    assert result.exit_code == 1
    assert "convc: error: line 1" in result.output
