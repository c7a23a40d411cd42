"""Arithmetic, comparison, selection and conversion."""

from __future__ import annotations

from convc.emulator.frame import LOCAL_WINDOW, SHARED_WINDOW
from convc.emulator.lowering import HALVES, ROUNDINGS, Lowering, flags_of, lowers, width_of
from convc.emulator.ptx import SIZES, Instruction

# As in engine/numbers.h.
NUMBERS = {
    name: number
    for number, name in enumerate(
        ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f16", "bf16", "f32", "f64", "tf32")
    )
}
_COMPARISONS = {
    **{"eq": 2, "ne": 5, "lt": 1, "le": 3, "gt": 4, "ge": 6, "lo": 1, "ls": 3, "hi": 4, "hs": 6},
    **{"equ": 10, "neu": 13, "ltu": 9, "leu": 11, "gtu": 12, "geu": 14, "num": 7, "nan": 8},
}
_LOGIC = {"and": 1, "or": 2, "xor": 3}
_TESTS = {"finite": 0, "infinite": 1, "number": 2, "notanumber": 3, "normal": 4, "subnormal": 5}
_PERMUTATIONS = {"f4e": 1, "b4e": 2, "rc8": 3, "ecl": 4, "ecr": 5, "rc16": 6}
_FLOATS = ("f32", "f64")


def _bits(kind: str) -> str:
    """The type without its sign: s32 -> b32; 16 bits are worked on in lanes of 32."""
    return f"b{8 * width_of(kind)}"


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
        _plain(lowering, at, f"{name}_{_bits(kind)}", kind)
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
        operation = f"mul_lo_{_bits(kind)}" if modes[0] == "lo" else f"mul_hi_{kind}"
        lowering.emit(at, operation, product, a, b)
        a, b = product, rest[0]
    takes = name in ("addc", "subc", "madc")
    lowering.emit(at, "add_carry", d, a, b, width, int(name.startswith("sub")), int(takes), int("cc" in modes))


def _multiply(lowering: Lowering, at: Instruction, name: str, part: str, kind: str) -> None:
    if part == "lo":
        _plain(lowering, at, f"{name}_lo_{_bits(kind)}", kind)
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
        _plain(lowering, at, f"neg_{_bits(kind)}" if name == "neg" else f"abs_{kind}", kind)


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
        _plain(lowering, at, f"{name}_{_bits(kind)}", kind)
        return
    d = lowering.written_predicate(at.operands[0], at)
    a, *b = [lowering.predicate(text, at) for text in at.operands[1:]]
    lowering.emit(at, "logic_pred", d, a, *(b or [0]), _LOGIC.get(name, 0), int(name == "not"))


@lowers("shl", "shr")
def lower_shift(lowering: Lowering, at: Instruction) -> None:
    """Shifts: the amount has 32 bits whatever is shifted."""
    name, kind = at.opcode.split(".")
    width = width_of(kind)
    operation = f"shl_{_bits(kind)}" if name == "shl" else f"shr_{kind.replace('b', 'u')}"
    d, a, amount = at.operands
    lowering.emit(
        at, operation, lowering.target(d, width, at), *lowering.sources_of((a,), width, at),
        *lowering.sources_of((amount,), 4, at),
    )  # fmt: skip


@lowers("shf", "prmt", "lop3", "clz", "popc", "brev", "bfind")
def lower_bits(lowering: Lowering, at: Instruction) -> None:
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


@lowers("copysign")
def lower_copysign(lowering: Lowering, at: Instruction) -> None:
    """The sign of a on the size of b."""
    kind = at.opcode.split(".")[-1]
    _plain(lowering, at, f"copysign_{kind}", kind)


@lowers("testp")
def lower_test(lowering: Lowering, at: Instruction) -> None:
    """Whether a float is finite, a NaN, ..."""
    _, test, kind = at.opcode.split(".")
    (a,) = lowering.sources_of(at.operands[1:], width_of(kind), at)
    lowering.emit(at, f"testp_{kind}", lowering.written_predicate(at.operands[0], at), a, _TESTS[test])


def _widened(lowering: Lowering, at: Instruction, unit: int, kind: str) -> list[int]:
    """The halves of a register, lower first, as f32."""
    bfloat, count = HALVES[kind]
    parts = [unit]
    if count == 2:
        parts = [lowering.frame.temporary(4), lowering.frame.temporary(4)]
        lowering.emit(at, "unpack", unit, 4, 2, 2, *parts)
    wide = [lowering.frame.temporary(4) for _ in parts]
    for to, part in zip(wide, parts):
        lowering.emit(at, "cvt", to, part, NUMBERS["f32"], NUMBERS["bf16" if bfloat else "f16"], 0, 0, 4, 4)
    return wide


