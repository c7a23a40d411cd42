"""Reads the text of a PTX module: kernels, variables, instructions, and the source line of each instruction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from convc.errors import EmulatorError

SIZES = {
    **{f"{kind}{bits}": bits // 8 for kind in "busf" for bits in (8, 16, 32, 64) if (kind, bits) != ("f", 8)},
    **{"f16x2": 4, "bf16": 2, "bf16x2": 4, "b128": 16},
}
"""Bytes of each type that a variable, a parameter or a register may have."""

_LINE_DIRECTIVES = (".loc ", ".loc\t", ".file", ".version", ".target", ".address_size")
_LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)\s+(\d+)(?:.*\binlined_at\s+(\d+)\s+(\d+)\s+(\d+))?")
_LABEL = re.compile(r"[\w$%.]+")
_VARIABLE = re.compile(
    r"(?:\.(?:visible|extern|weak|common)\s+)*\.(?P<space>shared|const|global|local)\s+"
    r"(?:\.align\s+(?P<align>\d+)\s+|\.attribute\([^)]*\)\s+)*\.(?P<type>\w+)\s+(?P<name>[\w$%.]+)"
    r"(?P<array>(?:\[\d*\])*)\s*(?:=\s*(?P<value>.*))?$",
    re.DOTALL,
)
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+(?P<pointer>\.ptr\s+(?:\.\w+\s+)*?(?:\.align\s+\d+\s+)?)?"
    r"(?P<name>[\w$%.]+)(?:\[(?P<bytes>\d+)\])?$"
)


@dataclass(frozen=True)
class Place:
    """A line of the CUDA source, and where it was inlined, if it was."""

    file: str
    line: int
    inlined_at: Place | None = None

    def __str__(self) -> str:
        at = f" (inlined at {self.inlined_at})" if self.inlined_at else ""
        return f"{self.file}:{self.line}{at}"


@dataclass(frozen=True)
class Variable:
    """`size` bytes that PTX declares; `space` is shared, const, global or local, `value` what they are at first."""

    name: str
    space: str
    size: int
    align: int
    value: bytes = b""
    dynamic: bool = False


@dataclass(frozen=True)
class Parameter:
    """A kernel's parameter: its PTX type (b8 for a struct), and where it lies among the bytes of all of them."""

    name: str
    type: str
    size: int
    offset: int
    is_struct: bool


@dataclass(frozen=True)
class Instruction:
    """`guard` is the predicate's name, `!` before it where it is negated, or empty."""

    text: str
    opcode: str
    operands: tuple[str, ...]
    guard: str
    line: int
    place: Place | None
    scope: tuple[int, ...]

    def __str__(self) -> str:
        return f"`{self.text}` (" + (f"{self.place}, " if self.place else "") + f"PTX line {self.line})"


@dataclass
class Kernel:
    """The text of one `.entry`."""

    name: str
    parameters: tuple[Parameter, ...]
    max_threads: int | None
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[tuple[tuple[int, ...], str], int] = field(default_factory=dict)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    registers: dict[tuple[tuple[int, ...], str], str] = field(default_factory=dict)
    ranges: dict[tuple[tuple[int, ...], str], tuple[str, int]] = field(default_factory=dict)

    def find_label(self, name: str, at: Instruction) -> int | None:
        """The number of the instruction at a label, as the scope of `at` sees it."""
        scopes = [at.scope[:depth] for depth in range(len(at.scope), 0, -1)]
        return next((self.labels[scope, name] for scope in scopes if (scope, name) in self.labels), None)


@dataclass
class ModuleText:
    """A module: its kernels and the variables that they share."""

    kernels: dict[str, Kernel] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)


def parse(text: str) -> ModuleText:
    """Parses a PTX module. Raises EmulatorError, with the line, on what it does not know."""
    return _Parser().parse(text)


