"""The report of a compiled program: a table as plain text, and a page of HTML that needs no other file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from convc.build.files import write_atomically
from convc.codegen.env import environment
from convc.codegen.source import Source
from convc.codegen.summary import BufferSummary, ProgramSummary, count, summarise
from convc.codegen.traffic import HEADINGS as COUNTED
from convc.ir.core import Graph
from convc.ir.lexer import printable
from convc.passes.pipeline import Trace
from convc.passes.stages import stage_diff
from convc.runtime.arguments import label_limits
from convc.show import html_table, paragraph, wrapped
from convc.table import Table

HEADINGS = ("kernel", "FLOP", "share", "bytes", "tile")
BUFFERS = {
    "Data and results": ("data", "scalar", "output"),
    "Parameters and state": ("parameter", "state", "constant"),
    "Updates": ("update",),
}
"""Titles of the page's tables of buffers, and the roles of those in each."""
NUMBERS = frozenset(("FLOP", "share", "bytes", *COUNTED))


@dataclass(frozen=True)
class Block:
    """A value of the arena as a rectangle, in per cent: across, the kernels it lives through; down, its bytes."""

    name: str
    title: str
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
        return summarise(self.graph, self.source, _gradients(self.trace))

    @property
    def graph(self) -> Graph:
        return self.trace.stages[-1][1]

    @property
    def tables(self) -> list[Table]:
        """What the kernels are, and what they moved where that was counted."""
        return [Table("", HEADINGS, self.rows(), NUMBERS), *([self.traffic] if self.traffic.rows else [])]

    def rows(self) -> list[tuple[str, ...]]:
        """One row a kernel, under `HEADINGS`."""
        total = max(self.summary.totals.flops, 1)
        return [
            (k.name, count(k.flops), f"{k.flops / total:.1%}", count(k.bytes), k.tile) for k in self.summary.kernels
        ]

    @property
    def traffic(self) -> Table:
        """What each kernel moved in a run, where one was counted; else no rows."""
        counted = [(k.name, k.counted) for k in self.summary.kernels if k.counted is not None]
        rows = next((f", batch rows {x.rows}" for _, x in counted if x.rows), "")
        found = [(n, *x.row) for n, x in counted]
        return Table(f"counted by the emulator{rows}", ("kernel", *COUNTED), found, NUMBERS)

    @property
    def headline(self) -> str:
        """The program's name, what it runs, and its parameters, in one line."""
        t = self.summary.totals
        return f"{printable(self.summary.name)}: {self.extent}, {t.parameters:,} parameters"

    @property
    def lines(self) -> tuple[str, str, str]:
        """Headline, setting, and what the program costs."""
        return self.headline, self.setting, f"{self.work}, {self.memory}"

    @property
    def work(self) -> str:
        """What is computed and moved in a run of a full batch."""
        t = self.summary.totals
        return f"{t.flops / 1e9:.3g} GFLOP, {count(t.bytes)}B moved at least"

    @property
    def extent(self) -> str:
        """Kernels and launches: `33 kernels in 16 launches`."""
        t = self.summary.totals
        kernels = "1 kernel" if t.kernels == 1 else f"{t.kernels} kernels"
        return f"{kernels} in {'1 launch' if t.launches == 1 else f'{t.launches} launches'}"

    @property
    def setting(self) -> str:
        """Mode, target and batch, in one line."""
        return f"mode {self.trace.mode}, target {self.source.target}, {self.batch}"

    @property
    def batch(self) -> str:
        """How many rows a batch may have."""
        rows = max((int(v.type.rows) for v in self.graph.inputs if v.type.rows is not None), default=0)
        return f"batches of 1 to {rows} rows" if rows > 1 else "batches of 1 row" if rows else "a fixed shape"

    @property
    def memory(self) -> str:
        """What the intermediates take, in one line."""
        t = self.summary.totals
        return f"arena {count(t.arena_bytes)}B ({count(t.arena_bytes_without_reuse)}B without reuse)"

    def __str__(self) -> str:
        return "\n\n".join(["\n".join(self.lines), *map(str, self.tables)])

    def __repr__(self) -> str:
        """The totals on two lines; `str` has the kernels too."""
        return wrapped(f"ProgramReport of {self.headline}", self.memory)

    def _repr_html_(self) -> str:
        """The totals and the kernels; `html` is a page with everything."""
        return paragraph(f"{self.headline}; {self.memory}") + html_table("", HEADINGS, self.rows(), NUMBERS)

    def html(self) -> str:
        """The page: setting, kernels, launches, memory, source with cards, what each pass did. No scripts."""
        return (
            environment()
            .get_template("report/program.html.j2")
            .render(
                report=self,
                kernels=self._kernels(),
                launches=self._launches(),
                listings=[(title, self._highlighted(text)) for title, text in self.source.listings()],
                blocks=self._blocks(),
                groups=self._buffers(),
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

    def _kernels(self) -> list[dict[str, str]]:
        """One row a kernel, and its source."""
        return [
            {
                "name": k.name, "path": printable(summary.path), "flops": count(summary.flops), "tile": summary.tile,
                "bytes": count(summary.bytes), "share": row[2], "source": self._highlighted(k.source),
            }
            for k, summary, row in zip(self.source.kernels, self.summary.kernels, self.rows())
        ]  # fmt: skip

    def _launches(self) -> list[tuple[str, int, str]]:
        """(name, kernels, its geometry) of each launch."""
        s = self.summary
        if not s.launches:
            return [(s.entry, s.totals.kernels, "all threads of the pool")]
        return [
            (x.name, len(x.kernels), f"{x.blocks} x {x.threads}, {count(x.shared_bytes)}B shared") for x in s.launches
        ]

    def _buffers(self) -> list[tuple[str, list[BufferSummary]]]:
        """The buffers in groups; the arena's in the order of their bytes, and of the kernels that write them."""
        buffers = self.summary.buffers
        given = [(title, [b for b in buffers if b.role in roles]) for title, roles in BUFFERS.items()]
        arena = sorted(
            (b for b in buffers if b.arena_offset is not None), key=lambda b: (b.arena_offset or 0, b.first or 0)
        )
        return [(title, found) for title, found in [*given, ("The arena", arena)] if found]

    def meaning(self, b: BufferSummary) -> str:
        """What a buffer is."""
        if b.gradient_of is not None:
            return f"gradient of %{b.gradient_of}"
        if b.inside is not None:
            return f"new value of %{b.inside}, in its place"
        if b.name in self._labels:
            return f"labels, 0 to {self._labels[b.name] - 1}"
        maker = next((k for k in self.summary.kernels if any(p.written and p.buffer == b.name for p in k.parameters)),
                     None)  # fmt: skip
        return f"{b.role} of {printable(maker.path)}" if maker is not None and maker.path else b.role

    @cached_property
    def _labels(self) -> dict[str, int]:
        return label_limits(self.trace.stages[0][1])

    def life(self, b: BufferSummary) -> str:
        """From which kernel to which its bytes in the arena are its own."""
        assert b.first is not None
        assert b.last is not None
        names = [k.name for k in self.summary.kernels]
        return names[b.first] if b.first == b.last else f"{names[b.first]} to {names[b.last]}"

    def _blocks(self) -> list[Block]:
        steps, size = max(len(self.graph.nodes), 1), max(self.graph.arena_bytes, 1)
        return [
            Block(
                b.name,
                f"%{b.name}: {b.type}, {self.meaning(b)}, from {self.life(b)}",
                x=100 * b.first / steps,
                y=100 * b.arena_offset / size,
                width=100 * (b.last + 1 - b.first) / steps,
                height=100 * b.bytes / size,
            )
            for b in self.summary.buffers
            if b.arena_offset is not None and b.first is not None and b.last is not None
        ]


def _gradients(trace: Trace) -> dict[str, str]:
    """The names of the parameters' gradients as autodiff made them, and of the parameters."""
    stages = [graph for name, graph in trace.stages if name == "autodiff"]
    if not stages or not stages[0].inputs_of("parameter"):
        return {}
    parameters = stages[0].inputs_of("parameter")
    return {v.name: p.name for v, p in zip(stages[0].outputs[-len(parameters) :], parameters)}


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
