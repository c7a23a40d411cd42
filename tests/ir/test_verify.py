"""What the verifier accepts, every target computes right; everything else it refuses in one line."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.errors import IRError
from convc.ir.core import OPS, Array, Graph, Value, checked_infer
from convc.ir.coverage import check_coverage
from convc.ir.interp import interpret
from convc.ir.ops.pointwise import Pointwise
from convc.ir.text import parse_graph
from convc.ir.types import Rows, f32
from convc.ir.verify import verify
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CPU, CUDA
from tests.numerics.cases import FAMILIES
from tests.numerics.helpers import combined

TARGETS = [
    "cpu",
    pytest.param("emulator", marks=pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed")),
]


def refused(text: str) -> str:
    with pytest.raises(convc.IRError) as caught:
        convc.compile(parse_graph(text))
    message = str(caught.value)
    assert "\n" not in message
    return message


HEAD = "%x: f32[4], %w: f32[4] parameter, %v: f32[4] state, %c: f32[4] constant, %s: f32[] scalar"
TABLES = {
    "%s: f32[64] scalar": "an input of role scalar is one number, f32[] or i32[], but %s is f32[64]",
    "%x: f32[n<=4,2], %w: f32[n<=4,2] parameter": "only data have batch rows, but %w: f32[n<=4,2] has role parameter",
    "%x: f32[n<=4,2], %w: f32[n<=4,2] state": "only data have batch rows, but %w: f32[n<=4,2] has role state",
    "%x: f32[n<=4,2], %w: f32[n<=4,2] constant": "only data have batch rows, but %w: f32[n<=4,2] has role constant",
    "%x: f32[n<=4,2], %w: f32[n<=5,2]": "batch rows must have one capacity, but there are n<=4, n<=5",
}


@pytest.mark.parametrize("inputs", TABLES)
def test_roles(inputs: str) -> None:
    assert TABLES[inputs] in refused(f"graph @g({inputs}) {{ return }}")


@pytest.mark.parametrize(
    ("name", "role"), [("x", "data"), ("c", "constant"), ("s", "scalar")], ids=["data", "constant", "scalar"]
)
def test_only_what_is_kept_is_updated(name: str, role: str) -> None:
    new = {"s": "%s"}.get(name, "%w")
    message = refused(f"graph @g({HEAD}) {{ return %x update %{name} = {new} }}")
    assert f"an update is the new value of a parameter or of state, but %{name} has role {role}" in message


def test_updates_keep_the_type_and_the_layout() -> None:
    assert "is f32[4], %x f32[5]" in refused("graph @g(%x: f32[5], %w: f32[4] parameter) { return update %w = %x }")
    graph = parse_graph("graph @g(%x: f32[4,4], %w: f32[4,4] parameter) { %0: f32[4,4|10] = relayout(%x) return %x }")
    with pytest.raises(convc.IRError, match=r"the update of %w: f32\[4,4\] has type f32\[4,4\|10\]"):
        verify(replace(graph, updates={"w": graph.nodes[0].out}))


def test_names_are_defined_once() -> None:
    one, two = Value("x", f32(3)), Value("x", f32(4))
    with pytest.raises(convc.IRError, match="%x is defined twice"):
        verify(Graph("g", (one, two), (), (one,)))


BROADCASTS = {
    "%0: f32[4] = broadcast(%x) {axes=[5]}": "axes must be different ones of the result's 1, not [5]",
    "%0: f32[4,3] = broadcast(%x) {axes=[1, 1]}": "axes must be different ones of the result's 2, not [1, 1]",
    "%0: f32[4,3] = broadcast(%x) {axes=[-1]}": "axes must be different ones of the result's 2, not [-1]",
    "%0: f32[] = sum(%x) {axes=[0, 0]}": "axes must be different ones of x's 1, not [0, 0]",
    "%0: f32[] = sum(%x) {axes=[-1]}": "axes must be different ones of x's 1, not [-1]",
    "%0: f32[4] = softmax(%x) {axis=-1}": "axis must be one of x's 1, not -1",
    "%0: f32[4] = bias_add(%x, %w) {axis=-1}": "axis must be one of x's 1, not -1",
}


@pytest.mark.parametrize("node", BROADCASTS)
def test_axes_are_those_that_there_are(node: str) -> None:
    assert BROADCASTS[node] in refused(f"graph @g({HEAD}) {{ {node} return %0 }}")


KERNELS = {
    "for(i:4) map() { store 0[i] = $0[i] }": "loops must store every element of %0: f32[8] once, but 4 of 8 are stored",
    "for(i:8)": "but 0 of 8 are stored",
    "for(i:8) map() { store 0[i] = $0[i] store 0[i] = 1.0 }": "two stores reach the same element",
    "for(i:8) map(j:2) { store 0[i] = $0[j] }": "it is stored again for every j",
    "for(i:8, j:2) map() { store 0[(i + j*8) % 8] = $0[i] }": "it is stored again for every j",
    "for(i:8) map() { store 0[(i*3) % 6] = $0[i] }": "a store reaches 6 of its elements again",
    "for(i:8) map() { store 0[i + 1] = $0[i] }": "at i + 1, which goes from 1 to 8, but axis 0 of f32[8] has 8",
    "for(i:8) map() { store 0[i - 1] = $0[i] }": "stores 0 at i - 1, which goes from -1 to 6",
    "for(i:8) map() { store 1[i] = $0[i] }": "stores 1, but there are only 1",
    "for(i:8) map() { store 0[i] = $3[i] }": "reads $3, but there are only 2",
    "for(i:8) map() { store 0[i] = $0[i, i] }": "reads $0 at 2 coordinates, but it is f32[8]",
    "for(i:8) reduce(j:0) s = max($0[j]) map() { store 0[i] = s }": "at least 1 point, but j has 0",
    "for(i:8) map() { store 0[i] = $1[i] }": "stores $1, which is i32[8], as f32[8]: a copy keeps the dtype",
}


@pytest.mark.parametrize("body", KERNELS)
def test_kernels_as_text(body: str) -> None:
    text = f"graph @g(%x: f32[8], %i: i32[8]) {{ %0: f32[8] = loops(%x, %i) {{ {body} }} return %0 }}"
    assert KERNELS[body] in refused(text)


WHOLE = {
    "$0[i] * 2.0": "neither an i32 element as it is nor a whole number below 2^24",
    "$1[i] + 1.0": "neither an i32 element as it is nor a whole number below 2^24",
    "0.5": "neither an i32 element as it is nor a whole number below 2^24",
    "16777217.0": "neither an i32 element as it is nor a whole number below 2^24",
    "#(i*16777216)": "neither an i32 element as it is nor a whole number below 2^24",
    "$0[i]": "stores to i32[8] what is neither",
    "select($1[i] > 3.0, $1[i], 0.0)": "neither an i32 element as it is nor a whole number below 2^24",
}


@pytest.mark.parametrize("value", WHOLE)
def test_whole_numbers_that_f32_would_lose(value: str) -> None:
    body = f"for(i:8) map() {{ store 0[i] = {value} }}"
    text = f"graph @g(%x: f32[8], %i: i32[8]) {{ %0: i32[8] = loops(%x, %i) {{ {body} }} return %0 }}"
    assert WHOLE[value] in refused(text)


def test_an_operand_is_copied_or_computed_with() -> None:
    body = "for(i:8) map() { store 0[i] = $0[i] store 1[i] = $0[i] * 2.0 }"
    text = f"graph @g(%i: i32[8]) {{ %0: i32[8], %1: f32[8] = loops(%i) {{ {body} }} return %0, %1 }}"
    assert "$0 is copied and computed with in one kernel; make a kernel of each" in refused(text)


ROWS = {
    "n<=4,2": {
        "for(n:n<=4, c:2) map() { store 0[n, c] = $0[3 - n, c] }": "reads row -n + 3 of $0: f32[n<=4,2]",
        "for(n:n<=4, c:2) map() { store 0[3 - n, c] = $0[n, c] }": "stores row -n + 3 of f32[n<=4,2]",
        "for(n:4, c:2) map() { store 0[n, c] = $0[n, c] }": "rows are read by an axis of n<=4 alone",
        "for(n:4, c:2) map() { store 0[n, c] = 1.0 }": "an axis of batch rows counts the rows of a tensor",
        "for(n:n<=3, c:2) map() { store 0[n, c] = 1.0 }": "rows are stored by an axis of n<=4 alone",
    },
    "4,2": {
        "for(n:n<=4, c:2) map() { store 0[n, c] = $0[n, c] }": "an axis of batch rows counts the rows of a tensor",
    },
}


@pytest.mark.parametrize(("shape", "body"), [(shape, body) for shape, bodies in ROWS.items() for body in bodies])
def test_rows_behind_n_are_out_of_reach(shape: str, body: str) -> None:
    text = f"graph @g(%x: f32[n<=4,2]) {{ %0: f32[{shape}] = loops(%x) {{ {body} }} return %0 }}"
    assert ROWS[shape][body] in refused(text)


FACTORS = {
    "$1[m, k] * 2.0": "factor a of a product must be an element of an f32 operand",
    "1.0": "factor a of a product must be an element of an f32 operand",
    "$1[m, k ; 1.0]": "factor a of a product must be an element of an f32 operand, 0 where there is none",
    "$2[m, k]": "factor a of a product must be an element of an f32 operand",
}


@pytest.mark.parametrize("factor", FACTORS)
def test_factors_of_a_product(factor: str) -> None:
    phase = f"batch() m(m:4) n(n:4) k(k:4) a = {factor} b = $0[n, k] store 0[n, m] = acc"
    text = f"""graph @g(%x: f32[4,4], %y: f32[4,4], %i: i32[4,4]) {{
      %0: f32[4,4] = gemm(%x, %y, %i) {{ phase {{ {phase} }} }} return %0 }}"""
    assert FACTORS[factor] in refused(text)


@pytest.mark.parametrize("target", TARGETS)
def test_a_load_outside_its_tensor_is_its_fill(target: str) -> None:
    bodies = ("$0[i - 3 ; 7.0]", "$0[i*1000000]", "$0[i + 8 ; -1.0]")
    stores = " ".join(f"store {k}[i] = {b}" for k, b in enumerate(bodies))
    graph = parse_graph(f"""graph @g(%x: f32[8]) {{
      %0: f32[8], %1: f32[8], %2: f32[8] = loops(%x) {{ for(i:8) map() {{ {stores} }} }} return %0, %1, %2 }}""")
    x = np.arange(1, 9, dtype=np.float32)
    for found, wanted in zip(convc.compile(graph, target=target)(x), interpret(graph, {"x": x}).values()):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("target", [CPU, CUDA], ids=["cpu", "cuda"])
@pytest.mark.parametrize("rows", [Rows(6), 3, Rows(1)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kernel_of_every_pass_stores_its_results_once(family: str, rows: int, target: object) -> None:
    for _, graph in run(combined(FAMILIES[family](rows)), pipeline(train=False), target).stages:  # type: ignore[arg-type]
        check_coverage(graph)


TIED = {
    "one value twice": "%0: f32[4] = add(%x, %w) return %0, %0 update %w = %0 update %v = %0",
    "inputs returned": "%0: f32[4] = add(%x, %s) return %x, %w, %s, %0",
    "swapped": "%0: f32[4] = add(%v, %w) return %0 update %w = %v update %v = %w",
    "itself": "%0: f32[4] = add(%x, %w) return %0 update %w = %w",
    "data": "%0: f32[4] = add(%v, %w) return %0, %v update %w = %x update %v = %0",
    "a constant": "%0: f32[4] = mul(%v, %w) return %w, %0 update %w = %c update %v = %c",
    "nothing": "return",
    "read after its update": "%0: f32[4] = add(%w, %x) %1: f32[4] = mul(%0, %w) return %1, %w update %w = %0",
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", TIED)
def test_values_that_leave_by_several_ways(case: str, target: str) -> None:
    """Returned twice, inputs returned, updates tied to inputs and to each other: what the interpreter says."""
    graph = parse_graph(f"graph @g({HEAD}) {{ {TIED[case]} }}")
    program = convc.compile(graph, target=target)
    numbers = {name: np.arange(k, k + 4, dtype=np.float32) for k, name in enumerate("xwvc")} | {"s": np.float32(2.5)}
    for v in program.graph.inputs_of("parameter", "state", "constant"):
        program.parameters[v.name][...] = numbers[v.name]
    exact = interpret(graph, numbers)
    found = program(numbers["x"], s=2.5)
    found = found if isinstance(found, tuple) else (found,)
    for v, a in zip(graph.outputs, found, strict=True):
        np.testing.assert_array_equal(a, exact[v.name] if v.name not in graph.updates else numbers[v.name])
    for name in graph.updates:
        np.testing.assert_array_equal(program.parameters[name], exact[name])


@pytest.mark.parametrize(
    ("name", "given", "takes"), [("relu", 0, "x"), ("relu", 2, "x"), ("mul", 1, "x, y"), ("leaky_relu", 3, "x")]
)
def test_an_operator_takes_the_operands_it_names(name: str, given: int, takes: str) -> None:
    with pytest.raises(IRError, match=rf"{name} takes \({takes}\), but there are {given} operands"):
        checked_infer(OPS[name](), [f32(2)] * given)


def test_an_operator_without_a_shape_rule_of_its_own_takes_those_of_its_reference() -> None:
    @dataclass(frozen=True)
    class Halved(Pointwise, name="halved"):
        def reference(self, x: Array) -> tuple[Array, ...]:
            return (x / 2,)

    try:
        assert checked_infer(Halved(), [f32(2)]) == (f32(2),)
        for given in (0, 2):
            with pytest.raises(IRError, match=rf"halved takes \(x\), but there are {given} operands"):
                checked_infer(Halved(), [f32(2)] * given)
    finally:
        del OPS["halved"]
