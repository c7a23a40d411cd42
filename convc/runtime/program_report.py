"""The report of a compiled program: a table as plain text, and a page of HTML that needs no other file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from convc.build.files import write_atomically
from convc.codegen.env import environment
from convc.codegen.source import Source
from convc.codegen.summary import KernelSummary, ProgramSummary, count, summarise
from convc.codegen.traffic import HEADINGS as COUNTED
from convc.ir.core import Graph
from convc.ir.lexer import printable
from convc.passes.pipeline import Trace
from convc.passes.plan_memory import intervals
from convc.passes.stages import stage_diff
from convc.show import html_table, paragraph, wrapped

HEADINGS = ("kernel", "from", "FLOP", "bytes", "tile", "share of FLOP")
NUMBERS = ("FLOP", "bytes", "share of FLOP", *COUNTED)


@dataclass(frozen=True)
class Table:
    """One row a kernel; those of `headings` that are in `NUMBERS` stand over numbers. `title` may be empty."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def __str__(self) -> str:
        table = [self.headings, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.headings))]
        lines = ["  ".join(map(_aligned, row, widths, self.headings)).rstrip() for row in table]
        return "\n".join([self.title, *lines] if self.title else lines)


@dataclass(frozen=True)
class Block:
    """A value of the arena as a rectangle, in per cent: across, the kernels it lives through; down, its bytes."""

    name: str
    type: str
    first: str
    last: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class ProgramReport:
    """`print(report)` shows the kernels and the memory; `report.save("report.html")` writes everything."""

    trace: Trace
    source: Source

    @cached_property
    def summary(self) -> ProgramSummary:
        return summarise(self.graph, self.source)

    @property
    def graph(self) -> Graph:
        return self.trace.stages[-1][1]

    @property
    def tables(self) -> list[Table]:
        """What the kernels are, and what they moved where that was counted."""
        return [Table("", HEADINGS, self.rows()), *([self.traffic] if self.traffic.rows else [])]

    def rows(self) -> list[tuple[str, ...]]:
        """One row a kernel, under `HEADINGS`."""
        total = max(self.summary.totals.flops, 1)
        return [_row(k, k.flops / total) for k in self.summary.kernels]

    @property
    def traffic(self) -> Table:
        """What each kernel moved in a run, where one was counted; else no rows."""
        counted = [(k.name, k.counted) for k in self.summary.kernels if k.counted is not None]
        rows = next((f", batch rows {x.rows}" for _, x in counted if x.rows), "")
        return Table(f"counted by the emulator{rows}", ("kernel", *COUNTED), [(n, *x.row) for n, x in counted])

    @property
    def headline(self) -> str:
        """The program's name and totals, in one line."""
        t = self.summary.totals
        kernels = "1 kernel" if t.kernels == 1 else f"{t.kernels} kernels"
        work = f"{t.flops / 1e9:.3g} GFLOP, {count(t.bytes)}B moved at least"
        return f"{printable(self.summary.name)}: {kernels}, {t.parameters:,} parameters, {work}"

    @property
    def memory(self) -> str:
        """What the intermediates take, in one line."""
        t = self.summary.totals
        return f"arena {count(t.arena_bytes)}B ({count(t.arena_bytes_without_reuse)}B without reuse)"

    def __str__(self) -> str:
        return "\n\n".join([f"{self.headline}\n{self.memory}", *map(str, self.tables)])

    def __repr__(self) -> str:
        """The totals on two lines; `str` has the kernels too."""
        return wrapped(f"ProgramReport of {self.headline}", self.memory)

    def _repr_html_(self) -> str:
        """The totals and the kernels; `html` is a page with everything."""
        return paragraph(f"{self.headline}; {self.memory}") + html_table("", HEADINGS, self.rows(), NUMBERS)

    def html(self) -> str:
        """The page: table, memory, kernels with their cards, what each pass did, buffers. No scripts."""
        return (
            environment()
            .get_template("report/program.html.j2")
            .render(
                report=self,
                headings=HEADINGS,
                kernels=[(k, row, self._highlighted(k.source)) for k, row in zip(self.source.kernels, self.rows())],
                listings=[(title, self._highlighted(text)) for title, text in self.source.listings()],
                blocks=self._blocks(),
                stages=[self._stage(i) for i in range(1, len(self.trace.stages))],
                first=str(self.trace.stages[0][1]),
                last=str(self.graph),
                styles=_styles(),
                count=count,
            )
        )

    def save(self, path: Path | str) -> None:
        """Write the page, at once or not at all. Raises DataError where it cannot be written."""
        # A name may hold half a surrogate pair, which UTF-8 cannot: it is written as its number.
        write_atomically(Path(path), self.html().encode("utf-8", "xmlcharrefreplace"))

    def _highlighted(self, text: str) -> str:
        return highlighted(text, self.source.language)

    def _stage(self, number: int) -> tuple[str, int, str]:
        """(pass, nodes after it, its diff as HTML or '' where it changed nothing)."""
        name, graph = self.trace.stages[number]
        diff = stage_diff(self.trace, number)
        return name, len(graph.nodes), highlighted("\n".join(diff), "diff") if diff else ""

    def _blocks(self) -> list[Block]:
        steps, size = max(len(self.graph.nodes), 1), max(self.graph.arena_bytes, 1)
        names = [k.name for k in self.source.kernels]
        places = self.graph.placements
        return [
            Block(
                *(x.value.name, str(x.value.type), names[x.first], names[x.last]),
                x=100 * x.first / steps,
                y=100 * places[x.value.name].offset / size,
                width=100 * (x.last + 1 - x.first) / steps,
                height=100 * x.value.type.nbytes / size,
            )
            for x in intervals(self.graph)
            if x.value.name in places and places[x.value.name].inside is None
        ]


def highlighted(text: str, language: str = "c") -> str:
    """HTML of the text, coloured by classes."""
    from pygments import highlight  # here, because only reports need it
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return str(highlight(text, get_lexer_by_name(language, stripnl=False), HtmlFormatter()))


def _styles() -> dict[str, str]:
    from pygments.formatters import HtmlFormatter

    themes = {"light": "default", "dark": "github-dark"}
    return {name: HtmlFormatter(style=style).get_style_defs(".highlight") for name, style in themes.items()}


def _row(k: KernelSummary, share: float) -> tuple[str, ...]:
    return (k.name, printable(k.path) or "-", count(k.flops), count(k.bytes), k.tile, f"{share:.1%}")


def _aligned(text: str, width: int, heading: str) -> str:
    return text.rjust(width) if heading in NUMBERS else text.ljust(width)
