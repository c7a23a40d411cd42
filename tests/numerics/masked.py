"""Kernels whose lanes end before their last vector does: every monoid over what is loaded, in part or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from convc.ir.core import Graph, Node
from convc.ir.kernels import Gemm, GemmSchedule, Loops, LoopSchedule
from convc.ir.text import parse_graph
from convc.ir.verify import verify
from convc.passes.pipeline import Trace
from convc.passes.plan_memory import plan_memory

CAPACITY = 6
ROWS = (6, 5, 4, 1)
LENGTHS = (7, 3, 4, 9)
"""Of the summed axis: none but 4 divides a vector of 4 or 8 lanes."""
OPERANDS = "%s: f32[], %seed: i32[]"
VALUES = {
    "a constant": "2.0",
    "an index": "#(c + 1)",
    "an index of rows": "#(n*3 + c + 1)",
    "the rows": "rows",
    "a random number": "random(n*9 + c, 3, $1[], 5.0)",
    "one number": "$0[]",
    "one number in a part": "$0[ | c in [1, 3)]",
    "a number a row": "$2[n]",
    "a number a column": "$3[c]",
    "every element": "$4[n, c]",
    "every element, padded": "$4[n, c - 1]",
    "every element of blocks": "$5[n, c]",
    "the greater of two": "max($0[], #(c))",
}
"""What a reduction over c (and n) may be of, from no load at all to loads that have limits of their own."""
REDUCES = {
    "sum": "{name} = sum({value})",
    "max": "{name} = max({value})",
    "argmax": "{name}, {name}_at = argmax({value}, #(c))",
}
DOMAINS = {
    "columns of a row": ("n:n<={rows}", "c:{length}", "n", "f32[n<={rows}]"),
    "rows of a column": ("c:{length}", "n:n<={rows}", "c", "f32[{length}]"),
    "both": ("", "n:n<={rows}, c:{length}", "", "f32[]"),
}
"""The outer axes, the reduced ones, and the stored coordinates and type."""


def nests(length: int, rows: int = CAPACITY) -> Graph:
    """Each monoid over each value and each domain, on operands that all share."""
    shape = f"n<={rows},{length}"
    head = f"{OPERANDS}, %r: f32[n<={rows}], %k: f32[{length}], %x: f32[{shape}]"
    nodes = [
        f"%b: f32[{shape}|01.0x4] = loops(%x) {{ for(n:n<={rows}, c:{length}) map() {{ store 0[n, c] = $0[n, c] }} }}"
    ]
    results = []
    domains = [tuple(x.format(rows=rows, length=length) for x in d) for d in DOMAINS.values()]
    for monoid, reduce in REDUCES.items():
        for value in VALUES.values():
            for outer, inner, place, kind in domains:
                name = f"v{len(results)}"
                text = reduce.format(name="total", value=value)
                stored = "total" if monoid != "argmax" else "total * 8.0 + total_at"
                nodes.append(
                    f"%{name}: {kind} = loops(%s, %seed, %r, %k, %x, %b) {{ for({outer}) reduce({inner}) {text}"
                    f" map() {{ store 0[{place}] = {stored} }} }}"
                )
                results.append(name)
    return _parsed(head, nodes, results)


def maps(length: int, rows: int = CAPACITY) -> Graph:
    """Each value stored at every point, into rows and into blocks of lanes, which are then read."""
    shape = f"n<={rows},{length}"
    head = f"{OPERANDS}, %r: f32[n<={rows}], %k: f32[{length}], %x: f32[{shape}]"
    domain = f"for(n:n<={rows}, c:{length})"
    nodes = [f"%b: f32[{shape}|01.0x4] = loops(%x) {{ {domain} map() {{ store 0[n, c] = $0[n, c] }} }}"]
    results = []
    for value in VALUES.values():
        for layout in ("", "|01.0x4"):
            name = f"v{len(results)}"
            stored = f"{name}_blocks" if layout else name
            nodes.append(
                f"%{stored}: f32[{shape}{layout}] = loops(%s, %seed, %r, %k, %x, %b) {{ {domain}"
                f" map() {{ store 0[n, c] = {value} }} }}"
            )
            if layout:
                nodes.append(
                    f"%{name}: f32[{shape}] = loops(%{stored}) {{ {domain} map() {{ store 0[n, c] = $0[n, c] }} }}"
                )
            results.append(name)
    return _parsed(head, nodes, results)


FACTORS_A = {"both axes": "$0[k, {sum}]", "its own axis": "$1[k]", "the sum's axis": "$2[{sum}]", "one number": "$3[]"}
FACTORS_B = {
    "both axes": "$4[{line}]",
    "its own axis": "$5[{own}]",
    "the sum's axis": "$2[{sum}]",
    "one number": "$3[]",
}
EPILOGUES = ("acc", "acc + #(k*2 + 1)", "acc * rows", "#(k) + rows", "3.0")


def products(length: int, rows: int = CAPACITY) -> Graph:
    """Sums over columns and over typed rows of products of which a factor may know nothing of the sum."""
    nodes, results = [], []
    head = (
        f"%wc: f32[3,{length}], %wn: f32[n<={rows},3], %w: f32[3], %vc: f32[{length}], %vn: f32[n<={rows}], %s: f32[],"
        f" %x: f32[n<={rows},{length}]"
    )
    for over in ("c", "n"):
        other, extents = {"c": "n", "n": "c"}[over], {"c": f"c:{length}", "n": f"n:n<={rows}"}
        mine, its = (("%wc", "%vn"), ("%wn", "%vc"))[over == "n"]
        summed = "%vc" if over == "c" else "%vn"
        kind = f"f32[n<={rows},3]" if over == "c" else f"f32[3,{length}]"
        place = "n, k" if over == "c" else "k, c"
        for a in FACTORS_A.values():
            first = a.format(sum=over) if over == "c" else a.replace("k, {sum}", "n, k").format(sum=over)
            for b in FACTORS_B.values():
                name = f"v{len(results)}"
                second = b.format(sum=over, own=other, line="n, c")
                nodes.append(
                    f"%{name}: {kind} = gemm({mine}, %w, {summed}, %s, %x, {its}) {{ phase {{"
                    f" batch() m(k:3) n({extents[other]}) k({extents[over]}) a = {first} b = {second}"
                    f" store 0[{place}] = {EPILOGUES[len(results) % len(EPILOGUES)]} }} }}"
                )
                results.append(name)
    return _parsed(head, nodes, results)


def _parsed(head: str, nodes: list[str], results: list[str]) -> Graph:
    returned = ", ".join(f"%{name}" for name in results)
    return verify(parse_graph("\n".join([f"graph @masked({head}) {{", *nodes, f"return {returned} }}"])))


def with_lanes(graph: Graph, lanes: str | None, width: int) -> Graph:
    """Every kernel that has an axis of that name with it in the lanes; the others, and an argmax over it, scalar."""

    def scheduled(node: Node) -> Node:
        op = node.op
        if isinstance(op, Gemm):
            view = op.phases[0]
            fits = any(a.name == lanes for a in (*view.n, *view.k))
            found = GemmSchedule(lanes, width, ("k", 2), ("", 1)) if fits else GemmSchedule(None, 1, ("k", 2), ("", 1))
            return replace(node, op=replace(op, schedules=(found,)))
        assert isinstance(op, Loops)
        outer = any(a.name == lanes for a in op.nest.axes)
        inner = any(a.name == lanes for s in op.nest.stages for a in s.axes)
        ordered = any(getattr(s, "monoid", "") == "argmax" for s in op.nest.stages)
        fits = outer or (inner and not ordered)
        return replace(node, op=replace(op, schedule=LoopSchedule(lanes, width) if fits else LoopSchedule(None, 1)))

    return graph.with_nodes(map(scheduled, graph.nodes))


def planned(graph: Graph, change: Callable[[Graph], Graph]) -> Trace:
    """The trace of kernels that are scheduled by hand."""
    found = verify(change(graph))
    return Trace([("input", graph), ("schedule", found), ("plan_memory", plan_memory(found))])
