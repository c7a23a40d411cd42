"""Where figures are drawn: one style whatever the user's own is, PNG files, and SVG that follows a page's theme.

Figures are drawn in the colours of the light theme. A PNG keeps them. In the SVG of a page each becomes a custom
property of CSS, which the page sets for light and for dark: one drawing, two themes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from convc.build.files import write_atomically

INK, GREY, PALE, PAPER = "#222222", "#5f5f5f", "#d9d9d9", "#ffffff"
# After Okabe and Ito, told apart in all common colour blindness, each dark enough on white for a line and its label.
PALETTE = ("#0072b2", "#c84f00", "#008660", "#b04a8f", "#9a6b00", "#4b5bd0", "#3d3d3d")
DASHES = ("-", "--", "-.", ":")

# On a dark page, in the order of PALETTE: as light as those are dark.
_DARK_PALETTE = ("#55b4f0", "#ff9248", "#35d0a0", "#ea95cc", "#e8bd55", "#a3aeff", "#dadada")
_PROPERTIES = {INK: "ink", GREY: "soft", PALE: "line", PAPER: "page"}
_PROPERTIES |= {color: f"curve-{i}" for i, color in enumerate(PALETTE)}

_DPI = 144  # of PNG files: twice the 72 points of an inch, sharp on most screens
_STYLE: dict[Any, Any] = {
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: PNG files look the same on every machine
    "font.size": 11.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "convc",
}


def curve_colors(dark: bool) -> str:
    """The curves' colours of a theme, as declarations of CSS: `--curve-0: #0072b2; ...`."""
    return " ".join(f"--curve-{i}: {color};" for i, color in enumerate(_DARK_PALETTE if dark else PALETTE))


@contextmanager
def plain_style() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says, and names with a $ as they stand.

    Ids within an SVG come from a fixed salt: equal drawings give equal bytes.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def save_png(figure: Figure, path: Path) -> Path:
    """Write the figure whole or not at all; equal figures give equal bytes. Raises DataError where it cannot."""
    png = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return write_atomically(path, png.getvalue())


def inline_svg(figure: Figure, alt: str) -> str:
    """The figure as an `<svg>` element for a page that sets the properties of `curve_colors`, ink, soft, line, page.

    It scales with its box, its text stays text, in the page's own font, and `alt` is what a screen reader says.
    """
    figure.patch.set_visible(False)
    for ax in figure.axes:
        ax.patch.set_visible(False)
    text = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None  # every figure of matplotlib has one
    body = svg[svg.index(">", view.end()) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r' id="([^"]*)"', lambda hit: hit[0] if f"#{hit[1]}" in body else "", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda hit: _themed(hit[0]), body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    return f'<svg {view[0]} role="img" aria-label="{escape(alt)}">{body}'


def _themed(color: str) -> str:
    return f"var(--{_PROPERTIES[color]})"
