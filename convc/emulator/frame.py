"""Where the values of a kernel live: registers, predicates, constants and the addresses of its variables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from convc.emulator.ptx import SIZES, Instruction, Kernel, ModuleText, Variable, literal
from convc.errors import EmulatorError

# As in engine/state.h.
WINDOW, VARIABLES, SHARED_WINDOW, LOCAL_WINDOW = 1 << 40, 4096, 8189, 8190
MIDDLE = 1 << 39
_SPECIAL_UNITS = 24
_AXES = "xyz"
SPECIALS = {
    **{
        f"%{name}.{axis}": 3 * k + j
        for k, name in enumerate(("tid", "ntid", "ctaid", "nctaid"))
        for j, axis in enumerate(_AXES)
    },
    **{
        f"%{name}": 12 + k
        for k, name in enumerate(
            ("laneid", "warpid", "nwarpid", "lanemask_eq", "lanemask_le", "lanemask_lt", "lanemask_ge", "lanemask_gt")
        )
    },
    **{"%dynamic_smem_size": 20, "%total_smem_size": 21},
    # Clocks stand still: a launch gives the same numbers every time.
    **{f"%{name}": 22 for name in ("clock", "clock_hi", "smid", "nsmid", "gridid")},
}
_SPECIALS_64 = {"%clock64": 22, "%globaltimer": 22}


@dataclass(frozen=True)
class Register:
    """The unit (128 bytes) at which its 32 lanes start, the bytes of a lane, and those that PTX declares."""

    unit: int
    width: int
    declared: int


class Frame:
    """Gives every name of a kernel its place, at its first use."""

    def __init__(self, module: ModuleText, kernel: Kernel) -> None:
        self.kernel = kernel
        self.units = _SPECIAL_UNITS
        self.predicates = 2  # 0 is the carry, 1 always holds
        self.constants: dict[tuple[int, int], int] = {}
        self._registers: dict[tuple[tuple[int, ...], str], Register] = {}
        self._numbers: dict[tuple[tuple[int, ...], str], int] = {}
        self.addresses: dict[str, int] = {}
        self.globals: list[Variable] = [v for v in module.variables if v.space in ("global", "const")]
        self.globals += [v for v in kernel.variables if v.space in ("global", "const")]
        for k, variable in enumerate(self.globals):
            self.addresses[variable.name] = (VARIABLES + k) * WINDOW + MIDDLE
        parameters = (VARIABLES + len(self.globals)) * WINDOW + MIDDLE
        for parameter in kernel.parameters:
            self.addresses[parameter.name] = parameters + parameter.offset
        self.local_bytes = self._lay_out(v for v in kernel.variables if v.space == "local")
        used = set(re.findall(r"[\w$%]+", " ".join(i.text for i in kernel.instructions)))
        shared = [v for v in (*module.variables, *kernel.variables) if v.space == "shared" and v.name in used]
        self.shared_bytes = self._lay_out(v for v in shared if not v.dynamic)
        for variable in (v for v in shared if v.dynamic):
            self.shared_bytes = -(-self.shared_bytes // variable.align) * variable.align
            self.addresses[variable.name] = self.shared_bytes

    def _lay_out(self, variables: Iterable[Variable]) -> int:
        end = 0
        for variable in variables:
            start = -(-end // variable.align) * variable.align
            self.addresses[variable.name] = start
            end = start + variable.size
        return end

    def constant(self, value: int, width: int) -> int:
        """The unit of a register that holds `value` from the start."""
        key = (value & ((1 << 8 * width) - 1), width)
        if key not in self.constants:
            self.constants[key] = self.temporary(width)
        return self.constants[key]

    def temporary(self, width: int) -> int:
        """A new register of 4 or 8 bytes a lane."""
        self.units += width // 4
        return self.units - width // 4

    def new_predicate(self) -> int:
        """A new predicate."""
        self.predicates += 1
        return self.predicates - 1

    def register(self, name: str, at: Instruction) -> Register:
        """The register of this name, as the scope of the instruction sees it."""
        if name in SPECIALS:
            return Register(SPECIALS[name], 4, 4)
        if name in _SPECIALS_64:
            return Register(_SPECIALS_64[name], 8, 8)
        scope, kind = self._found(name, at)
        if kind == "pred" or SIZES.get(kind, 16) > 8:
            raise EmulatorError(f"the emulator takes a register of 8 to 64 bits here, got {name} in {at}")
        if (scope, name) not in self._registers:
            size = SIZES[kind]
            width = max(size, 4)
            self._registers[scope, name] = Register(self.temporary(width), width, size)
        return self._registers[scope, name]

    def predicate(self, name: str, at: Instruction) -> int:
        """The number of the predicate of this name."""
        scope, kind = self._found(name, at)
        if kind != "pred":
            raise EmulatorError(f"the emulator takes a predicate here, got {name} in {at}")
        if (scope, name) not in self._numbers:
            self._numbers[scope, name] = self.new_predicate()
        return self._numbers[scope, name]

    def _found(self, name: str, at: Instruction) -> tuple[tuple[int, ...], str]:
        if found := self._declared(name, at):
            return found
        raise EmulatorError(f"no register, variable or number is called {name} in {at}")

    def _declared(self, name: str, at: Instruction) -> tuple[tuple[int, ...], str] | None:
        """The scope that declares a register of this name, and its type."""
        match = re.match(r"(.*?)(\d+)$", name)
        for depth in range(len(at.scope), 0, -1):
            scope = at.scope[:depth]
            if kind := self.kernel.registers.get((scope, name)):
                return scope, kind
            kind, count = self.kernel.ranges.get((scope, match[1]), ("", 0)) if match else ("", 0)
            if match and int(match[2]) < count:
                return scope, kind
        return None

    def is_register(self, name: str, at: Instruction) -> bool:
        """Whether the name is that of a register: inline assembly may declare some that start with any letter."""
        return name.startswith("%") or self._declared(name, at) is not None

    def is_predicate(self, name: str, at: Instruction) -> bool:
        """Whether the name is that of a predicate."""
        found = self._declared(name, at)
        return found is not None and found[1] == "pred"

    def operand(self, text: str, width: int, at: Instruction) -> int:
        """The unit of a register, a number or a variable's address, `width` bytes (4 or 8) a lane."""
        if self.is_register(text, at):
            register = self.register(text, at)
            if register.width < width:
                raise EmulatorError(f"{at} reads {8 * width} bits from {text}, which has {8 * register.width}")
            if register.width > width and register.unit >= _SPECIAL_UNITS:
                raise EmulatorError(f"{at} reads {8 * width} bits from {text}, which has {8 * register.width}")
            return register.unit
        return self.constant(self.number(text, width, at), width)

    def number(self, text: str, width: int, at: Instruction) -> int:
        """The value of a number, or of a variable's address, `name` or `name+offset`."""
        base, _, offset = text.partition("+")
        if base.strip() in self.addresses:
            return self.addresses[base.strip()] + int(offset or "0", 0)
        if text == "WARP_SZ":
            return 32
        try:
            return literal(text, width)
        except ValueError:
            raise EmulatorError(f"no register, variable or number is called {text} in {at}") from None
