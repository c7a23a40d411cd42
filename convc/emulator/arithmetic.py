"""Arithmetic on integers, floats, bits and predicates."""

from __future__ import annotations

from convc.emulator.lowering import HALVES, LOGIC, Lowering, flags_of, lane_type, lowers, width_of
from convc.emulator.ptx import SIZES, Instruction

_PERMUTATIONS = {"f4e": 1, "b4e": 2, "rc8": 3, "ecl": 4, "ecr": 5, "rc16": 6}
_FLOATS = ("f32", "f64")


def _plain(lowering: Lowering, at: Instruction, name: str, kind: str, flags: int = 0) -> None:
    """d = name(a, b, ...), all of one type."""
    width = width_of(kind)
    d, *operands = at.operands
    lowering.emit(
        at, name, lowering.target(d, width, at), *lowering.sources_of(tuple(operands), width, at), flags=flags
    )


def _halves(lowering: Lowering, at: Instruction, name: str, kind: str, parts: list[str]) -> None:
    d, *operands = at.operands
    sources = lowering.sources_of(tuple(operands), 4, at)
    arguments = [lowering.target(d, 4, at), *sources, *[0] * (4 - len(sources))]
    bfloat, count = HALVES[kind]
    lowering.emit(at, f"{name}_half", *arguments, bfloat, count, int("relu" in parts), flags=flags_of(parts))


@lowers("add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh")
@lowers("addc", "subc", "madc")
def lower_arithmetic(lowering: Lowering, at: Instruction) -> None:
    """d = a + b and the like, on integers and floats."""
    name, *modes = at.opcode.split(".")
    kind = modes[-1]
    if kind in HALVES:
        _halves(lowering, at, name, kind, modes)
    elif kind in _FLOATS:
        name = "fma" if name == "mad" else name
        _plain(lowering, at, f"{name}_{kind}", kind, flags_of(modes))
    elif "cc" in modes or name in ("addc", "subc", "madc"):
        _carry(lowering, at, name, modes)
    elif "sat" in modes:
        raise lowering.unknown(at)
    elif name in ("add", "sub"):
        _plain(lowering, at, f"{name}_{lane_type(kind)}", kind)
    elif name == "div":
        _plain(lowering, at, f"div_{kind}", kind)
    else:
        _multiply(lowering, at, name, modes[0], kind)


def _carry(lowering: Lowering, at: Instruction, name: str, modes: list[str]) -> None:
    kind = modes[-1]
    width = width_of(kind)
    d = lowering.target(at.operands[0], width, at)
    a, b, *rest = lowering.sources_of(at.operands[1:], width, at)
    if name.startswith("mad"):
        product = lowering.frame.temporary(width)
        operation = f"mul_lo_{lane_type(kind)}" if modes[0] == "lo" else f"mul_hi_{kind}"
        lowering.emit(at, operation, product, a, b)
        a, b = product, rest[0]
    takes = name in ("addc", "subc", "madc")
    lowering.emit(at, "add_carry", d, a, b, width, int(name.startswith("sub")), int(takes), int("cc" in modes))


def _multiply(lowering: Lowering, at: Instruction, name: str, part: str, kind: str) -> None:
    if part == "lo":
        _plain(lowering, at, f"{name}_lo_{lane_type(kind)}", kind)
        return
    width = width_of(kind)
    wide = (8 if SIZES[kind] == 4 else 4) if part == "wide" else width
    d = lowering.target(at.operands[0], wide, at)
    factors = lowering.sources_of(at.operands[1:3], width, at)
    if name == "mul":
        lowering.emit(at, f"mul_{part}_{kind}", d, *factors)
        return
    product = lowering.frame.temporary(wide)
    lowering.emit(at, f"mul_{part}_{kind}", product, *factors)
    lowering.emit(at, f"add_b{8 * wide}", d, product, *lowering.sources_of(at.operands[3:4], wide, at))


@lowers("rem", "sad")
def lower_signed(lowering: Lowering, at: Instruction) -> None:
    """Operations on integers that ask for the sign."""
    name, kind = at.opcode.split(".")
    _plain(lowering, at, f"{name}_{kind}", kind)


@lowers("mul24")
def lower_mul24(lowering: Lowering, at: Instruction) -> None:
    """The low bits of a product of 24-bit numbers."""
    _, part, kind = at.opcode.split(".")
    _plain(lowering, at, f"mul24_{part}_{kind}", kind)


@lowers("abs", "neg")
def lower_sign(lowering: Lowering, at: Instruction) -> None:
    """|a| and -a."""
    name, *modes = at.opcode.split(".")
    kind = modes[-1]
    if kind in HALVES:
        _halves(lowering, at, name, kind, modes)
    elif kind in _FLOATS:
        _plain(lowering, at, f"{name}_{kind}", kind, flags_of(modes))
    else:
        _plain(lowering, at, f"neg_{lane_type(kind)}" if name == "neg" else f"abs_{kind}", kind)


