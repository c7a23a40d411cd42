"""Moves, and conversions between number formats and kinds of addresses."""

from __future__ import annotations

from convc.emulator.frame import LOCAL_WINDOW, SHARED_WINDOW
from convc.emulator.lowering import ROUNDINGS, Lowering, flags_of, lowers, width_of
from convc.emulator.ptx import SIZES, Instruction

# As in engine/numbers.h.
NUMBERS = {
    name: number
    for number, name in enumerate(
        ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f16", "bf16", "f32", "f64", "tf32")
    )
}


@lowers("mov")
def lower_move(lowering: Lowering, at: Instruction) -> None:
    """Copies a value, the address of a variable, or the parts of a register."""
    kind = at.opcode.split(".")[-1]
    d, a = at.operands
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