@lowers("setp")
def lower_setp(lowering: Lowering, at: Instruction) -> None:
    """p|q = a compared with b, and its complement."""
    _, comparison, *modes = at.opcode.split(".")
    kind = modes[-1]
    p, _, q = at.operands[0].partition("|")
    targets = [lowering.written_predicate(p, at), lowering.written_predicate(q or "_", at)]
    operands = lowering.sources_of(at.operands[1:3], width_of(kind), at)
    logic = next((_LOGIC[mode] for mode in modes if mode in _LOGIC), 0)
    third = lowering.predicate(at.operands[3], at) if logic else 0
    flags = flags_of(modes)
    if kind in HALVES:
        lanes = list(zip(*(_widened(lowering, at, unit, kind) for unit in operands)))
        # Of two halves each has a predicate of its own; else the second predicate is the complement.
        single = len(lanes) == 1
        for k, pair in enumerate(lanes):
            own = targets if single else [targets[k], -1]
            lowering.emit(at, "setp_f32", *own, *pair, _COMPARISONS[comparison], logic, third, flags=flags)
        return
    name = f"setp_{kind.replace('b', 'u')}"
    lowering.emit(at, name, *targets, *operands, _COMPARISONS[comparison], logic, third, flags=flags)


@lowers("set")
def lower_set(lowering: Lowering, at: Instruction) -> None:
    """All ones, or 1.0, where a compares with b; else zeros."""
    _, comparison, *modes = at.opcode.split(".")
    to, kind = modes[-2:]
    logic = next((_LOGIC[mode] for mode in modes if mode in _LOGIC), 0)
    third = lowering.predicate(at.operands[3], at) if logic else 0
    operands = [[unit] for unit in lowering.sources_of(at.operands[1:3], width_of(kind), at)]
    compared = kind.replace("b", "u")
    if kind in HALVES:
        operands = [_widened(lowering, at, units[0], kind) for units in operands]
        compared = "f32"
    d = lowering.target(at.operands[0], 4, at)
    pairs = list(zip(*operands))
    true = {"f32": 0x3F800000, "f16": 0x3C00, "f16x2": 0x3C00, "bf16": 0x3F80, "bf16x2": 0x3F80}.get(to, 0xFFFFFFFF)
    yes, no = lowering.frame.constant(true, 4), lowering.frame.constant(0, 4)
    results = []
    for pair in pairs:
        p = lowering.frame.new_predicate()
        lowering.emit(
            at, f"setp_{compared}", p, -1, *pair, _COMPARISONS[comparison], logic, third, flags=flags_of(modes)
        )
        results.append(lowering.frame.temporary(4) if len(pairs) == 2 else d)
        lowering.emit(at, "selp_b32", results[-1], yes, no, p + 1)
    if len(pairs) == 2:
        lowering.emit(at, "pack", d, 4, 2, 2, *results)


@lowers("selp")
def lower_select(lowering: Lowering, at: Instruction) -> None:
    """a where the predicate holds, else b."""
    kind = at.opcode.split(".")[-1]
    width = width_of(kind)
    d, a, b, p = at.operands
    sources = lowering.sources_of((a, b), width, at)
    lowering.emit(at, f"selp_{_bits(kind)}", lowering.target(d, width, at), *sources, lowering.predicate(p, at))


@lowers("slct")
def lower_sign_select(lowering: Lowering, at: Instruction) -> None:
    """a where c >= 0, else b."""
    _, *modes = at.opcode.split(".")
    kind, sign = modes[-2:]
    width = width_of(kind)
    d, a, b, c = at.operands
    p = lowering.frame.new_predicate()
    zero = lowering.frame.constant(0, 4)
    sources = lowering.sources_of((c,), 4, at)
    lowering.emit(at, f"setp_{sign}", p, -1, *sources, zero, _COMPARISONS["ge"], flags=flags_of(modes))
    sources = lowering.sources_of((a, b), width, at)
    lowering.emit(at, f"selp_{_bits(kind)}", lowering.target(d, width, at), *sources, p + 1)


@lowers("mov")
def lower_move(lowering: Lowering, at: Instruction) -> None:
    """Copies a value, the address of a variable, or the parts of a register."""
    kind = at.opcode.split(".")[-1]
    d, a = at.operands
    if kind == "pred" and a.lstrip("-").isdecimal():
        zero = lowering.frame.constant(0, 4)
        holds = _COMPARISONS["ne" if int(a) == 0 else "eq"]
        lowering.emit(at, "setp_u32", lowering.written_predicate(d, at), -1, zero, zero, holds)
        return
    if kind == "pred":
        lowering.emit(at, "logic_pred", lowering.written_predicate(d, at), lowering.predicate(a, at))
        return
    width = width_of(kind)
    if a.startswith("{"):
        parts = [part.strip() for part in a[1:-1].split(",")]
        each = SIZES[kind] // len(parts)
        units = lowering.sources_of(tuple(parts), max(each, 4), at)
        lowering.emit(at, "pack", lowering.target(d, width, at), width, len(parts), each, *units)
    elif d.startswith("{"):
        parts = [part.strip() for part in d[1:-1].split(",")]
        each = SIZES[kind] // len(parts)
        units = [lowering.target(part, max(each, 4), at) for part in parts]
        lowering.emit(at, "unpack", *lowering.sources_of((a,), width, at), width, len(parts), each, *units)
    else:
        lowering.emit(at, f"mov_b{8 * width}", lowering.target(d, width, at), *lowering.sources_of((a,), width, at))


