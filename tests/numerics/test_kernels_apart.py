"""What is packed for a kernel lies where its type says, and comes back."""

import numpy as np
import pytest

from convc.ir.text import parse_graph
from convc.testing.kernels_apart import pack, unpack
from convc.testing.views import memory_offset

TYPES = (
    "f32[n<=20,3,2]",
    "f32[n<=20,3,2|012.0x16]",
    "f32[n<=5,3,2|102.0x16]",
    "f32[5,3,2|120]",
    "f32[4,7|10]",
    "f32[4,7|01.1x4]",
    "i32[n<=20|0.0x16]",
    "f32[]",
)


@pytest.mark.parametrize("text", TYPES)
def test_every_element_lies_where_its_type_says(text):
    graph = parse_graph(f"graph @g(%x: {text}) {{ return %x }}")
    t = graph.inputs[0].type
    rows = max(1, int(t.rows or 1) - 2)
    shape = tuple(rows if i == 0 and t.rows is not None else int(e) for i, e in enumerate(t.shape))
    array = 1 + np.arange(np.prod(shape, dtype=int)).reshape(shape)
    place = pack(t, array)
    assert place.size == t.storage_elements
    for at in np.ndindex(*shape):
        assert place[memory_offset(t, at)] == array[at]
    assert np.count_nonzero(place) == array.size, "the rest is zeros"
    assert (unpack(t, place, rows) == array).all()
