"""The documents hold: their Python runs, their commands print what they show, excerpts and links are real.

In a document, in order:

- ```python blocks run in one namespace per document (CONTRIBUTING.md: per section), in an empty folder;
  a ```text block right behind one is what it prints, `...` standing for anything;
- `$ convc ...` in a ```console block runs and prints the lines under it, and fails where they say so;
  what needs NVRTC is left out where there is none;
- a block under `<!-- excerpt: CASE.c -->` is from that golden file, one under `<!-- excerpt: CASE after PASS -->`
  from the IR of a golden case after that pass;
- a section with ```diff blocks runs against a copy of convc with the diffs applied.
"""

from __future__ import annotations

import doctest
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from codegen_cases import CASES

import convc
from convc.build.nvrtc_library import find_library_file
from convc.cli import main
from convc.ir.core import OPS
from convc.ir.text import parse_graph
from convc.passes.pipeline import pipeline, run
from convc.passes.registry import PASSES
from tests.planted.planting import apply_diff

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests/codegen/golden"
WRITTEN = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/tutorial.md", "docs/cuda.md")
NEEDS_NVRTC = ("--ptx", "--sass", "run", "docs/cuda.md")
ALL = sorted(
    p.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "convc/**/*.md", "examples/**/*.md", "tests/**/*.md")
    for p in ROOT.glob(pattern)
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it starts in, the heading and comment above it."""

    language: str
    text: str
    line: int
    section: str
    excerpt: str


def blocks_of(document: str) -> list[Block]:
    found: list[Block] = []
    section, excerpt, start = "", "", 0
    fence: str | None = None
    body: list[str] = []
    for number, line in enumerate((ROOT / document).read_text(encoding="utf-8").splitlines(), 1):
        if fence is not None:
            if line == "```":
                found.append(Block(fence, "\n".join(body) + "\n", start, section, excerpt))
                fence, excerpt = None, ""
            else:
                body.append(line)
        elif line.startswith("```"):
            fence, body, start = line[3:].strip(), [], number
        elif line.startswith("## "):
            section = line[3:]
        elif line.startswith("<!-- excerpt: "):
            excerpt = line.removeprefix("<!-- excerpt: ").removesuffix(" -->")
    assert fence is None, f"{document}, line {start}: the block is not closed"
    return found


def sections(document: str) -> list[tuple[str, list[Block]]]:
    blocks = blocks_of(document)
    if document != "CONTRIBUTING.md":
        return [("", blocks)]
    return [(name, list(group)) for name, group in groupby(blocks, key=lambda b: b.section)]


RUN = [
    pytest.param(document, blocks, id=f"{document} {name}".strip())
    for document in WRITTEN
    for name, blocks in sections(document)
    if any(b.language in ("python", "console") for b in blocks)
]


@pytest.fixture
def registries() -> Iterator[None]:
    """What a document registers is gone afterwards."""
    operators, passes = set(OPS), set(PASSES)
    yield
    for name in set(OPS) - operators:
        del OPS[name]
    for name in set(PASSES) - passes:
        del PASSES[name]


@pytest.mark.parametrize(("document", "blocks"), RUN)
def test_code_runs(
    document: str, blocks: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registries: None
) -> None:
    monkeypatch.chdir(tmp_path)
    if any(b.language == "diff" for b in blocks):
        run_patched(document, blocks, tmp_path)
        return
    module = ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", module)
    for block, following in zip(blocks, [*blocks[1:], None]):
        if block.language == "console":
            run_console(document, block)
        if block.language == "python" and not (document in NEEDS_NVRTC and find_library_file() is None):
            printed = io.StringIO()
            code = compile("\n" * block.line + block.text, ROOT / document, "exec")
            with redirect_stdout(printed):
                exec(code, module.__dict__)
            if following is not None and following.language == "text":
                assert_prints(f"{document}, line {following.line}", following.text, printed.getvalue())


def assert_prints(place: str, wanted: str, printed: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(wanted, printed, flags), f"{place}: this is printed:\n{printed}"


def run_console(document: str, block: Block) -> None:
    for call in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, wanted = call.partition("\n")
        name, *arguments = shlex.split(command)
        if name != "convc":
            continue
        if find_library_file() is None and set(NEEDS_NVRTC) & {document, *arguments}:
            continue
        result = CliRunner().invoke(main, arguments)
        place = f"{document}, line {block.line}: convc {' '.join(arguments)}"
        assert result.exit_code == ("convc: error: " in wanted), f"{place}: {result.output}"
        if wanted:
            assert_prints(place, wanted, result.output)


def run_patched(document: str, blocks: list[Block], folder: Path) -> None:
    """The section's Python as one script, against a copy of the package with the section's diffs applied."""
    shutil.copytree(Path(convc.__file__).parent, folder / "convc", ignore=shutil.ignore_patterns("__pycache__"))
    script = folder / "section.py"
    text = ""
    for block in blocks:
        if block.language == "diff":
            apply_diff(block.text, folder)
        if block.language == "python":
            text += block.text
    script.write_text(text)
    result = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, f"{document}, line {blocks[0].line}: {result.stderr}"


EXCERPTS = [
    pytest.param(d, b, id=f"{d} line {b.line}") for d in ("README.md", "docs/architecture.md") for b in blocks_of(d)
    if b.excerpt or b.language in ("c", "conv")
]  # fmt: skip


@pytest.mark.parametrize(("document", "block"), EXCERPTS)
def test_excerpts_are_real(document: str, block: Block) -> None:
    assert block.excerpt, f"{document}, line {block.line}: name the excerpt's origin above it"
    case, after, name = block.excerpt.partition(" after ")
    if after:
        trace = run(parse_graph(CASES[case]), pipeline(train=case.startswith("train")))
        whole = str(trace.after(name))
    else:
        whole = (GOLDEN / case).read_text(encoding="utf-8")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.OutputChecker().check_output(f"...{block.text}...", whole, flags)
    assert found, f"{document}, line {block.line}: not, or no longer, in {block.excerpt}"


def prose(document: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("document", ALL)
def test_links_resolve(document: str) -> None:
    here = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = here.parent / name if name else here
        assert path.exists(), f"{document} links to {target}, which is not there"
        assert not anchor or anchor in anchors(path), f"{document} links to {target}: no such heading"


@pytest.mark.parametrize("document", WRITTEN)
def test_what_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for name, test in re.findall(r"`((?:convc|tests|examples|benchmarks|docs|tools)/[\w./-]*)(?:::(\w+))?`", text):
        path = ROOT / name
        assert path.exists(), f"{document} names {name}, which is not there"
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), f"{document}: no {test} in {name}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), (
            f"{document}: no target {target} in the Makefile"
        )
    for command in re.findall(r"(?:`|\$ |bin/)convc ([a-z]+(?:-[a-z]+)*)", text):
        assert main.get_command(None, command) is not None, f"{document}: convc has no command {command}"  # type: ignore[arg-type]


def test_every_document_is_short_enough_to_read() -> None:
    """The worked examples of CONTRIBUTING.md are under 60 lines each; the README is read in five minutes."""
    for name, blocks in sections("CONTRIBUTING.md"):
        lines = sum(b.text.count("\n") for b in blocks)
        assert lines < 60, f"CONTRIBUTING.md, {name}: {lines} lines of code"
    words = len(prose("README.md").split())
    assert words < 1100, f"README.md has {words} words"


def test_a_stale_document_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\n")
    diff = "--- a.py\n+++ a.py\n@@\n x = 1\n-y = 2\n+y = 3\n"
    apply_diff(diff, tmp_path)
    assert (tmp_path / "a.py").read_text() == "x = 1\ny = 3\n"
    with pytest.raises(AssertionError, match="0 times, not once"):
        apply_diff(diff, tmp_path)
    with pytest.raises(AssertionError, match="this is printed"):
        assert_prints("here", "a ... c\n", "a b d\n")