@lowers("min", "max")
def lower_minimum(lowering: Lowering, at: Instruction) -> None:
    """The smaller or larger of two (of three on newer targets); NaN only where both are, or with .NaN one is."""
    name, *modes = at.opcode.split(".")
    kind = modes[-1]
    if "xorsign" in modes or ("relu" in modes and kind not in HALVES):
        raise lowering.unknown(at)
    if kind in HALVES:
        _halves(lowering, at, f"{name}_nan" if "NaN" in modes else name, kind, modes)
        return
    width, flags = width_of(kind), flags_of(modes)
    d = lowering.target(at.operands[0], width, at)
    a, *others = lowering.sources_of(at.operands[1:], width, at)
    for b in others:
        lowering.emit(
            at, f"{name}_{kind.replace('b', 'u')}", result := lowering.frame.temporary(width), a, b, flags=flags
        )
        if "NaN" in modes:
            lowering.emit(at, f"nan_{kind}", checked := lowering.frame.temporary(width), a, b, result)
            result = checked
        a = result
    lowering.emit(at, f"mov_b{8 * width}", d, a)


@lowers("and", "or", "xor", "not", "cnot")
def lower_logic(lowering: Lowering, at: Instruction) -> None:
    """Bitwise operations, on registers and predicates."""
    name, kind = at.opcode.split(".")
    if kind != "pred":
        _plain(lowering, at, f"{name}_{lane_type(kind)}", kind)
        return
    d = lowering.written_predicate(at.operands[0], at)
    a, *b = [lowering.predicate(text, at) for text in at.operands[1:]]
    lowering.emit(at, "logic_pred", d, a, *(b or [0]), LOGIC.get(name, 0), int(name == "not"))


@lowers("shl", "shr")
def lower_shift(lowering: Lowering, at: Instruction) -> None:
    """Shifts: the amount has 32 bits whatever is shifted."""
    name, kind = at.opcode.split(".")
    width = width_of(kind)
    operation = f"shl_{lane_type(kind)}" if name == "shl" else f"shr_{kind.replace('b', 'u')}"
    d, a, amount = at.operands
    lowering.emit(
        at, operation, lowering.target(d, width, at), *lowering.sources_of((a,), width, at),
        *lowering.sources_of((amount,), 4, at),
    )  # fmt: skip


@lowers("shf", "prmt", "lop3", "clz", "popc", "brev", "bfind")
def lowerlane_type(lowering: Lowering, at: Instruction) -> None:
    """Operations on the bits of a word."""
    name, *modes = at.opcode.split(".")
    kind = modes[-1]
    d, *operands = at.operands
    if name == "shf":
        _plain(lowering, at, f"shf_{modes[0]}_{modes[1]}", kind)
    elif name == "prmt":
        mode = _PERMUTATIONS[modes[1]] if len(modes) > 1 else 0
        units = lowering.sources_of(tuple(operands), 4, at)
        lowering.emit(at, "prmt_b32", lowering.target(d, 4, at), *units, 0, mode)
    elif name == "lop3":
        units = lowering.sources_of(tuple(operands[:3]), 4, at)
        lowering.emit(at, "lop3", lowering.target(d, 4, at), *units, int(operands[3], 0))
    else:
        width = width_of(kind) if name == "brev" else 4
        units = lowering.sources_of(tuple(operands), width_of(kind), at)
        operation = f"{name}_{'shiftamt_' if 'shiftamt' in modes else ''}{kind}"
        lowering.emit(at, operation, lowering.target(d, width, at), *units)


@lowers("bfe", "bfi")
def lower_field(lowering: Lowering, at: Instruction) -> None:
    """Extracts or inserts a field of bits: where it is and how long are 32-bit numbers."""
    name, kind = at.opcode.split(".")
    width, words = width_of(kind), 1 if name == "bfe" else 2
    d, *operands = at.operands
    lowering.emit(
        at, f"{name}_{kind}", lowering.target(d, width, at),
        *lowering.sources_of(tuple(operands[:words]), width, at), *lowering.sources_of(tuple(operands[words:]), 4, at),
    )  # fmt: skip


@lowers("dp2a", "dp4a")
def lower_dot(lowering: Lowering, at: Instruction) -> None:
    """d = c + the products of a's halves (or bytes) with bytes of b; `lo` and `hi` choose two of the four."""
    name, *half, of_a, of_b = at.opcode.split(".")
    a, b, c = lowering.sources_of(at.operands[1:], 4, at)
    count, bits = (2, 16) if name == "dp2a" else (4, 8)
    first = 16 if half == ["hi"] else 0
    for k in range(count):
        parts = []
        for source, kind, at_bit, length in ((a, of_a, bits * k, bits), (b, of_b, first + 8 * k, 8)):
            place, size = lowering.frame.constant(at_bit, 4), lowering.frame.constant(length, 4)
            parts.append(lowering.frame.temporary(4))
            lowering.emit(at, f"bfe_{kind}", parts[-1], source, place, size)
        total = lowering.target(at.operands[0], 4, at) if k == count - 1 else lowering.frame.temporary(4)
        lowering.emit(at, "mad_lo_b32", total, *parts, c)
        c = total


@lowers("copysign")
def lower_copysign(lowering: Lowering, at: Instruction) -> None:
    """The sign of a on the size of b."""
    kind = at.opcode.split(".")[-1]
    _plain(lowering, at, f"copysign_{kind}", kind)
