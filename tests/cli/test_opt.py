import io
import re
from importlib.metadata import EntryPoint

import pytest

from convc.ir.text import parse_graph
from convc.passes import registry


def halved(graph):
    """return %a, %b -> return %a"""
    from dataclasses import replace

    return replace(graph, outputs=graph.outputs[:1])


def breaks(graph):
    """%a -> nothing"""
    return graph.no_such_field


def forgets(graph):
    """graph -> none"""


@pytest.fixture
def offered(monkeypatch):
    """Passes of another package: this file's functions, and one that does not load."""
    own = {"halved": halved, "breaks": breaks, "forgets": forgets}

    class Entry(EntryPoint):
        def load(self):
            if self.name == "absent":
                raise ModuleNotFoundError("No module named 'absent'")
            return own[self.name]

    entries = [Entry(name, f"somewhere:{name}", registry.ENTRY_POINTS) for name in (*own, "absent")]
    for module in ("convc.passes.registry", "convc.cli.passes"):
        monkeypatch.setattr(f"{module}.entry_points", lambda group: entries if group == registry.ENTRY_POINTS else [])


def test_the_ir_after_the_passes(convc, graph_file):
    result = convc("opt", graph_file, "-p", "canonicalize,fuse_epilogue, lower")
    assert (result.code, result.err) == (0, "")
    graph = parse_graph(result.out)
    assert [n.op.name for n in graph.nodes] == ["gemm"]
    assert graph.nodes[0].passes == ("fuse_epilogue", "lower")


def test_each_stage(convc, graph_file):
    result = convc("opt", graph_file, "-p", "canonicalize,fuse_epilogue", "--each")
    stages = re.split(r"^// after (\w+)\n", result.out, flags=re.MULTILINE)
    assert stages[0] == ""
    assert stages[1::2] == ["canonicalize", "fuse_epilogue"]
    assert [len(parse_graph(text).nodes) for text in stages[2::2]] == [3, 1]


def test_standard_input(convc, graph_file, monkeypatch):
    with open(graph_file, "rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read())))
    assert "fused(" in convc("opt", "-", "-p", "fuse_epilogue").out


@pytest.mark.parametrize(
    ("passes", "line"),
    [
        ("no_such", "unknown pass 'no_such'; known are "),
        ("", "unknown pass ''; known are "),
        ("plan_memory,,lower", "unknown pass ''; known are "),
        ("breaks", "pass 'breaks' of another package failed: AttributeError: 'Graph' object has no attribute 'no_su"),
        ("forgets", "a pass returns a graph, but pass 'forgets' returned NoneType"),
        ("absent", "pass 'absent' of another package does not load: ModuleNotFoundError: No module named 'absent'"),
    ],
)
def test_a_pass_that_cannot_run(convc, graph_file, offered, passes, line):
    result = convc("opt", graph_file, "-p", passes)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"convc: error: {line}")
    assert result.err.count("\n") == 1


def test_what_a_pass_returns_is_verified(convc, graph_file, offered, monkeypatch):
    def cut(graph):
        """graph -> its nodes without the first"""
        return graph.with_nodes(graph.nodes[1:])

    monkeypatch.setitem(registry.PASSES, "cut", cut)
    result = convc("opt", graph_file, "-p", "cut")
    assert result.code == 1
    assert "pass cut made an ill-formed graph" in result.err
    assert "%0 is used before it is defined" in result.err


def test_a_pass_of_another_package_runs(convc, tmp_path, offered):
    path = tmp_path / "two.conv"
    path.write_text("graph @two(%x: f32[3]) {\n  %0: f32[3] = relu(%x)\n  return %0, %x\n}\n")
    assert parse_graph(convc("opt", path, "-p", "halved").out).outputs[0].name == "0"


def test_the_list_of_passes(convc, offered):
    result = convc("passes")
    lines = result.out.splitlines()
    rows = {line.split()[0]: line for line in lines[1:] if line[:1].islower()}
    order = list(rows)
    assert order.index("canonicalize") < order.index("autodiff") < order.index("fuse_epilogue") < order.index("lower")
    assert order.index("lower") < order.index("plan_memory") < order.index("halved")
    assert set(registry.PASSES) <= set(rows)
    assert "  train  return %loss -> return %loss" in rows["autodiff"]
    assert "  every  " in rows["lower"]
    assert rows["halved"].endswith("  -      return %a, %b -> return %a")
    assert "does not load" in rows["absent"]
    assert " ".join(result.out.rpartition("\n\n")[2].split()) == (
        "In mode train, canonicalize, fold_constants, eliminate_common, eliminate_dead run once more "
        "after apply_optimizer."
    )
