"""The only Jinja2 environment: strict about names, so that a template never writes nothing by mistake."""

from __future__ import annotations

from functools import cache
from math import inf

import jinja2

from convc.codegen.layout import tidy
from convc.errors import IRError


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("convc", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        extensions=["jinja2.ext.do"],
        optimized=False,  # folding constants takes longer than it saves
    )
    made.globals["infinity"] = inf
    return made


def render(template: str, **context: object) -> str:
    """A template's text, laid out; a template's own error names the template, or one that it imports, and the line."""
    return tidy(render_as_it_is(template, **context))


def render_as_it_is(template: str, **context: object) -> str:
    """A template's text, whose layout is the template's own."""
    try:
        return environment().get_template(template).render(**context)
    except (jinja2.TemplateError, TypeError) as error:
        place = _place(error)
        if place is None and isinstance(error, TypeError):
            raise  # no template's doing
        words = f"'{error.name}' not found" if isinstance(error, jinja2.TemplateNotFound) else str(error)
        raise IRError(f"template {place or template}: {words}") from error


def _place(error: Exception) -> str | None:
    """`name, line n` of the innermost template that the error went through; None where there was none."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"{error.name}, line {error.lineno}"
    names = sorted(environment().list_templates(), key=len)  # of two that fit a file, the longer one is its
    trace, place = error.__traceback__, None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        for name in names:
            if file.endswith(f"/{name}"):
                place = f"{name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place
