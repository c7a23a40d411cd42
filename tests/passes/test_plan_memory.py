"""plan_memory: values that live at the same time never share bytes; updates are made in place where they can be."""

from __future__ import annotations

from itertools import combinations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import convc
from convc.compiler import model_graph
from convc.ir.core import OPS, Builder, Graph, Op, Role, Value
from convc.ir.ops.pointwise import Add
from convc.ir.ops.reduce import Sum
from convc.ir.text import parse_graph
from convc.ir.types import Rows, TensorType, f32
from convc.ir.verify import verify
from convc.passes import pipeline
from convc.passes.lower import lower
from convc.passes.plan_memory import ALIGNMENT, aligned, intervals, plan_memory, unplanned_bytes
from convc.passes.schedule import schedule
from convc.testing import check_rewrite

UNARY: tuple[Op, ...] = (OPS["relu"](), OPS["tanh"](), OPS["sigmoid"]())


def kernel(name: str, t: str, operands: str, value: str) -> str:
    return f"%{name}: {t} = loops({operands}) {{ for(n:3) map() {{ store 0[n] = {value} }} }}"


def test_bytes_are_used_again_when_their_reader_has_run() -> None:
    """%0 is dead once %1 is there; %2 is returned and lies with the caller; %1 and %0 meet in one kernel."""
    body = "\n".join(
        [
            kernel("0", "f32[3]", "%x", "max($0[n], 0.0)"),
            kernel("1", "f32[3]", "%0", "exp($0[n])"),
            kernel("2", "f32[3]", "%1", "exp($0[n])"),
            kernel("3", "f32[3]", "%2", "-$0[n]"),
            kernel("4", "f32[3]", "%3", "-$0[n]"),
        ]
    )
    check_rewrite(
        f"graph @g(%x: f32[3]) {{ {body} return %2, %4 }}",
        plan_memory,
        f"""graph @g(%x: f32[3]) {{
          {body}
          return %2, %4
          place %0 at arena + 0
          place %1 at arena + 64
          place %3 at arena + 0
          arena 128 bytes }}""",
    )


def test_an_update_is_made_in_place() -> None:
    """Point by point, with nobody reading the old value later; the gradient beside it is of no matter."""
    body = kernel("0", "f32[3]", "%w, %g, %lr", "$0[n] - $2[] * $1[n]")
    check_rewrite(
        f"graph @g(%w: f32[3] parameter, %g: f32[3], %lr: f32[] scalar) {{ {body} return update %w = %0 }}",
        plan_memory,
        f"""graph @g(%w: f32[3] parameter, %g: f32[3], %lr: f32[] scalar) {{
          {body} return update %w = %0 place %0 inside %w }}""",
    )


COPY = """%w.copied: f32[3] = loops({0}) {{
    for(n:3) map() {{ store 0[n] = $0[n] }} schedule {{lanes=n, width=4}} }} loc(: plan_memory, schedule)"""
NOT_IN_PLACE = {
    "the old value is read later": ["-$0[n]", "%1", "exp($0[n])"],
    "another element is read": ["$0[0] + $0[n]"],
    "elements are read in another order": ["$0[-n + 2]"],
}


@pytest.mark.parametrize("reason", NOT_IN_PLACE)
def test_an_update_is_copied_where(reason: str) -> None:
    value, *rest = NOT_IN_PLACE[reason]
    body = kernel("0", "f32[3]", "%w", value)
    returned = ""
    if rest:
        returned = rest[0]
        body += "\n" + kernel("1", "f32[3]", "%w", rest[1])
    check_rewrite(
        f"graph @g(%w: f32[3] parameter) {{ {body} return {returned} update %w = %0 }}",
        plan_memory,
        f"""graph @g(%w: f32[3] parameter) {{
          {body}
          {COPY.format("%0")}
          return {returned}
          update %w = %w.copied
          place %w.copied inside %w
          place %0 at arena + 0
          arena 64 bytes }}""",
    )


LATER = {
    "by the next store": ("map() { store 0[n] = $1[n]; store 1[n] = $0[n] + $1[n] }", False),
    "by another stage": ("map() { store 0[n] = $0[n] * $1[n] } map() { store 1[n] = $0[n] + $1[n] }", False),
    "by a reduction": (
        "map() { store 0[n] = $1[n] } reduce(k:2) s = sum($0[n]) map() { store 1[n] = s - $0[n] + $1[n] }",
        False,
    ),
    "by both stores": ("map() { store 0[n] = $0[n] * $1[n]; store 1[n] = $0[n] + $1[n] }", True),
    "by the store before": ("map() { store 1[n] = $0[n] + $1[n]; store 0[n] = $1[n] }", True),
}


