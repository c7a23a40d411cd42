"""The machine code (SASS) of a cubin, by nvdisasm: instructions to count and to read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convc.build.nvidia import INSTALL, find_files, toolkit_roots, wheel_roots
from convc.errors import ToolchainError

INSTRUCTION_BYTES = 16  # of every architecture since sm_70


@dataclass(frozen=True)
class Instruction:
    """One instruction: bytes from its section's start, `@P0` or nothing, `LDG.E.128`, `R2,desc[UR4][R2.64]`."""

    address: int
    predicate: str
    opcode: str
    operands: str

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.predicate, self.opcode, self.operands.replace(",", ", ")) if part)

    @property
    def base(self) -> str:
        """The opcode without its modifiers: LDG of LDG.E.128."""
        return self.opcode.partition(".")[0]

    @property
    def bits(self) -> int:
        """Of one thread's access, where the instruction is a load or a store."""
        widths = [int(w[1]) for part in self.opcode.split(".") if (w := re.fullmatch(r"[US]?(8|16|64|128|256)", part))]
        return widths[-1] if widths else 32


def find_nvdisasm() -> Path:
    """nvdisasm in the wheels of the extra `emit`, else on PATH, else in a CUDA toolkit.

    (cuobjdump would not do: it starts nvdisasm.) Raises ToolchainError, of one line, where there is none.
    """
    on_path = shutil.which("nvdisasm")
    places = [
        *find_files(("bin",), "nvdisasm", wheel_roots()),
        *([Path(on_path)] if on_path else []),
        *find_files(("bin",), "nvdisasm", toolkit_roots()),
    ]
    if not places:
        raise ToolchainError(f"nvdisasm is not installed: run `{INSTALL}`")
    return places[0]


def disassemble(cubin: bytes) -> dict[str, list[Instruction]]:
    """The instructions of every function of a cubin, by symbol; the padding after the last branch is left out.

    A function that was not inlined comes by itself, as `$kernel$function`. Raises ToolchainError, of one line,
    where there is no nvdisasm and where it does not read the cubin.
    """
    tool = find_nvdisasm()
    with tempfile.TemporaryDirectory(prefix="convc-sass-") as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        try:
            result = subprocess.run([tool, "--emit-json", "--print-code", file], capture_output=True, text=True)
        except OSError as error:
            raise ToolchainError(f"{tool} does not start ({error.strerror}): run `{INSTALL}`") from None
    if result.returncode != 0:
        said = " ".join(result.stderr.split()) or f"exit status {result.returncode}"
        raise ToolchainError(f"{tool} does not read a cubin of {len(cubin)} bytes ({said[:200]}): run `{INSTALL}`")
    _, functions = json.loads(result.stdout)
    return {function["function-name"]: _instructions(function) for function in functions}


def _instructions(function: Mapping[str, Any]) -> list[Instruction]:
    listed = function["sass-instructions"]
    # A kernel's length includes the functions that it calls.
    if function["length"] < INSTRUCTION_BYTES * len(listed):
        raise ToolchainError(
            f"{len(listed)} instructions of {INSTRUCTION_BYTES} bytes do not fit the {function['length']} bytes of "
            f"{function['function-name']}: run `{INSTALL}` for an nvdisasm that convc is tested with"
        )
    while listed and listed[-1]["opcode"] == "NOP":
        listed = listed[:-1]
    return [
        Instruction(
            function["start"] + INSTRUCTION_BYTES * i,
            each.get("predicate", ""),
            each["opcode"],
            each.get("operands", ""),
        )
        for i, each in enumerate(listed)
    ]


def count(instructions: Iterable[Instruction]) -> Counter[str]:
    """How often each opcode stands in the code, modifiers and all: FFMA, LDG.E.128, BAR.SYNC.DEFER_BLOCKING."""
    return Counter(instruction.opcode for instruction in instructions)


def select(instructions: Iterable[Instruction], pattern: str) -> list[Instruction]:
    """Those with this base opcode and all of these modifiers, in any place: LDG.128 selects LDG.E.128.CONSTANT."""
    base, *modifiers = pattern.split(".")
    return [i for i in instructions if i.base == base and set(modifiers) <= set(i.opcode.split(".")[1:])]


def local_memory(instructions: Iterable[Instruction]) -> list[Instruction]:
    """Loads and stores of local memory: spilled registers, and arrays that are not in registers."""
    return [i for i in instructions if i.base in ("LDL", "STL")]


def widest_loads(instructions: Iterable[Instruction]) -> dict[str, int]:
    """The most bits that a thread loads at once, by kind: LDG from global, LDS from shared memory, LDGSTS between."""
    widest: dict[str, int] = {}
    for i in instructions:
        if i.base in ("LDG", "LDS", "LDL", "LDGSTS"):
            widest[i.base] = max(i.bits, widest.get(i.base, 0))
    return widest


def listing(functions: Mapping[str, Iterable[Instruction]]) -> str:
    """A plain text of all functions, an instruction a line: its address and text."""
    parts = []
    for name, instructions in functions.items():
        lines = [
            f"  {i.address:04x}  {i.predicate:>5} {i.text.removeprefix(i.predicate).strip()}" for i in instructions
        ]
        parts.append("\n".join([f"{name}:", *lines, ""]))
    return "\n".join(parts)


def hot_loop(instructions: Iterable[Instruction], opcode: str = "FFMA") -> list[Instruction]:
    """The innermost loop with the most of one opcode: from a backward branch's target to the branch; else nothing."""
    code = list(instructions)
    place = {instruction.address: i for i, instruction in enumerate(code)}
    best: list[Instruction] = []
    for i, instruction in enumerate(code):
        target = re.search(r"\b0x([0-9a-f]+)\b", instruction.operands) if instruction.base == "BRA" else None
        first = place.get(int(target[1], 16), i) if target else i
        body = code[first : i + 1]
        hits, most = (sum(x.base == opcode for x in loop) for loop in (body, best))
        if first < i and (hits > most or (hits == most and len(body) < len(best))):
            best = body
    return best
