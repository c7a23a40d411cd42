"""Comparison and selection."""

from __future__ import annotations

from convc.emulator.conversion import NUMBERS
from convc.emulator.lowering import HALVES, LOGIC, Lowering, flags_of, lane_type, lowers, width_of
from convc.emulator.ptx import Instruction

# As in engine/engine.c.
_COMPARISONS = {
    **{"eq": 2, "ne": 5, "lt": 1, "le": 3, "gt": 4, "ge": 6, "lo": 1, "ls": 3, "hi": 4, "hs": 6},
    **{"equ": 10, "neu": 13, "ltu": 9, "leu": 11, "gtu": 12, "geu": 14, "num": 7, "nan": 8},
}
_TESTS = {"finite": 0, "infinite": 1, "number": 2, "notanumber": 3, "normal": 4, "subnormal": 5}


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
    logic = next((LOGIC[mode] for mode in modes if mode in LOGIC), 0)
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
    logic = next((LOGIC[mode] for mode in modes if mode in LOGIC), 0)
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
    lowering.emit(at, f"selp_{lane_type(kind)}", lowering.target(d, width, at), *sources, lowering.predicate(p, at))


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
    lowering.emit(at, f"selp_{lane_type(kind)}", lowering.target(d, width, at), *sources, p + 1)
