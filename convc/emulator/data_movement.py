"""Loads, stores, atomics and asynchronous copies."""

from __future__ import annotations

from convc.emulator.conversion import NUMBERS
from convc.emulator.lowering import HALVES, Lowering, lowers, width_of
from convc.emulator.ptx import SIZES, Instruction

# As in engine/memory.h.
SPACES = {"global": 0, "const": 0, "param": 0, "shared": 1, "local": 2}
GENERIC = 3
_ATOMICS = {name: k for k, name in enumerate(("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"))}


def _space(modes: list[str]) -> tuple[int, bool]:
    """The space that an instruction names, and whether its accesses are counted and checked for races."""
    for mode in modes:
        name = mode.split("::")[0]
        if name in SPACES:
            return SPACES[name], name in ("global", "shared")
    return GENERIC, True


def _note_size(lowering: Lowering, size: int, checked: bool) -> None:
    if checked:
        lowering.smallest_access = min(lowering.smallest_access, size)


@lowers("ld", "st", "ldu")
def lower_access(lowering: Lowering, at: Instruction) -> None:
    """ld: registers = [address]. st: [address] = registers."""
    name, *modes = at.opcode.split(".")
    kind = modes[-1]
    space, checked = _space(modes)
    register, where = at.operands if name != "st" else at.operands[::-1]
    names = [part.strip() for part in register.strip("{}").split(",")]
    each = SIZES[kind]
    if each > 8 or len(names) * each > 16 or "async" in modes:
        raise lowering.unknown(at)
    if name == "st":
        width = _stored_width(lowering, names[0], kind, at)
        units = [lowering.frame.operand(text, width, at) for text in names]
    else:
        # A register wider than what is loaded gets it extended.
        width = next((lowering.frame.register(text, at).width for text in names if text != "_"), 4)
        units = [lowering.target(text, width, at) for text in names]
    units += [-1] * (4 - len(units))
    signed = int(kind.startswith("s") and name != "st")
    _note_size(lowering, each * len(names), checked)
    lowering.emit(
        at, "store" if name == "st" else "load", *units, *lowering.address(where, at), space, each, len(names),
        signed, width, counted=checked,
    )  # fmt: skip


def _stored_width(lowering: Lowering, text: str, kind: str, at: Instruction) -> int:
    return lowering.frame.register(text, at).width if lowering.frame.is_register(text, at) else width_of(kind)


@lowers("atom", "red")
def lower_atomic(lowering: Lowering, at: Instruction) -> None:
    """d = [address], then [address] = d combined with b."""
    name, *modes = at.opcode.split(".")
    kind = modes[-1]
    operation = next(_ATOMICS[mode] for mode in modes if mode in _ATOMICS)
    space, _ = _space(modes)
    width = width_of(kind)
    target, (where, *operands) = ("_", at.operands) if name == "red" else (at.operands[0], at.operands[1:])
    if any(mode.startswith("v") and mode[1:].isdigit() for mode in modes) or where.startswith("{"):
        raise lowering.unknown(at)
    sources = lowering.sources_of(tuple(operands), width, at)
    bfloat, halves = HALVES.get(kind, (0, 0))
    number = NUMBERS["bf16"] if bfloat else NUMBERS.get(kind.replace("b", "u"), 0)
    _note_size(lowering, SIZES[kind], True)
    lowering.emit(
        at, "atom", lowering.target(target, width, at), *(sources * 2)[:2], 0, *lowering.address(where, at), space,
        SIZES[kind], number, operation, width, halves, counted=True,
    )  # fmt: skip


@lowers("cp")
def lower_copy(lowering: Lowering, at: Instruction) -> None:
    """cp.async: copies from global to shared memory that land at the wait which covers them."""
    _, *modes = at.opcode.split(".")
    if modes[:1] != ["async"]:
        raise lowering.unknown(at)
    if modes[1] == "commit_group":
        lowering.emit(at, "commit_group")
    elif modes[1] == "wait_group":
        lowering.emit(at, "wait_group", int(at.operands[0], 0), 0)
    elif modes[1] == "wait_all":
        lowering.emit(at, "wait_group", 0, 1)
    elif modes[1] in ("ca", "cg"):
        _copy(lowering, at, modes)
    else:
        raise lowering.unknown(at)


def _copy(lowering: Lowering, at: Instruction, modes: list[str]) -> None:
    to, source, size, *rest = at.operands
    if any(mode == "L2::cache_hint" for mode in modes):
        rest = rest[:-1]
    number = int(size, 0)
    given = -1
    if rest and lowering.frame.is_predicate(rest[0].lstrip("!"), at):
        given = lowering.frame.temporary(4)
        none, all_of_it = lowering.frame.constant(0, 4), lowering.frame.constant(number, 4)
        lowering.emit(at, "selp_b32", given, none, all_of_it, lowering.predicate(rest[0], at))
    elif rest:
        given = lowering.frame.operand(rest[0], 4, at)
    _note_size(lowering, number, True)
    lowering.emit(
        at, "copy_async", *lowering.address(to, at), 0, *lowering.address(source, at), 0, number, given, counted=True
    )


@lowers("membar", "fence", "nanosleep", "prefetch", "prefetchu", "discard", "applypriority", "brkpt")
def lower_nothing(lowering: Lowering, at: Instruction) -> None:
    """What changes nothing here: memory is consistent, and time stands still."""
    lowering.emit(at, "nop")
