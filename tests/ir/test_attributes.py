"""An operator's attributes are checked however it is built: the text form's rules hold for Python's values too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from convc import nn
from convc.errors import IRError
from convc.ir.attributes import attribute_fields
from convc.ir.core import OPS, Op, checked_infer
from convc.ir.fields import hints
from convc.ir.kernels import KernelOp
from convc.ir.ops.conv import Conv2d
from convc.ir.ops.pointwise import LeakyRelu
from convc.ir.ops.pool import MaxPool
from convc.ir.types import Rows, f32
from tests.numerics.cases import CASES

EXAMPLES: dict[str, Op] = {c.op.name: c.op for c in CASES}
NUMBERS = {int: (1.5, True, "1", None, 2**40), float: ("x", None, True, 1e39), bool: (1, "yes", None)}
"""Values that a field of that type may not hold."""


def plain(hint: Any) -> type | None:
    """int, float or bool, alone or in a tuple; None for other fields."""
    parts = getattr(hint, "__args__", (hint,))
    return parts[0] if parts[0] in NUMBERS else None


FIELDS = [
    (name, f.name, plain(hints(cls)[f.name]))
    for name, cls in OPS.items()
    if not issubclass(cls, KernelOp)
    for f in attribute_fields(cls)
    if plain(hints(cls)[f.name])
]


@pytest.mark.parametrize(("name", "field", "number"), FIELDS, ids=[f"{n}.{f}" for n, f, _ in FIELDS])
def test_every_attribute_of_every_operator_is_checked(name: str, field: str, number: type) -> None:
    op = EXAMPLES[name]
    held = getattr(op, field)
    for bad in NUMBERS[number]:
        value = (bad, *held[1:]) if isinstance(held, tuple) and held else (bad,) if isinstance(held, tuple) else bad
        with pytest.raises(IRError, match=f"attribute '{field}' of {name} must be"):
            replace(op, **{field: value})


@pytest.mark.parametrize(("name", "field", "number"), FIELDS, ids=[f"{n}.{f}" for n, f, _ in FIELDS])
def test_numpys_numbers_become_pythons(name: str, field: str, number: type) -> None:
    op = EXAMPLES[name]
    held = getattr(op, field)
    wide = {int: np.int64, float: np.float64, bool: np.bool_}[number]
    given = [wide(v) for v in held] if isinstance(held, tuple) else wide(held)  # a list, too
    again = replace(op, **{field: given})
    assert again == op
    found = getattr(again, field)
    assert all(type(v) is number for v in (found if isinstance(found, tuple) else (found,)))


def test_an_operator_may_not_hide_the_check() -> None:
    with pytest.raises(IRError, match=r"Hidden must check its attributes in validate\(\), not in __post_init__"):

        @dataclass(frozen=True)
        class Hidden(Op, name="hidden"):
            def __post_init__(self) -> None: ...

    assert "hidden" not in OPS


CANNOT_BE: dict[str, Callable[[], object]] = {
    "attribute 'stride' of conv2d must be a list of 2, each an integer, not [1.5, 1]": lambda: Conv2d((1.5, 1)),  # type: ignore[arg-type]
    "attribute 'padding' of conv2d must be a list, each an integer, not [0.5, 0.5]": lambda: Conv2d(padding=(0.5, 0.5)),  # type: ignore[arg-type]
    "attribute 'groups' of conv2d must be an integer, not 2.0": lambda: Conv2d(groups=2.0),  # type: ignore[arg-type]
    "groups must be at least 1, not 0": lambda: Conv2d(groups=0),
    "an extent must be an integer, not 3.5": lambda: f32(4, 3.5),  # type: ignore[arg-type]
    "attribute 'kernel' of max_pool must be a list of 2, each an integer, not [2.0, 2.0]": lambda: MaxPool((2.0, 2.0)),  # type: ignore[arg-type]
    "attribute 'slope' of leaky_relu must be a number that f32 holds, not \"steep\"": lambda: LeakyRelu("steep"),  # type: ignore[arg-type]
    "conv2d(f32[n<=2,4,6,6], f32[4,4,3,3]): the padded input must be below 2^31 in height,"
    " not 4294967292 (2147483643+6+2147483643)": lambda: checked_infer(
        Conv2d(padding=(2**31 - 5,) * 2, stride=(2**31 - 1,) * 2), [f32(Rows(2), 4, 6, 6), f32(4, 4, 3, 3)]
    ),
}


@pytest.mark.parametrize("message", CANNOT_BE)
def test_what_is_built_from_python_is_checked_too(message: str) -> None:
    with pytest.raises(IRError) as caught:
        CANNOT_BE[message]()
    assert str(caught.value) == message


def test_layers_take_numpys_integers() -> None:
    two, three, four = np.int64(2), np.int32(3), np.uint8(4)
    net = nn.Sequential(nn.Conv2d(four, four, three, stride=np.int64(1), groups=two), nn.MaxPool2d(two), nn.Flatten())  # type: ignore[arg-type]
    plain_net = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.MaxPool2d(2), nn.Flatten())
    shape = tuple(np.asarray([2, 4, 6, 6]))
    graphs = [m.forward_graph(s)[0].graph() for m, s in ((net, shape), (plain_net, (2, 4, 6, 6)))]
    assert str(graphs[0]) == str(graphs[1])
