"""Imports run one way: every module of convc has a level, and imports only from its own level and below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

import convc

ROOT = Path(convc.__file__).parent
LEVELS = (
    ("errors", "debug", "locks"),
    ("ir",),
    ("checks", "show", "table"),
    ("passes",),
    ("codegen",),
    ("build",),
    ("emulator",),
    ("runtime",),
    ("frozen", "modules", "nn", "optim", "models", "frontends", "data", "layer_table", "model_info"),
    ("compiler",),
    ("prediction", "evaluation"),
    ("convc",),  # the package itself: its public names
)
"""From the bottom up; every other part (training, studies, reports, the command line) lies on top."""
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def part_of(module: str) -> str:
    """`convc.ir.ops.conv` -> `ir`; the package itself is `convc`."""
    return ([*module.split("."), ""])[1] or "convc"


def level(module: str) -> int:
    return LEVEL.get(part_of(module), len(LEVELS))


def imported(tree: ast.AST, top_level_only: bool = False) -> Iterator[tuple[str, int]]:
    """(module of convc, line) of every import."""
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.split(".")[0] == "convc")
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}: write the whole name"
            if (node.module or "").split(".")[0] == "convc":
                for a in node.names:
                    inner = f"{node.module}.{a.name}"
                    yield (inner if inner in MODULES else str(node.module)), node.lineno


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module: str) -> None:
    own = level(module)
    wrong = [
        f"line {line}: {other}"
        for other, line in imported(tree_of(module))
        if other not in MODULES or level(other) > own
    ]
    assert not wrong, f"{module} imports from above, or what is not there"


def test_every_level_is_there() -> None:
    present = {part_of(module) for module in MODULES}
    assert set(LEVEL) - {"frontends"} <= present


def test_packages_have_no_cycle() -> None:
    uses = nx.DiGraph()
    for module in MODULES:
        uses.add_edges_from((part_of(module), part_of(other)) for other, _ in imported(tree_of(module)))
    uses.remove_edges_from(list(nx.selfloop_edges(uses)))
    assert nx.is_directed_acyclic_graph(uses), nx.find_cycle(uses)


@pytest.mark.parametrize("part", sorted({part_of(m) for m in MODULES}))
def test_modules_of_a_package_have_no_cycle_at_module_level(part: str) -> None:
    """An import within a function may look back, as `str(graph)` does for its printer."""
    uses = nx.DiGraph()
    for module in MODULES:
        if part_of(module) == part:
            uses.add_edges_from((module, other) for other, _ in imported(tree_of(module), top_level_only=True))
    uses.remove_edges_from(list(nx.selfloop_edges(uses)))
    assert nx.is_directed_acyclic_graph(uses), nx.find_cycle(uses)


def test_templates_have_one_environment_for_source_and_one_for_studies() -> None:
    users = {m for m in MODULES for node in ast.walk(tree_of(m)) if _imports_jinja(node)}
    assert "convc.codegen.env" in users
    assert all(m == "convc.codegen.env" or part_of(m) == "report" for m in users), users


def _imports_jinja(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == "jinja2"
    return isinstance(node, ast.Import) and any(a.name.split(".")[0] == "jinja2" for a in node.names)
