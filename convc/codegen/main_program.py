"""A C program around an emitted step: a `main` that reads weights and images, and the parts that it needs.

    src/main.c, run.h, idx.c, weights.c, order.c, pool.c    flags    README.md

The text is that of `templates/c/program`; what is computed for it is computed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from convc.codegen.emit import CSource
from convc.codegen.env import render_as_it_is
from convc.codegen.names import comment, identifier, quoted_c
from convc.errors import IRError
from convc.ir.core import Graph, Value

PROGRAMS = {"train": "train", "eval": "evaluate", "infer": "predict"}
"""What the built program of each mode is called."""
PARTS = ("idx.c", "order.c", "run.h", "weights.c")
SUPPORT = ("src/main.c", "src/pool.c", *(f"src/{name}" for name in PARTS))
"""The files of src/ that hold no part of the compiled graph."""
FLAGS_FILE = "flags"
EPOCHS = 5
OUTPUTS = {"train": 1, "eval": 2, "infer": 1}


@dataclass(frozen=True)
class Sample:
    """What the program runs on at first: `count` images of a split of a data set, and how pixels become numbers.

    `mean`, `std`: of each channel. `weights_from` says where the weights come from.
    """

    data: str
    split: str
    count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_from: str


@dataclass(frozen=True)
class Tensor:
    """A parameter or what an update rule keeps: `name` is a C string, or None for what no file holds."""

    name: str | None
    shape: str
    elements: int
    comment: str


@dataclass(frozen=True)
class Number:
    """A run-time number with its value as C. Its option is called `name`; `help` says what it means."""

    index: int
    dtype: str
    value: str
    name: str
    help: str

    @property
    def option(self) -> str:
        """As --help lists it."""
        return f"{self.name} X"


@dataclass(frozen=True)
class MainProgram:
    """What the templates ask for. `first` is the graph as it was given, `graph` the planned one."""

    graph: Graph
    source: CSource
    mode: str
    flags: Sequence[str]
    defaults: Mapping[str, float]
    classes: int
    sample: Sample
    seed: int = 0
    epochs: int = EPOCHS

    def __post_init__(self) -> None:
        data = self.graph.inputs_of("data")
        fits = len(data) == 1 + self.labelled and len(self.graph.outputs) == OUTPUTS[self.mode]
        if not fits or any(v.type.dtype != "f32" for v in (data[0], *self.graph.outputs)):
            raise IRError(
                f"a main is written for programs of images{' and labels' if self.labelled else ''}, and "
                f"{self.graph.name} takes {', '.join(str(v.type) for v in data)}; compile with --no-main"
            )

    def files(self) -> dict[str, str]:
        """Path and text of each file."""
        found = {f"src/{name}": _part(f"program/{name}") for name in PARTS}
        found["src/pool.c"] = _part("pool.c")
        found["src/main.c"] = render_as_it_is("c/program/main.c.j2", m=self)
        found["README.md"] = render_as_it_is("c/program/README.md.j2", m=self)
        found[FLAGS_FILE] = "\n".join(self.flags) + "\n"
        return found

    @property
    def program(self) -> str:
        return PROGRAMS[self.mode]

    @property
    def build_line(self) -> str:
        """The command that builds it, given in the folder."""
        return f"cc @{FLAGS_FILE} -o {self.program} src/*.c -lm -lpthread"

    @property
    def title(self) -> str:
        return comment(self.graph.name)

    @property
    def entry(self) -> str:
        return self.source.entry

    @property
    def labelled(self) -> bool:
        return self.mode != "infer"

    @property
    def data(self) -> str:
        return comment(self.sample.data)

    @property
    def split(self) -> str:
        return self.sample.split

    @property
    def count(self) -> int:
        return self.sample.count

    @property
    def weights_from(self) -> str:
        return comment(self.sample.weights_from)

    @property
    def _image(self) -> Value:
        return self.graph.inputs_of("data")[0]

    @property
    def capacity(self) -> int:
        return int(self._image.type.rows or 1)

    @property
    def channels(self) -> int:
        return len(self.sample.mean)

    @property
    def pixels(self) -> int:
        return self._image.type.elements // self.capacity // self.channels

    @property
    def results(self) -> int:
        """Numbers of one image that the program of mode infer returns."""
        return self.graph.outputs[0].type.elements // self.capacity

    @property
    def arena_bytes(self) -> int:
        return max(self.graph.arena_bytes, 64)

    @property
    def mean(self) -> list[str]:
        return [f32(x) for x in self.sample.mean]

    @property
    def std(self) -> list[str]:
        return [f32(x) for x in self.sample.std]

    @property
    def tensors(self) -> list[Tensor]:
        return [self._tensor(v) for v in self.graph.inputs_of("parameter", "state", "constant")]

    def _tensor(self, v: Value) -> Tensor:
        role = self.graph.role(v)
        # as safetensors writes it, without the quotes
        name = quoted_c(json.dumps(v.name, ensure_ascii=False)[1:-1]) if role == "parameter" else None
        shape = f"[{','.join(str(int(e)) for e in v.type.shape)}]"
        return Tensor(name, shape, v.type.elements, comment(f"{role} {v.name}"))

    @property
    def scalars(self) -> list[Number]:
        return [self._number(i, v) for i, v in enumerate(self.graph.inputs_of("scalar"))]

    def _number(self, index: int, v: Value) -> Number:
        default = self.defaults[v.name]
        whole = v.type.dtype == "i32"
        meaning = {"lr": "learning rate"}.get(v.name, f"{v.name.replace('_', ' ')} of the update rule")
        value = str(int(default)) if whole else f32(default)
        return Number(index, v.type.dtype, value, identifier(v.name).replace("_", "-"), f"{meaning}  [{default:g}]")

    @property
    def seed_index(self) -> int | None:
        """Which run-time number is the seed of dropout, where there is one."""
        return next((n.index for n in self.scalars if n.name == "seed" and n.dtype == "i32"), None)


def f32(x: float) -> str:
    """The number as C writes it, with as many digits as f32 needs."""
    text = f"{x:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _part(name: str) -> str:
    return resources.files("convc").joinpath(f"templates/c/{name}").read_text(encoding="utf-8")
