"""A case: a graph and how it is run. Its file is the graph's text under one comment with the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from convc.errors import DataError
from convc.ir.core import Graph
from convc.ir.text import parse_graph
from convc.ir.types import Rows
from convc.optim import SGD, Adam, AdamW, Optimizer, RMSprop

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
    "rmsprop": RMSprop(),
    "rmsprop_momentum": RMSprop(momentum=0.9, weight_decay=0.01),
    "clipped": SGD(momentum=0.9, clip_norm=0.5),
}
MODES = ("infer", "eval", "train")
KINDS = ("benign", "large", "ties", "powers", "special")
"""What the inputs' numbers are like; see convc.testing.fuzz.inputs."""


@dataclass(frozen=True)
class Settings:
    """How a graph is run: `rows` are the n that it is called with, `seed` that of its inputs."""

    target: str = "cpu"
    mode: str = "infer"
    optimizer: str = "sgd"
    kind: str = "benign"
    rows: tuple[int, ...] = (1,)
    threads: int = 1
    seed: int = 0

    def __str__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        shown["rows"] = ",".join(map(str, self.rows))
        return " ".join(f"{name}={value}" for name, value in shown.items())


@dataclass(frozen=True)
class Case:
    """One graph with its settings."""

    graph: Graph
    settings: Settings = field(default_factory=Settings)

    @property
    def text(self) -> str:
        return f"// fuzz: {self.settings}\n{self.graph}\n"

    def with_graph(self, graph: Graph) -> Case:
        """The same run of another graph: numbers of rows beyond its capacity are cut to it."""
        most = capacity(graph)
        rows = tuple(dict.fromkeys(min(n, most) for n in self.settings.rows))
        return Case(graph, replace(self.settings, rows=rows))


def capacity(graph: Graph) -> int:
    return max((int(v.type.rows) for v in graph.values() if v.type.rows is not None), default=1)


def settings_in(text: str) -> Settings:
    """The settings in a case's first line; those that are not there have their defaults."""
    line = re.match(r"// fuzz: (.*)", text)
    given = dict(part.split("=", 1) for part in line[1].split()) if line else {}
    known = {f.name for f in fields(Settings)}
    try:
        if unknown := set(given) - known:
            raise ValueError(f"no setting is called {min(unknown)}")
        whole = {name: int(given.pop(name)) for name in ("threads", "seed") if name in given}
        rows = {"rows": tuple(map(int, given.pop("rows").split(",")))} if "rows" in given else {}
        return Settings(**given, **whole, **rows)  # type: ignore[arg-type]
    except ValueError as error:
        raise DataError(f"the first line of a case holds its settings, as '{Settings()}', but {error}") from None


def read_case(path: Path) -> Case:
    """Reads a case's file. Raises DataError or IRError where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read the case {path}: {error.strerror}") from None
    return Case(parse_graph(text), settings_in(text))


def concrete(n: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in a run with n rows."""
    return tuple(n if isinstance(e, Rows) else int(e) for e in shape)
