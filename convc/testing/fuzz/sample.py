"""The case of a seed: what is drawn depends on the seed, the check and the target alone."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from convc.ir.core import Graph
from convc.testing.fuzz.case import KINDS, OPTIMIZERS, Case, Settings
from convc.testing.fuzz.draw import draw_graph, draw_training

CHECKS = ("programs", "passes", "meaning", "invalid")
"""programs: compiled and run, against the interpreter. passes: no more than the graph after each, by the interpreter.
meaning: the interpreter against PyTorch, nothing is compiled. invalid: a graph with something wrong is refused in one
line, or computes right all the same."""
SMALL = 5
"""Nodes of a graph for the emulator, which takes a while for each."""


@dataclass(frozen=True)
class Job:
    """One case to draw and check."""

    check: str
    target: str
    seed: int


def draw_case(job: Job) -> Case:
    rng = Random(f"{job.seed} {job.check}")
    most = SMALL if job.target == "emulator" else None
    training = rng.random() < 0.25
    graph = draw_training(rng, most) if training else draw_graph(rng, most)
    settings = Settings(
        target=job.target,
        mode="train" if training else rng.choice(("infer", "eval")),
        optimizer=rng.choice(tuple(OPTIMIZERS)),
        kind=rng.choice(KINDS),
        rows=draw_rows(rng, graph, job),
        threads=rng.randint(1, 3),
        seed=rng.randrange(10**6),
    )
    return Case(graph, settings)


def draw_rows(rng: Random, graph: Graph, job: Job) -> tuple[int, ...]:
    """1, the capacity and one between, where an input has rows; one of them in the emulator."""
    most = max((int(v.type.rows) for v in graph.inputs_of("data") if v.type.rows is not None), default=1)
    found = tuple(dict.fromkeys((most, 1, rng.randint(1, most))))
    return (rng.choice(found),) if job.target == "emulator" else found
