"""Names of a model are text that anybody may have written: none of it reaches source as code, or a page as HTML."""

import re
from itertools import cycle

import numpy as np
import pytest

import convc
from convc.codegen.emission import emission
from convc.codegen.emit import emit_c
from convc.codegen.names import comment
from convc.ir import ops
from convc.ir.core import Builder, Graph, Value
from convc.ir.text import parse_graph
from convc.ir.types import Rows, f32
from convc.passes import pipeline
from convc.runtime.program_report import ProgramReport

HOSTILE = [
    '*/ system("x"); /*',
    '*\\ system("x"); /\\*',
    '*\\\\ system("x");',
    '\n*/\nsystem("x");\n/*',
    '"; system("x"); //',
    "é\u2028\u202e system(é)",
    "\x00\x1b[31m\ud800 system",
    '#include "system.h"',
    "*??/\nsystem();",
    "%s system {{ system }} {% raw %}",
    "<script>system()</script>",
    "int system",
]
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"', re.DOTALL)


def hostile_graph(*names: str) -> Graph:
    """A convolution, a bias, a ReLU and a pool; everything that has a name has the next one."""
    given = cycle(names)
    b = Builder()

    def fresh() -> str:
        b.path = next(given)
        return next(given)

    inputs = [Value(b.fresh(fresh()), t) for t in (f32(Rows(4), 2, 6, 5), f32(3, 2, 3, 3), f32(3))]
    y = b(ops.conv.Conv2d(), *inputs[:2], name=fresh())
    z = b(ops.pointwise.Relu(), b(ops.pointwise.BiasAdd(), y, inputs[2], name=fresh()), name=fresh())
    p = b(ops.pool.MaxPool((2, 2)), z, name=fresh())
    return Graph(next(given), tuple(inputs), tuple(b.nodes), (p, z), {inputs[1].name: "parameter"})


def code_of(text: str) -> str:
    """C without its comments; strings stay."""
    return TOKEN.sub(lambda m: " " if m[0].startswith("/") else m[0], text)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_its_comment(name):
    trace = pipeline.run(hostile_graph(name), pipeline.pipeline(train=False))
    source = emit_c(trace.stages[-1][1])
    units = [text for _, text in source.units()]
    assert any("system" in text for text in units), "the test means nothing where the names are not written at all"
    for text in units:
        code = code_of(text)
        assert not re.search(r"\bsystem\b\s*[(\"]|system\.h", code)
        assert all(ord(c) < 127 and (c.isprintable() or c == "\n") for c in text)
        assert set(re.findall(r"#\s*include.*", code)) == {'#include "convc.h"'}
        assert "*/" not in code


@pytest.mark.parametrize("name", HOSTILE)
def test_the_text_form_reads_it_back(name):
    graph = hostile_graph(name)
    assert str(parse_graph(str(graph))) == str(graph)


def test_it_compiles_and_runs():
    graph = hostile_graph(*HOSTILE)
    program = convc.compile(graph)
    x = np.ones((3, 2, 6, 5), np.float32)
    program.parameters[graph.inputs[1].name][...] = 1
    pooled, z = program(x, np.full(3, 0.5, np.float32))
    assert (pooled == 18.5).all()
    assert (z == 18.5).all()


@pytest.mark.parametrize("name", HOSTILE)
def test_manifest_and_page_hold_it_as_text(name):
    trace = pipeline.run(hostile_graph(name), pipeline.pipeline(train=False))
    report = ProgramReport(trace, emit_c(trace.stages[-1][1]))
    files = emission(report.trace, report.source, report.summary, {"model": name})
    assert all(re.fullmatch(r"(ir|src)/[0-9A-Za-z_]+\.(conv|c|h)|manifest\.json", path) for path in files)
    assert all(files.values())
    assert "<script" not in report.html()
    assert all(c.isprintable() or c == "\n" for c in str(report))


@pytest.mark.parametrize("text", ["*/", "*\\", "/*", "/\\*", "**//", "*\\/", "\\", "a\nb", "é"])
def test_a_comment_stays_one(text):
    safe = comment(text)
    assert not {"*/", "/*", "\\", "\n"} & {safe[i:j] for i in range(len(safe)) for j in (i + 1, i + 2)}
