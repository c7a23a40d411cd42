"""The only Jinja2 environment: strict about names, so that a template never writes nothing by mistake."""

from __future__ import annotations

from functools import cache

import jinja2

from convc.codegen.layout import tidy
from convc.errors import IRError


@cache
def environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("convc", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        extensions=["jinja2.ext.do"],
    )


def render(template: str, **context: object) -> str:
    """A template's text; a template's own error names the template and the line."""
    try:
        return tidy(environment().get_template(template).render(**context))
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None) or _template_line(error, template)
        raise IRError(f"template {template}, line {line}: {error}") from error


def _template_line(error: BaseException, template: str) -> str:
    trace = error.__traceback__
    line = "unknown"
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(template.rsplit("/", 1)[-1]):
            line = str(trace.tb_lineno)
        trace = trace.tb_next
    return line