class _Parser:
    def __init__(self) -> None:
        self.module = ModuleText()
        self.kernel: Kernel | None = None
        self.scope: list[int] = []
        self.scopes = 0
        self.files: dict[str, str] = {}
        self.place: tuple[str, int] | None = None
        self.inlined: dict[tuple[str, int, int], tuple[str, int, int] | None] = {}
        self.location: tuple[str, int, int] | None = None

    def parse(self, text: str) -> ModuleText:
        text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
        for match in re.finditer(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', text, re.MULTILINE):
            self.files[match[1]] = match[2].rsplit("/", 1)[-1]
        for statement, line in _statements(text):
            self._statement(statement, line)
        return self.module

    def _statement(self, text: str, line: int) -> None:
        if text.startswith(_LINE_DIRECTIVES):
            if match := _LOC.match(text):
                self._locate(match)
        elif text.endswith("{"):
            self._open(text[:-1].strip(), line)
        elif text == "}":
            self.scope.pop()
            if not self.scope:
                self.kernel = None
        elif self.kernel is None:
            self._at_module(text, line)
        else:
            self._in_kernel(self.kernel, text, line)

    def _locate(self, match: re.Match[str]) -> None:
        here = (match[1], int(match[2]), int(match[3]))
        self.inlined[here] = (match[4], int(match[5]), int(match[6])) if match[4] else None
        self.location = here

    def _place(self, location: tuple[str, int, int] | None, depth: int = 0) -> Place | None:
        if location is None or location[1] == 0 or depth > 20:
            return None
        caller = self._place(self.inlined.get(location), depth + 1)
        return Place(self.files.get(location[0], "?"), location[1], caller)

    def _open(self, header: str, line: int) -> None:
        self.scopes += 1
        self.scope.append(self.scopes)
        if not header:
            return
        if function := re.search(r"\.func\b.*?([\w$]+)\s*\(", header.replace("\n", " ")):
            raise EmulatorError(
                f"the emulator runs kernels whose functions are all inlined, and {function[1]} is not: mark it "
                f"__forceinline__ (PTX line {line})"
            )
        match = re.search(r"\.entry\s+([\w$]+)\s*(?:\((.*?)\))?", header, re.DOTALL)
        if not match:
            raise EmulatorError(f"the emulator does not know this PTX: `{_short(header)}` (PTX line {line})")
        threads = re.search(r"\.(?:max|req)ntid\s+([\d,\s]+)", header)
        limit = None
        if threads:
            limit = 1
            for number in threads[1].split(","):
                limit *= int(number)
        self.kernel = Kernel(match[1], _parameters(match[2] or "", line), limit)
        self.location = None
        self.module.kernels[match[1]] = self.kernel

    def _at_module(self, text: str, line: int) -> None:
        if match := _VARIABLE.match(text):
            self.module.variables.append(_variable(match, line))
        elif not re.match(r"\.(pragma|section|alias)|.*\.func\b", text, re.DOTALL):
            raise EmulatorError(f"the emulator does not know this PTX: `{_short(text)}` (PTX line {line})")

    def _in_kernel(self, kernel: Kernel, text: str, line: int) -> None:
        scope = tuple(self.scope)
        if text.endswith(":"):
            kernel.labels[scope, text[:-1].strip()] = len(kernel.instructions)
        elif match := re.match(r"\.reg\s*\.(\w+)\s+(.*)$", text, re.DOTALL):
            for name in match[2].split(","):
                self._register(kernel, scope, match[1], name.strip())
        elif match := re.match(r"(?:[\w$]+:\s*)?\.branchtargets\s+(.*)$", text, re.DOTALL):
            (label,) = [n for (s, n), at in kernel.labels.items() if at == len(kernel.instructions)][-1:] or [""]
            kernel.tables[label] = tuple(name.strip() for name in match[1].split(","))
        elif match := _VARIABLE.match(text):
            kernel.variables.append(_variable(match, line))
        elif not text.startswith((".pragma", ".param")):  # .param: of a call, which is refused by its name
            kernel.instructions.append(self._instruction(text, line, scope))

    def _register(self, kernel: Kernel, scope: tuple[int, ...], kind: str, name: str) -> None:
        if match := re.match(r"(.*)<(\d+)>$", name):
            kernel.ranges[scope, match[1]] = (kind, int(match[2]))
        else:
            kernel.registers[scope, name] = kind

    def _instruction(self, text: str, line: int, scope: tuple[int, ...]) -> Instruction:
        text = " ".join(text.split())
        guard, rest = "", text
        if text.startswith("@"):
            guard, _, rest = text[1:].partition(" ")
        opcode, _, operands = rest.partition(" ")
        return Instruction(
            text, opcode, tuple(_split(operands)), guard.strip(), line, self._place(self.location), scope
        )


def _statements(text: str) -> Iterator[tuple[str, int]]:
    """(statement, line): `...;` without its semicolon, `label:`, `header {`, `{`, `}`, and line directives."""
    pending, start, braces, skipped = "", 0, 0, 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.partition("//")[0]
        stripped = line.strip()
        if skipped or stripped.startswith(".section"):
            skipped = 1  # to the brace that closes the section: debug information
            skipped = 0 if stripped.endswith("}") else 1
            continue
        if not pending.strip() and stripped.startswith(_LINE_DIRECTIVES):
            yield stripped, number
            continue
        for part in re.split(r"([;{}:])", line):
            if not pending.strip():
                start = number
            body = pending.strip()
            if part == ";" and not braces:
                if body:
                    yield body, start
                pending = ""
            elif part == "{" and (not body or ".entry" in body or ".func" in body) and not braces:
                yield f"{body} {{".strip(), start
                pending = ""
            elif part == "}" and not braces:
                if body:
                    raise EmulatorError(f"PTX text ends within a statement: `{_short(body)}` (PTX line {start})")
                yield "}", number
            elif part == ":" and not braces and _LABEL.fullmatch(body):
                yield f"{body}:", start
                pending = ""
            else:
                braces += (part == "{") - (part == "}")
                pending += part
        pending += "\n" if pending.strip() else ""
    if pending.strip():
        raise EmulatorError(f"PTX text ends within a statement: `{_short(pending)}` (PTX line {start})")


def _split(text: str) -> list[str]:
    """Operands: split at the commas that no bracket holds."""
    parts = re.findall(r"(?:\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s{\[(|]|\|)+", text)
    return [part for part in parts if part]


def _parameters(text: str, line: int) -> tuple[Parameter, ...]:
    parameters: list[Parameter] = []
    end = 0
    for declared in filter(None, (" ".join(part.split()) for part in text.split(","))):
        match = _PARAMETER.match(declared)
        if not match or match["type"] not in SIZES:
            raise EmulatorError(f"the emulator does not know the parameter `{declared}` (PTX line {line})")
        size = int(match["bytes"] or 1) * SIZES[match["type"]]
        align = int(match["align"] or SIZES[match["type"]])
        offset = -(-end // align) * align
        parameters.append(Parameter(match["name"], match["type"], size, offset, match["bytes"] is not None))
        end = offset + size
    return tuple(parameters)


def _variable(match: re.Match[str], line: int) -> Variable:
    kind = match["type"]
    if kind not in SIZES:
        raise EmulatorError(f"the emulator does not know the variable `{_short(match[0])}` (PTX line {line})")
    counts = re.findall(r"\[(\d*)\]", match["array"])
    dynamic = "" in counts
    size = SIZES[kind]
    for count in counts:
        size *= int(count or 0)
    value = _initial(match["value"], kind, size, line) if match["value"] else b""
    return Variable(match["name"], match["space"], size, int(match["align"] or SIZES[kind]), value, dynamic)


def _initial(text: str, kind: str, size: int, line: int) -> bytes:
    each = SIZES[kind]
    data = bytearray()
    for number in re.findall(r"[^{},\s]+", text):
        try:
            data += literal(number, each).to_bytes(each, "little")
        except ValueError:
            raise EmulatorError(
                f"the emulator takes numbers as initial values, got `{number}` (PTX line {line})"
            ) from None
    return bytes(data.ljust(size, b"\0"))


def literal(text: str, size: int) -> int:
    """The bits of a PTX number, `size` bytes of them. Raises ValueError where the text is none."""
    if match := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})", text):
        return int(match[1] or match[2], 16) & ((1 << 8 * size) - 1)
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").rstrip("U")
    if re.fullmatch(r"0[0-7]+", digits):
        digits = "0o" + digits[1:]
    return sign * int(digits, 0) & ((1 << 8 * size) - 1)


def _short(text: str) -> str:
    return " ".join(text.split())[:100]
