"""What the emulator found and counted in a run, as lines."""

from __future__ import annotations

from collections.abc import Sequence

import click

from convc.cli.printing import say, width
from convc.codegen.cuda.emit import CudaSource
from convc.emulator import Counter, Report
from convc.runtime.emulator import EmulatorExecutable
from convc.table import Table

MOST_COUNTERS, MOST_REPORTS = 12, 4


def print_launches(executable: EmulatorExecutable, text: str) -> None:
    """A row for each launch, and what the check found in it."""
    source: CudaSource = executable.source
    rows = []
    for launch in source.launches:
        found = executable.results[launch.name]
        finding = f"{len(found.reports)} findings" if found.reports else "clean" if executable.check else ""
        shape = f"{launch.blocks} x {launch.threads}"
        rows.append((launch.name, shape, f"{found.instructions:,}", "warp instructions", finding))
    blocks = Table("", ("", "blocks", "ran", "", ""), rows, frozenset(("blocks", "ran"))).blocks(width(), head=False)
    for launch, block in zip(source.launches, blocks):
        click.echo("\n".join(block))
        reports = executable.results[launch.name].reports
        for report in reports[:MOST_REPORTS]:
            _print_report(report, launch.title_of_nodes, text.split("\n"))
        if len(reports) > MOST_REPORTS:
            click.echo(f"  and {len(reports) - MOST_REPORTS} more findings")


def _print_report(report: Report, node: str, lines: Sequence[str]) -> None:
    """The report, the IR node behind the kernel, and the lines of the kernel that it comes from."""
    helpers = next((i for i, line in enumerate(lines) if line.startswith("extern") or " * from    " in line), 0)
    first, *rest = str(report).split("\n")
    say(f"  {first}\n    in {node}")
    for line, access in zip(rest, (report.access, report.other)):
        say(f"  {line}")
        place = access.place if access else None
        while place is not None and place.inlined_at is not None and place.line < helpers:
            place = place.inlined_at  # out of a helper, to the kernel that called it
        if place is not None and 0 < place.line <= len(lines):
            say(f"      {place.line}: {lines[place.line - 1].strip()}")


def print_counters(executable: EmulatorExecutable) -> None:
    """The instructions that moved the most over what would have done, worst first, and a total of each kind."""
    found: list[tuple[str, Counter]] = [(n, c) for n, r in executable.results.items() for c in r.counters]
    for space, unit in (("global", "sectors of 32 bytes"), ("shared", "wavefronts")):
        own = [(n, c) for n, c in found if c.space == space]
        moved, ideal = sum(c.moved for _, c in own), sum(c.ideal for _, c in own)
        requests = sum(c.requests for _, c in own)
        say(f"{space}: {requests:,} requests, {moved:,} {unit}, {ideal:,} would have done")
        lines: dict[str, list[Counter]] = {}
        for name, c in own:
            lines.setdefault(f"{name}, {c.place or f'PTX line {c.ptx_line}'}", []).append(c)
        over = {line: sum(c.moved - c.ideal for c in counts) for line, counts in lines.items()}
        for line in sorted(over, key=lambda x: -over[x])[:MOST_COUNTERS]:
            if over[line]:
                counts = lines[line]
                moved, requests = sum(c.moved for c in counts), sum(c.requests for c in counts)
                say(f"  {line}: {moved:,} in {requests:,} requests, {moved - over[line]:,} would have done")
