"""What a template gets wrong is one line that names the template and the line, of an imported one too."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from convc.codegen import env
from convc.errors import IRError

INNER = "{% macro twice(x) %}\n{{ x }} {{ missing }}\n{% endmacro %}\n"


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for convc's own."""
    own = env.environment().overlay(loader=jinja2.FileSystemLoader(tmp_path))
    monkeypatch.setattr(env, "environment", lambda: own)
    (tmp_path / "cuda").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("outer", "inner", "message"),
    [
        ("a;\n{{ missing }}\n", "", "template cuda/outer.cu.j2, line 2: 'missing' is undefined"),
        ("a;\nb;\n{% if x %}\n", "", "template cuda/outer.cu.j2, line 3: Unexpected end of template. "),
        (
            '{% import "cuda/inner.cu.j2" as i with context %}\n\n{{ i.twice(1) }}\n',
            INNER,
            "template cuda/inner.cu.j2, line 2: 'missing' is undefined",
        ),
        ('a;\n{% include "cuda/inner.cu.j2" %}\n', "\n{{ 1 + }}\n", "template cuda/inner.cu.j2, line 2: "),
        ("a;\n{{ 1 + none }}\n", "", "template cuda/outer.cu.j2, line 2: unsupported operand type"),
        ("a;\n{{ 1|twice }}\n", "", "template cuda/outer.cu.j2, line 2: No filter named 'twice'."),
        ('a;\n{% include "cuda/absent.j2" %}\n', "", "template cuda/outer.cu.j2, line 2: 'cuda/absent.j2' not found"),
    ],
)
def test_the_template_and_the_line_are_named(templates: Path, outer: str, inner: str, message: str) -> None:
    (templates / "cuda/outer.cu.j2").write_text(outer)
    (templates / "cuda/inner.cu.j2").write_text(inner)
    with pytest.raises(IRError) as caught:
        env.render("cuda/outer.cu.j2", x=1)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_convcs_own_templates_are_named_so() -> None:
    """Without its numbers the head of a CUDA file cannot be written."""
    with pytest.raises(IRError, match=r"^template cuda/program\.cu\.j2, line 1: 'name' is undefined$"):
        env.render("cuda/program.cu.j2", kernels=(), launches=())


def test_an_error_in_a_macro_of_convcs_own() -> None:
    with pytest.raises(IRError, match=r"^template (card|cuda/\w+\.cu)\.j2, line \d+: 'kernel' is undefined$"):
        env.render("cuda/kernel.cu.j2")


def test_a_template_that_is_not_there_has_no_line() -> None:
    with pytest.raises(IRError, match=r"^template cuda/absent\.j2: 'cuda/absent\.j2' not found"):
        env.render("cuda/absent.j2")


def test_a_type_error_outside_of_templates_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> str:
        raise TypeError(text[:0])

    monkeypatch.setattr(env, "tidy", broken)
    with pytest.raises(TypeError):
        env.render("c/unit.c.j2", body="")