@lowers("cvt")
def lower_convert(lowering: Lowering, at: Instruction) -> None:
    """From one number format to another."""
    _, *modes = at.opcode.split(".")
    to, source = modes[-2:]
    pair = to in ("f16x2", "bf16x2")
    if pair:
        to = to[:-2]
    whole = next((mode[:2] for mode in modes if mode in ("rni", "rzi", "rmi", "rpi")), "")
    rounding = next((mode for mode in modes if mode in ROUNDINGS), "") or whole or "rn"
    d, a, *low = at.operands
    register = lowering.frame.register(d, at)
    width = register.width
    # A register wider than the type is allowed on both sides.
    read = lowering.frame.register(a, at) if lowering.frame.is_register(a, at) else None
    from_width = read.width if read else width_of(source)
    unit = read.unit if read else lowering.frame.operand(a, from_width, at)
    flags = flags_of([mode for mode in modes if mode in ("ftz", "sat", "rz", "rm", "rp")])
    if set(modes) & {"satfinite", "rs", "scaled"} or to not in NUMBERS or source not in NUMBERS:
        raise lowering.unknown(at)
    plain = not (flags & 3) and not whole and not pair
    if plain and (name := _quick(to, source, width, from_width, rounding)):
        lowering.emit(at, name, register.unit, unit, flags=flags)
        return
    arguments = [register.unit, unit, NUMBERS[to], NUMBERS[source], ROUNDINGS[rounding], int(bool(whole))]
    arguments += [width, from_width, int("relu" in modes)]
    if pair:
        lowering.emit(at, "cvt_pair", *arguments, *lowering.sources_of(tuple(low), 4, at), flags=flags)
    else:
        lowering.emit(at, "cvt", *arguments, flags=flags)


def _quick(to: str, source: str, width: int, from_width: int, rounding: str) -> str:
    """The engine's own operation for a conversion without .ftz and .sat, or nothing."""
    if (to, source, rounding) == ("tf32", "f32", "rna"):
        return "cvt_tf32_f32"
    if to[0] in "us" and source[0] in "us":
        sizes = SIZES[to], SIZES[source]
        if sizes == (8, 4) and from_width == 4:
            return "cvt_u64_u32" if source == "u32" else "cvt_s64_s32"
        if sizes in ((4, 8), (2, 8)) and (width, from_width) == (4, 8):
            return "cvt_b32_b64"
        if sizes in ((4, 4), (2, 2), (2, 4), (8, 8)) and width == from_width:
            return f"mov_b{8 * width}"
        if sizes == (4, 2) and (width, from_width) == (4, 4):
            return "cvt_s32_u16" if source == "u16" else "cvt_s32_s16"
        return ""
    name = f"cvt_{to}_{source}"
    known = ("cvt_f32_s32", "cvt_f32_u32", "cvt_f64_f32", "cvt_f32_f64")
    return name if name in known and (width, from_width) == (width_of(to), width_of(source)) else ""


@lowers("cvta")
def lower_address(lowering: Lowering, at: Instruction) -> None:
    """Between generic addresses and those of one space; global and constant ones are the same."""
    _, *modes = at.opcode.split(".")
    to_space = modes[0] == "to"
    space = modes[1 if to_space else 0].split("::")[0]
    d, a = at.operands
    width = width_of(modes[-1])
    target, (unit,) = lowering.target(d, width, at), lowering.sources_of((a,), width, at)
    if space not in _WINDOWS:
        lowering.emit(at, f"mov_b{8 * width}", target, unit)
        return
    name = "from_generic" if to_space else "to_generic"
    lowering.emit(at, name, target, unit, width, width, _WINDOWS[space])


@lowers("isspacep")
def lower_space_test(lowering: Lowering, at: Instruction) -> None:
    """Whether a generic address lies in a space."""
    space = at.opcode.split(".")[1].split("::")[0]
    (unit,) = lowering.sources_of(at.operands[1:], 8, at)
    if space not in (*_WINDOWS, "global"):
        raise lowering.unknown(at)
    lowering.emit(at, "is_space", lowering.written_predicate(at.operands[0], at), unit, 0, 0, _WINDOWS.get(space, 0))


_WINDOWS = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW}