@pytest.mark.parametrize("reader", LATER)
def test_the_old_value_is_read_in_the_same_kernel(reader: str) -> None:
    """What is loaded behind the store of the new value is the new value; what two stores share is loaded first."""
    stages, in_place = LATER[reader]
    graph = parse_graph(f"""graph @g(%w: f32[40] parameter, %g: f32[40]) {{
      %a: f32[40], %b: f32[40] = loops(%w, %g) {{ for(n:40) {stages} }}
      return %b update %w = %a }}""")
    program = convc.compile(graph, target="cpu")
    assert (program.graph.updates["w"].name == "a") is in_place
    program.parameters["w"][...] = 5
    np.testing.assert_array_equal(program(np.full(40, 2, np.float32)), 7)


def test_two_states_that_are_exchanged() -> None:
    """Both old values are copied first, then both are written."""
    graph = check_rewrite_numbers("""
        graph @g(%a: f32[3] state, %b: f32[3] state, %x: f32[3]) {
          %0: f32[3] = add(%x, %x)
          return %0, %x, %0
          update %a = %b
          update %b = %a }""")
    assert [n.out.name for n in graph.nodes] == [
        "x.returned", "a.old", "b.old", "0", "0.returned.again", "a.copied", "b.copied",
    ]  # fmt: skip


def check_rewrite_numbers(text: str) -> Graph:
    """The planned graph, verified to compute what the text does (its own text is checked elsewhere)."""
    before = schedule(lower(convc.parse_graph(text)))
    after = plan_memory(before)
    return check_rewrite(before, plan_memory, str(after))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Pointwise operators and sums over values of several sizes, some of them states that are updated."""
    rows = Rows(draw(st.sampled_from([2, 5, 20])))
    types = [f32(rows, 3), f32(rows, 40), f32(7), f32(100)]
    inputs = [Value(f"x{i}", t) for i, t in enumerate(types)]
    states = [Value(f"s{i}", draw(st.sampled_from(types[2:]))) for i in range(draw(st.integers(0, 3)))]
    roles: dict[str, Role] = {v.name: "state" for v in states}
    values = [*inputs, *states]
    b = Builder(v.name for v in values)
    for _ in range(draw(st.integers(1, 14))):
        x = draw(st.sampled_from(values))
        same = [v for v in values if v.type == x.type]
        choice = draw(st.integers(0, 3))
        if choice == 0:
            values.append(b(draw(st.sampled_from(UNARY)), x))
        elif choice == 1 and x.type.rank == 2:
            values.append(b(Sum((1,)), x))
        else:
            values.append(b(Add(), x, draw(st.sampled_from(same))))
    # the interpreter names an update after its input, so a state's old value is not returned here
    outputs = draw(st.lists(st.sampled_from([v for v in values if v not in states]), max_size=3))
    updates = {s.name: draw(st.sampled_from([v for v in values if v.type == s.type])) for s in states}
    return verify(Graph("g", (*inputs, *states), tuple(b.nodes), tuple(outputs), roles, updates))


def assert_planned(graph: Graph) -> None:
    """Every value has its place, aligned and inside the arena, and no two that are alive together share a byte."""
    producers = {v: i for i, n in enumerate(graph.nodes) for v in n.outputs}
    spans: list[tuple[int, int, int, int, TensorType]] = []  # born, last read, first byte, end
    for v, born in producers.items():
        if v in graph.outputs:
            assert v.name not in graph.placements
            continue
        place = graph.placements[v.name]
        if place.inside is not None:
            assert graph.updates[place.inside] is v
            continue
        read = [i for i, n in enumerate(graph.nodes) if v in n.inputs]
        assert place.offset % ALIGNMENT == 0
        assert place.offset + v.type.nbytes <= graph.arena_bytes
        spans.append((born, max(read, default=born), place.offset, place.offset + v.type.nbytes, v.type))
    for a, b in combinations(spans, 2):
        together = a[0] <= b[1] and b[0] <= a[1]
        assert not together or a[3] <= b[2] or b[3] <= a[2]
    assert graph.arena_bytes <= unplanned_bytes(graph)


@settings(max_examples=150)
@given(graphs())
def test_no_two_live_values_share_bytes(graph: Graph) -> None:
    """And the interpreter, which obeys the plan, still computes the same, exchanged states included."""
    before = schedule(lower(graph))
    after = plan_memory(before)
    assert_planned(after)
    check_rewrite(before, plan_memory, str(after))


@pytest.mark.parametrize("mode", ["train", "eval", "infer"])
def test_lenet_fits_in_less_than_without_reuse(mode: str) -> None:
    _, graph = model_graph(convc.models.lenet5(), (64, 1, 28, 28), mode, "cross_entropy")  # type: ignore[arg-type]
    planned = pipeline.run(graph, pipeline.pipeline(mode == "train")).stages[-1][1]
    assert_planned(planned)
    arena = [x for x in intervals(planned) if planned.placements[x.value.name].inside is None]
    most = max(
        sum(aligned(x.value.type.nbytes) for x in arena if x.first <= now <= x.last)
        for now in range(len(planned.nodes))
    )
    assert most <= planned.arena_bytes <= 1.05 * most, "the bytes that are alive at one time are the least there can be"
    assert planned.arena_bytes < 0.75 * unplanned_bytes(planned)
