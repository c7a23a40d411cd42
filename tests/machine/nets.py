"""Networks as data: a layer's number is its identity, the same number twice is the same module at two places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import hypothesis.strategies as st

from convc import nn
from convc.nn import Module

CHANNELS, HEIGHT, WIDTH, CLASSES = 2, 4, 3, 3
FEATURES = CHANNELS * HEIGHT * WIDTH
IMAGE = (CHANNELS, HEIGHT, WIDTH)
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "conv": ("weight", "bias"),
    "point": ("weight",),
    "linear": ("weight", "bias"),
}
"""Of the kinds that have any."""
HEADS = ("flatten", "linear")


@dataclass(frozen=True)
class Layer:
    kind: str
    number: int = 0


@dataclass(frozen=True)
class Row:
    """Modules one after the other, as Sequential or, with their input added, as Residual."""

    items: tuple[Item, ...]
    residual: bool = False


Item = Layer | Row
Key = tuple[str, int, str]
"""A parameter: its layer's kind and number, and its name there."""


@dataclass
class Net:
    """A model made after a row, and every module in it by the path of its first place."""

    row: Row
    model: Module = field(init=False)
    modules: dict[str, tuple[Item, Module]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self._made(self.row, "", {})

    def _made(self, item: Item, path: str, known: dict[Item, Module]) -> Module:
        if item not in known:
            known[item] = self._new(item, path, known)
            self.modules[path] = (item, known[item])
        return known[item]

    def _new(self, item: Item, path: str, known: dict[Item, Module]) -> Module:
        if isinstance(item, Row):
            parts = [(f"p{i}", self._made(x, join(path, f"p{i}"), known)) for i, x in enumerate(item.items)]
            return nn.Residual(*parts) if item.residual else nn.Sequential(*parts, name="net")
        match item.kind:
            case "conv":
                return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
            case "point":
                return nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
            case "linear":
                return nn.Linear(FEATURES, CLASSES)
            case "flatten":
                return nn.Flatten()
            case "dropout":
                return nn.Dropout(0.5)
            case "pool":
                return nn.AvgPool2d(3, 1, 1)
            case "largest":
                return nn.MaxPool2d(3, 1, 1)
        return {"relu": nn.ReLU, "tanh": nn.Tanh}[item.kind]()

    @property
    def classifies(self) -> bool:
        return any(isinstance(x, Layer) and x.kind == "linear" for x in self.row.items)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def parameters(item: Item, path: str = "") -> dict[str, Key]:
    """Every name under which a parameter may stand in a program of this item, and which one it is."""
    if isinstance(item, Layer):
        return {join(path, n): (item.kind, item.number, n) for n in PARAMETERS.get(item.kind, ())}
    names: dict[str, Key] = {}
    for i, x in enumerate(item.items):
        names |= parameters(x, join(path, f"p{i}"))
    return names


def layers(item: Item) -> Iterator[Layer]:
    if isinstance(item, Layer):
        yield item
    else:
        for x in item.items:
            yield from layers(x)


def _named(*kinds: str) -> tuple[Layer, ...]:
    """`conv0` is the layer of that kind and number."""
    return tuple(Layer(k.rstrip("0123456789"), int(k[len(k.rstrip("0123456789")) :] or 0)) for k in kinds)


HEAD = _named(*HEADS)
NETS = {
    "conv": Row(_named("conv")),
    "two": Row(_named("conv0", "relu", "conv1")),
    "tied": Row(_named("conv0", "tanh", "conv0")),
    "residual": Row((Row(_named("conv", "relu"), True), *_named("point"))),
    "linear": Row(HEAD),
    "classifier": Row((*_named("conv", "relu", "largest"), *HEAD)),
    "nested": Row((Row(_named("conv", "pool")), *HEAD)),
    "tied_residual": Row((Row(_named("point"), True), Row(_named("point"), True), *HEAD)),
    "dropout": Row((*_named("conv", "dropout"), *HEAD)),
    "without": Row(_named("tanh", "pool")),
}
"""One of each thing that there is; none costs more than a second to compile."""

body = st.lists(
    st.sampled_from(_named("conv0", "conv1", "point0", "point1", "relu", "tanh", "pool", "largest", "dropout")),
    min_size=1,
    max_size=3,
).map(tuple)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Any network of these layers, some in Residual or Sequential, with a classifier's end or without."""
    parts: list[Item] = []
    for items in draw(st.lists(body, min_size=1, max_size=2)):
        parts += draw(st.sampled_from([items, (Row(items),), (Row(items, True),)]))
    return Row((*parts, *(HEAD if draw(st.booleans()) else ())))
