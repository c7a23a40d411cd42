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


OWN = '''from convc.ir.core import Graph
from convc.ir.ops.pointwise import Relu
from dataclasses import replace
import beside

NUMBER = 3


def drop_relu(graph: Graph) -> Graph:
    """relu(x) -> x"""
    renamed, nodes = {}, []
    for node in graph.nodes:
        if isinstance(node.op, Relu):
            renamed[node.out] = renamed.get(node.inputs[0], node.inputs[0])
        else:
            nodes.append(node)
    return graph.with_nodes(nodes, renamed)


def same(graph, target):
    assert target.lanes
    return graph


def cut(graph):
    return graph.with_nodes(graph.nodes[1:])


def forgets(graph):
    pass


def breaks(graph):
    return beside.helper(graph)


def refuses(graph):
    from convc.errors import IRError
    raise IRError("no graph is good enough")


def nothing():
    return None


class Pass:
    def __call__(self, graph):
        return graph

callable_object = Pass()
'''


@pytest.fixture
def own(tmp_path):
    """A file of passes, and one beside it that it imports."""
    (tmp_path / "beside.py").write_text("def helper(graph):\n    return graph.no_such_field\n")
    path = tmp_path / "my_passes.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def relus(tmp_path):
    path = tmp_path / "relus.conv"
    path.write_text(
        "graph @g(%x: f32[n<=4,3]) {\n  %0: f32[n<=4,3] = relu(%x)\n  %1: f32[n<=4,3] = tanh(%0)\n  return %1\n}\n"
    )
    return path


def test_a_pass_from_a_file_runs_beside_convcs_own(convc, relus, own):
    result = convc("opt", relus, "-p", f"canonicalize,{own}:drop_relu, eliminate_dead", "--each")
    assert (result.code, result.err) == (0, "")
    stages = re.split(r"^// after (\S+)\n", result.out, flags=re.MULTILINE)
    assert stages[1::2] == ["canonicalize", f"{own}:drop_relu", "eliminate_dead"]
    assert [n.op.name for n in parse_graph(stages[4]).nodes] == ["tanh"]


@pytest.mark.parametrize("name", ["same", "callable_object"])
def test_it_may_ask_for_the_target_and_be_any_callable(convc, relus, own, name):
    assert "relu(" in convc("opt", relus, "-p", f"{own}:{name}", "--check").out


def test_a_pass_that_changes_the_numbers_is_found(convc, relus, own):
    result = convc("opt", relus, "-p", f"canonicalize,{own}:drop_relu", "--check")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"convc: error: pass {own}:drop_relu changed what the graph computes: %1 with 4 rows ")
    assert result.err.count("\n") == 1


def test_convcs_own_passes_change_no_numbers(convc, graph_file):
    passes = "canonicalize,autodiff,eliminate_dead,fuse_epilogue,assign_layout,lower,fuse_loops,select_tile,schedule"
    result = convc("opt", graph_file, "-p", f"{passes},plan_memory", "--check")
    assert (result.code, result.err) == (0, "")


def line_of(text):
    return OWN[: OWN.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such", "my_passes.py has no function 'no_such'; known are "),
        ("drop_rely", "my_passes.py has no function 'drop_rely'; did you mean 'drop_relu'?"),
        ("NUMBER", "my_passes.py has no function 'NUMBER'"),
        ("cut", "my_passes.py:cut made an ill-formed graph: %1 = tanh(%0): %0 is used before"),
        ("forgets", "my_passes.py:forgets' returned NoneType"),
        (
            "breaks",
            f"my_passes.py, line {line_of('return beside.helper')}: AttributeError: 'Graph' object has no attri",
        ),
        ("refuses", f"my_passes.py, line {line_of('raise IRError')}: no graph is good enough"),
        ("nothing", "my_passes.py:nothing' failed: TypeError: nothing() takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_pass_of_a_file_that_is_wrong_is_one_line(convc, relus, own, name, message):
    result = convc("opt", relus, "-p", f"{own}:{name}")
    assert (result.code, result.out) == (1, "")
    assert message in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "mine.py: there is no such file"),
        ("def f(graph:\n", "mine.py, line 1: SyntaxError: '(' was never closed"),
        ("import no_such_module\n", "mine.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n\n1 / 0\n", "mine.py, line 3: ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_of_passes_that_does_not_load(convc, relus, tmp_path, text, message):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    result = convc("opt", relus, "-p", f"{tmp_path / 'mine.py'}:f")
    assert result.code == 1
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_file_without_a_function(convc, relus, own):
    assert f"{own}:function, but {own} names none" in convc("opt", relus, "-p", str(own)).err
