"""Branches, barriers, and what the lanes of a warp do together."""

from __future__ import annotations

from convc.emulator.conversion import NUMBERS
from convc.emulator.data_movement import GENERIC
from convc.emulator.lowering import Lowering, lowers
from convc.emulator.ptx import SIZES, Instruction

# As in the engine.
_SHUFFLES = {"up": 0, "down": 1, "bfly": 2, "idx": 3}
_VOTES = {"all": 0, "any": 1, "uni": 2, "ballot": 3}
_REDUCTIONS = {"add": 0, "min": 1, "max": 2, "and": 3, "or": 4, "xor": 5}
_BARRIERS = {"sync": 0, "arrive": 1, "popc": 2, "and": 3, "or": 4}
_SHAPES = {
    ("m16n8k8", "tf32"): (8, 4, 2),
    ("m16n8k4", "tf32"): (4, 2, 1),
    **{("m16n8k16", kind): (16, 4, 2) for kind in ("f16", "bf16")},
    **{("m16n8k8", kind): (8, 2, 1) for kind in ("f16", "bf16")},
}
"""Of each matrix product: its depth and the registers of A and B."""


@lowers("bra")
def lower_branch(lowering: Lowering, at: Instruction) -> None:
    """Goes on at the label."""
    lowering.branch(at, "bra", at.operands[0])


@lowers("brx")
def lower_table_branch(lowering: Lowering, at: Instruction) -> None:
    """Goes on at a label of a table."""
    index, table = at.operands
    labels = lowering.kernel.tables[table]
    lowering.emit(at, "brx", *lowering.sources_of((index,), 4, at), len(labels))
    for label in labels:
        lowering.branch(at, "nop", label, guarded=False)


@lowers("ret", "exit")
def lower_exit(lowering: Lowering, at: Instruction) -> None:
    """The thread is done."""
    lowering.emit(at, "exit")


@lowers("trap")
def lower_trap(lowering: Lowering, at: Instruction) -> None:
    """The launch fails."""
    lowering.emit(at, "trap")


@lowers("bar", "barrier")
def lower_barrier(lowering: Lowering, at: Instruction) -> None:
    """Waits for the threads of the block, or of the warp."""
    _, *modes = at.opcode.split(".")
    modes = [mode for mode in modes if mode not in ("cta", "aligned")]
    if modes == ["warp", "sync"]:
        lowering.emit(at, "warp_sync", *lowering.sources_of(at.operands, 4, at))
        return
    operands = list(at.operands)
    kind = modes[1] if modes[0] == "red" else modes[0]
    result, vote = 0, 0
    if modes[0] == "red":
        result = lowering.target(operands[0], 4, at) if kind == "popc" else lowering.written_predicate(operands[0], at)
        vote = lowering.predicate(operands[-1], at)
        operands = operands[1:-1]
    number, *count = lowering.sources_of(tuple(operands), 4, at)
    lowering.emit(at, "barrier", number, *(count or [-1]), _BARRIERS[kind], result, vote)


@lowers("shfl")
def lower_shuffle(lowering: Lowering, at: Instruction) -> None:
    """A value from another lane."""
    _, sync, how, _ = at.opcode.split(".")
    if sync != "sync":
        raise lowering.unknown(at)
    d, _, p = at.operands[0].partition("|")
    value, lane, clamp, members = lowering.sources_of(at.operands[1:], 4, at)
    lowering.emit(
        at, "shfl", lowering.target(d, 4, at), value, lane, clamp, _SHUFFLES[how],
        lowering.written_predicate(p or "_", at), members,
    )  # fmt: skip


@lowers("vote")
def lower_vote(lowering: Lowering, at: Instruction) -> None:
    """Whether all or any lanes say yes, or which."""
    _, sync, how, _ = at.opcode.split(".")
    if sync != "sync":
        raise lowering.unknown(at)
    d, vote, members = at.operands
    target = lowering.target(d, 4, at) if how == "ballot" else lowering.written_predicate(d, at)
    (mask,) = lowering.sources_of((members,), 4, at)
    lowering.emit(at, "vote", target, lowering.predicate(vote, at), 0, _VOTES[how], 0, 0, mask)


@lowers("match")
def lower_match(lowering: Lowering, at: Instruction) -> None:
    """The lanes that hold the same value."""
    _, how, _, kind = at.opcode.split(".")
    d, _, p = at.operands[0].partition("|")
    (value,) = lowering.sources_of(at.operands[1:2], SIZES[kind], at)
    (mask,) = lowering.sources_of(at.operands[2:], 4, at)
    lowering.emit(
        at, "match", lowering.target(d, 4, at), value, 0, SIZES[kind], int(how == "all"),
        lowering.written_predicate(p or "_", at), mask,
    )  # fmt: skip


@lowers("redux")
def lower_reduction(lowering: Lowering, at: Instruction) -> None:
    """A sum, or the like, over the lanes."""
    _, _, how, kind = at.opcode.split(".")
    value, mask = lowering.sources_of(at.operands[1:], 4, at)
    number = NUMBERS[kind.replace("b", "u")]
    if kind == "f32":
        raise lowering.unknown(at)
    lowering.emit(at, "redux", lowering.target(at.operands[0], 4, at), value, 0, _REDUCTIONS[how], number, 0, mask)


@lowers("activemask")
def lower_active(lowering: Lowering, at: Instruction) -> None:
    """The lanes that run together."""
    lowering.emit(at, "activemask", lowering.target(at.operands[0], 4, at))


def _registers(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.strip("{}").split(","))


@lowers("ldmatrix")
def lower_load_matrix(lowering: Lowering, at: Instruction) -> None:
    """8x8 matrices of 16-bit numbers from shared memory, spread over the lanes for mma."""
    _, *modes = at.opcode.split(".")
    if "m8n8" not in modes or modes[-1] != "b16":
        raise lowering.unknown(at)
    space = 1 if any(mode.split("::")[0] == "shared" for mode in modes) else GENERIC
    targets = [lowering.target(name, 4, at) for name in _registers(at.operands[0])]
    padding = [-1] * (4 - len(targets))
    lowering.emit(
        at, "ldmatrix", *targets, *padding, *lowering.address(at.operands[1], at), space, len(targets),
        int("trans" in modes), counted=True,
    )  # fmt: skip


@lowers("mma")
def lower_matrix_product(lowering: Lowering, at: Instruction) -> None:
    """D = A * B + C, a tile of each spread over the lanes."""
    _, *modes = at.opcode.split(".")
    shape, (result, left, right, added) = modes[2], modes[-4:]
    if (shape, left) not in _SHAPES or left != right or added != result or modes[3:5] != ["row", "col"]:
        raise lowering.unknown(at)
    depth, n_left, n_right = _SHAPES[shape, left]
    d, a, b, c = (_registers(text) for text in at.operands)
    n = 2 if result == "f16" else 4
    if [len(part) for part in (d, a, b, c)] != [n, n_left, n_right, n] or result not in ("f16", "f32"):
        raise lowering.unknown(at)

    def padded(units: list[int], size: int) -> list[int]:
        return units + units[-1:] * (size - len(units))

    lowering.emit(
        at, "mma", *padded([lowering.target(name, 4, at) for name in d], 4),
        *padded(lowering.sources_of(a, 4, at), 4), *padded(lowering.sources_of(b, 4, at), 2),
        *padded(lowering.sources_of(c, 4, at), 4), NUMBERS[left], depth + 256 * (n == 2),
    )  # fmt: skip
