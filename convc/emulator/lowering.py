"""From PTX instructions to the engine's operations: the frame around the families, `arithmetic`, `memory`, `warp`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib import resources

from convc.emulator.flow import blocks_in_order, falls_through
from convc.emulator.frame import Frame
from convc.emulator.ptx import SIZES, Instruction, Kernel, ModuleText
from convc.errors import EmulatorError

# As in engine/state.h.
FLUSH, SATURATE, ROUNDING = 1, 2, 4
ROUNDINGS = {"rn": 0, "rz": 1, "rm": 2, "rp": 3, "rna": 4}
LOGIC = {"and": 1, "or": 2, "xor": 3}
ARGUMENTS = 16
HALVES = {"f16": (0, 1), "f16x2": (0, 2), "bf16": (1, 1), "bf16x2": (1, 2)}
"""Of each half type: whether it is bf16, and how many are in a register."""


@functools.cache
def opcodes() -> dict[str, int]:
    """The engine's opcodes by name, numbered in the order of their lines in ops.h and special.h."""
    folder = resources.files("convc").joinpath("emulator/engine")
    names = []
    for file in ("ops.h", "special.h"):
        text = folder.joinpath(file).read_text(encoding="utf-8")
        names += re.findall(r"^(?:OP|LANE|FLOAT|FLOAT_LANE|HALF|HALF_BITS|SPECIAL)\((\w+)", text, re.MULTILINE)
    return {name: number for number, name in enumerate(names)}


Rule = Callable[["Lowering", Instruction], None]
RULES: dict[str, Rule] = {}
"""How instructions are lowered, by the first word of their opcode."""


def lowers(*words: str) -> Callable[[Rule], Rule]:
    """Registers the rule for instructions that start with one of these words."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(words, rule))
        return rule

    return register


class Lowering:
    """Lowers one kernel. `ops` holds rows of opcode, guard, flags, counted and 16 arguments."""

    def __init__(self, module: ModuleText, kernel: Kernel) -> None:
        self.kernel = kernel
        self.frame = Frame(module, kernel)
        self.ops: list[list[int]] = []
        self.sources: list[Instruction] = []
        self.smallest_access = 16
        self._branches: list[tuple[int, int]] = []  # (operation, number of the instruction that it leads to)
        self._guard = 0

    def lower(self) -> None:
        """Fills `ops` and `sources`. Raises EmulatorError on an instruction that the emulator lacks."""
        instructions = self.kernel.instructions
        for call in (i for i in instructions if i.opcode.split(".")[0] == "call"):
            name = next((part for part in call.operands if not part.startswith("(")), "a function")
            raise EmulatorError(
                f"the emulator runs kernels whose functions are all inlined, and kernel {self.kernel.name} calls "
                f"{name}: mark it __forceinline__, or leave the call (printf, assert) out; {call}"
            )
        starts = [0] * (len(instructions) + 1)
        blocks = blocks_in_order(self.kernel)
        for block, following in zip(blocks, [*blocks[1:], range(len(instructions), len(instructions))]):
            for number in block:
                starts[number] = len(self.ops)
                self._lower(instructions[number])
            if falls_through(instructions[block[-1]]) and following.start != block.stop:
                self._guard = 0
                self._branches.append((len(self.ops), block.stop))
                self.emit(instructions[block[-1]], "bra")
        starts[-1] = len(self.ops)
        self._guard = 0
        if instructions:
            self.emit(instructions[-1], "exit")
        for op, number in self._branches:
            self.ops[op][4] = starts[number]

    def _lower(self, instruction: Instruction) -> None:
        self._guard = self.predicate(instruction.guard, instruction) if instruction.guard else 0
        rule = RULES.get(instruction.opcode.split(".")[0])
        if rule is None:
            raise self.unknown(instruction)
        try:
            rule(self, instruction)
        except (IndexError, ValueError, KeyError):
            raise self.unknown(instruction) from None

    def unknown(self, at: Instruction) -> EmulatorError:
        """The error on an instruction that the emulator lacks."""
        return EmulatorError(
            f"the emulator does not know the instruction {at}: write the kernel without it, or add it to convc/emulator"
        )

    def emit(self, at: Instruction, name: str, *arguments: int, flags: int = 0, counted: bool = False) -> None:
        """Appends an operation, under the guard of the instruction. Raises EmulatorError where the engine lacks it."""
        if name not in opcodes():
            raise self.unknown(at)
        padding = [0] * (ARGUMENTS - len(arguments))
        self.ops.append([opcodes()[name], self._guard, flags, int(counted), *arguments, *padding])
        self.sources.append(at)

    def branch(self, at: Instruction, name: str, label: str, guarded: bool = True) -> None:
        """Appends an operation whose first argument is the place of a label."""
        number = self.kernel.find_label(label, at)
        if number is None:
            raise EmulatorError(f"no label is called {label} in {at}")
        guard, self._guard = self._guard, self._guard if guarded else 0
        self._branches.append((len(self.ops), number))
        self.emit(at, name)
        self._guard = guard

    def predicate(self, text: str, at: Instruction) -> int:
        """A predicate to read: its number + 1, negative where `!` negates it."""
        if text.lstrip("-").isdigit():
            return 2 if int(text) else -2
        negated = text.startswith("!")
        number = self.frame.predicate(text.lstrip("!"), at) + 1
        return -number if negated else number

    def written_predicate(self, text: str, at: Instruction) -> int:
        """The number of a predicate to write, -1 for `_`."""
        return -1 if text == "_" else self.frame.predicate(text, at)

    def target(self, text: str, width: int, at: Instruction) -> int:
        """The unit of a register to write, -1 for `_`."""
        if text == "_":
            return -1
        register = self.frame.register(text, at)
        if register.width != width:
            raise EmulatorError(f"{at} writes {8 * width} bits to {text}, which has {8 * register.width}")
        return register.unit

    def sources_of(self, texts: tuple[str, ...], width: int, at: Instruction) -> list[int]:
        """The units of operands to read."""
        return [self.frame.operand(text, width, at) for text in texts]

    def address(self, text: str, at: Instruction) -> tuple[int, int, int]:
        """`[register+offset]` as the register's unit, the offset and the register's bytes."""
        if not (text.startswith("[") and text.endswith("]")):
            raise self.unknown(at)
        base, _, offset = (part.strip() for part in text[1:-1].partition("+"))
        if not self.frame.is_register(base, at):
            return self.frame.constant(self.frame.number(text[1:-1].replace(" ", ""), 8, at), 8), 0, 8
        register = self.frame.register(base, at)
        return register.unit, int(offset or "0", 0), register.width


def width_of(kind: str) -> int:
    """Bytes of a lane that holds a value of this type: 4 or 8. Raises KeyError for an unknown type."""
    return max(SIZES[kind], 4)


def lane_type(kind: str) -> str:
    """The type without its sign: s32 -> b32; 16 bits are worked on in lanes of 32."""
    return f"b{8 * width_of(kind)}"


def flags_of(parts: list[str]) -> int:
    """The engine's flags for `.ftz`, `.sat` and the rounding modes that are not to nearest."""
    flags = (FLUSH if "ftz" in parts else 0) | (SATURATE if "sat" in parts else 0)
    for mode in ("rz", "rm", "rp"):
        if mode in parts:
            flags |= ROUNDING | ROUNDINGS[mode] << 4
    return flags
