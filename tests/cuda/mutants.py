"""Broken kernels: one change to generated CUDA at a time, and what notices it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from convc.errors import ConvcError
from convc.ir.core import Array, Graph
from convc.ir.interp import interpret
from convc.runtime.emulator import EmulatorExecutable
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.testing import error_bound, random_inputs
from tests.numerics.helpers import call, misfit

BARRIERS: dict[str, tuple[str, str]] = {
    "no barrier": (r"__syncthreads\(\);", ""),
    "no wait": (r"wait_for_copies<\d+>\(\);", ""),
    "no commit": (r"(?<!void )commit_copies\(\);", ""),
    "wait for one group less": (r"wait_for_copies<2>\(\);", "wait_for_copies<3>();"),
    "copy into the slice that is read": (r"gather\(\(done \+ 3\) % 4\)", "gather(done % 4)"),
}
GUARDS: dict[str, tuple[str, str]] = {
    "any k": (r"\(gemm_k < k_extent\)", "(true)"),
    "one k too many": (r"\(gemm_k < k_extent\)", "(gemm_k <= k_extent)"),
    "any line": (r"\b[ab]_inside(?= [&?])|\b[ab]_inside(?=\))", "true"),
    "one line too many": (r"_inside = gemm_(\w) < ", r"_inside = gemm_\1 <= "),
    "any pixel": (r"\(\(unsigned\)\([^()]*\) < \d+\)", "(true)"),
    "one pixel too many": (r"(\(\(unsigned\)\([^()]*\)) < (\d+\))", r"\1 <= \2"),
    "stores everywhere": (r"if \(gemm_\w < \w_extent(?: && gemm_n < n_extent)?\) \{", "if (true) {"),
    "stores one too many": (r"gemm_n < n_extent\) \{", "gemm_n <= n_extent) {"),
    "any point": (r"if \(point >= [^)]*\) return;", ""),
    "one point too many": (r"if \(point >= ([^)]*)\) return;", r"if (point > \1) return;"),
    "any tile": (r"if \((?:n_first|m_first) >= [mn]_extent\) return;", ""),
    "any part": (r"if \(group >= rows\) return;", ""),
    "every lane": (r"lane == 0\)", "true)"),
    "all of a tile": (r"if \(.* >= \d+\) continue;", ""),
    "one of a tile too many": (r"if \((.*) >= (\d+)\) continue;", r"if (\1 > \2) continue;"),
    "everybody inside": (r"inside = point < .*;", "inside = true;"),
    "one inside too many": (r"inside = point < ", "inside = point <= "),
}
INDICES: dict[str, tuple[str, str]] = {
    "reads the next element": (r"(_async\(&\w+\[stage\]\[depth\]\[line\], \w+) \+", r"\1 + 1 +"),
    "stores into the next element": (r"(\n\s+t\w+_ptr\[)", r"\g<1>1 + "),
    "loads the next element": (r"(?<=[= (])((?:x|c0_x0|c0_x1)_ptr\[)", r"\g<1>1 + "),
    "turns the tile": (r"&(\w)_tile\[stage\]\[depth\]\[line\]", r"&\1_tile[stage][line % 8][depth]"),
    "reads another slice": (r"(\w_part(?:\[0\] = |, &)\w_tile)\[stage\]", r"\1[(stage + 1) % 4]"),
    "another fragment": (r"\[depth\]\[n_thread\]", "[depth][n_thread + 1]"),
    "loads the next vector": (r"(load[24]\(\w+, \w+) \+", r"\1 + 4 +"),
    "half a window": (r"_lanes\[lane \* 2 \+ s\]", "_lanes[lane + s]"),
    "half a team": (r"apart = team / 2;", "apart = team / 4;"),
    "a pair for a team": (r"(warp_\w+\(\w+, )\d+\);", r"\g<1>2);"),
    "a member left out": (r"int member = 1;", "int member = 2;"),
    "another place in the tile": (r"(shared\[)(?=\(element)", r"\g<1>1 + "),
    "columns mixed up": (r"apart \+ threadIdx\.x % apart\]", "apart + threadIdx.x / apart]"),
    "a warp left out": (r"int warp = 1; warp < blockDim", "int warp = 2; warp < blockDim"),
    "a stride too long": (r"element \+= (\d+)", r"element += \1 + 1"),
}


@dataclass(frozen=True)
class Mutant:
    """One change: its kind, the line of the text, and the text."""

    kind: str
    line: int
    text: str

    @property
    def source_line(self) -> str:
        return self.text.split("\n")[self.line - 1].strip()


def mutants(text: str, kinds: dict[str, tuple[str, str]]) -> Iterator[Mutant]:
    """Every place of every kind, one at a time."""
    for kind, (pattern, new) in kinds.items():
        for m in re.finditer(pattern, text):
            changed = text[: m.start()] + m.expand(new) + text[m.end() :]
            if changed != text:
                yield Mutant(kind, text.count("\n", 0, m.start() + len(m[0]) - len(m[0].lstrip())) + 1, changed)


class Subject:
    """A right program, which broken copies of its text are told from."""

    def __init__(self, program: Program, graph: Graph, rows: int, more: Sequence[Mapping[str, Array]] = ()) -> None:
        self.program, self.rows = program, rows
        self.text = program.executable.source.text
        self.inputs = [random_inputs(graph, rows), *more]
        kernels = program.trace.after("schedule")
        self.exact = [(interpret(kernels, inputs), error_bound(kernels, inputs)) for inputs in self.inputs]
        self.names = [v.name for v in kernels.outputs]

    def verdict(self, text: str) -> str:
        """`check`, `oracle` or `refused`: what noticed; empty where nothing did on any of the inputs."""
        try:
            executable = EmulatorExecutable(self.program.graph, text=text, collect=True)
        except ConvcError:
            return "refused"
        program = Program(self.program.trace, executable, ParameterStore())
        verdicts = (self._verdict(program, executable, case) for case in range(len(self.inputs)))
        return next((verdict for verdict in verdicts if verdict), "")

    def _verdict(self, program: Program, executable: EmulatorExecutable, case: int) -> str:
        exact, bound = self.exact[case]
        try:
            found = call(program, self.inputs[case], self.rows)
        except ConvcError:
            return "refused"
        except AssertionError:  # written behind the last row
            return "oracle"
        if executable.reports:
            return "check"
        wrong = any(misfit(n, a, exact[n], bound[n]) for n, a in zip(self.names, found))
        return "oracle" if wrong else ""


def survivors(subject: Subject, kinds: dict[str, tuple[str, str]]) -> tuple[list[Mutant], Counter[str]]:
    """The mutants that nothing noticed, and how many were noticed by what."""
    alive, noticed = [], Counter[str]()
    for mutant in mutants(subject.text, kinds):
        verdict = subject.verdict(mutant.text)
        noticed[verdict or "nothing"] += 1
        if not verdict:
            alive.append(mutant)
    return alive, noticed
