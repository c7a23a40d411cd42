import io

import pytest

from convc.cli.models import read_graph, resolve_model
from convc.errors import ConvcError
from convc.ir.core import Graph
from convc.nn import Sequential

NET = """
from convc import nn
from layers import hidden

def net():
    return nn.Sequential(("conv1", nn.Conv2d(1, hidden, 3)), ("relu1", nn.ReLU()))

def number():
    return 7

def wants(width):
    return nn.ReLU()

def broken():
    return nn.Sequential(("a", nn.ReLU()), ("a", nn.ReLU()))

def divides():
    return 1 // 0

class Odd(nn.Module):
    def build(self, g, x):
        return x.no_such_thing
"""


@pytest.fixture
def net_file(tmp_path):
    (tmp_path / "layers.py").write_text("hidden = 4\n")
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def refusal(spec, **settings) -> str:
    with pytest.raises(ConvcError) as caught:
        resolve_model(str(spec), **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_zoo_name_brings_its_shape():
    model, shape = resolve_model("lenet5")
    assert model.name == "lenet5"
    assert shape == (1, 28, 28)
    assert resolve_model("lenet5", (1, 32, 32))[1] == (1, 32, 32)


def test_an_unknown_name_is_answered_with_the_nearest():
    assert refusal("lenet") == (
        "MODEL is a name from the zoo, file.py:function or file.conv, but not 'lenet'; did you mean 'lenet5'?"
    )
    assert refusal("net.onnx").endswith("not 'net.onnx'; known are alexnet, lenet5, vgg11, vgg16, vgg_small")


def test_a_function_of_a_file_may_import_what_lies_beside_it(net_file):
    model, shape = resolve_model(f"{net_file}:net", (1, 8, 8))
    assert isinstance(model, Sequential)
    assert shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("function", "line"),
    [
        ("nett", "has no function 'nett'; did you mean 'net'?"),
        ("number", "number() must return a convc.nn.Module, but it returned int"),
        ("wants", "wants() is called without arguments, but wants() missing 1 required positional argument: 'width'"),
        ("broken", ", line 15: layer names must differ, but 'a' occurs twice"),
        ("divides", ", line 18: ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_an_error_in_the_file_is_one_line_with_its_place(net_file, function, line):
    text = refusal(f"{net_file}:{function}")
    assert text.startswith(str(net_file))
    assert line in text


@pytest.mark.parametrize(
    ("source", "line"),
    [("x = (\n", "line 1: SyntaxError: '(' was never closed"), ("\nimport nowhere_at_all\n", "line 2: ModuleNotFound")],
)
def test_a_file_that_does_not_import(tmp_path, source, line):
    path = tmp_path / "bad.py"
    path.write_text(source)
    assert refusal(f"{path}:net").startswith(f"{path}, {line}")


def test_a_file_that_ends_the_program(tmp_path):
    path = tmp_path / "script.py"
    path.write_text("raise SystemExit(3)\n")
    assert refusal(f"{path}:net") == f"{path}, line 1: SystemExit: 3"


def test_an_error_while_the_model_is_built_has_its_place_too(convc, net_file):
    result = convc("inspect", f"{net_file}:Odd", "--shape", "4,1,8,8")
    place = f"{net_file}, line 22: AttributeError"
    assert result.code == 1
    assert result.err.startswith(f"convc: error: {place}")


def test_a_file_without_a_function_and_one_that_is_not_there(net_file, tmp_path):
    assert refusal(net_file) == (
        f"a model in Python is named with its function, {net_file}:function, but {net_file} names none"
    )
    assert refusal(tmp_path / "none.py:net") == f"cannot read {tmp_path / 'none.py'}: there is no such file"


def test_a_python_model_needs_a_shape(convc, net_file):
    result = convc("inspect", f"{net_file}:net")
    assert result.code == 1
    assert "net.py:net needs --shape N,C,H,W: only zoo models and graphs have shapes of their own" in result.err


def test_a_graph_brings_all_its_shapes(graph_file):
    graph, shape = resolve_model(graph_file)
    assert isinstance(graph, Graph)
    assert shape is None
    assert refusal(graph_file, shape=(2, 6, 5)).startswith("a graph has the shapes that its text declares: leave out")


def test_errors_of_a_graph_name_the_file(tmp_path, monkeypatch):
    path = tmp_path / "net.conv"
    assert refusal(path) == f"cannot read {path}: No such file or directory"
    path.write_bytes(b"graph \xff")
    assert refusal(path) == f"{path} is not UTF-8 text: byte 6 is 0xff"
    path.write_text("graph @net(")
    assert refusal(path).startswith(f"{path}: line 1")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"graf")))
    with pytest.raises(ConvcError, match=r"^-: line 1"):
        read_graph("-")
