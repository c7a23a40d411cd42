"""Comparisons, moves, and what lanes do together; instructions that are not known."""

from __future__ import annotations

import numpy as np
import pytest
from one_instruction import N, Run, run, same, values

from convc.emulator.lowering import opcodes
from convc.errors import EmulatorError

COMPARISONS = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: (a != b) & ~unordered(a, b), "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "equ": lambda a, b: (a == b) | unordered(a, b), "neu": lambda a, b: a != b,
    "ltu": lambda a, b: (a < b) | unordered(a, b), "leu": lambda a, b: (a <= b) | unordered(a, b),
    "gtu": lambda a, b: (a > b) | unordered(a, b), "geu": lambda a, b: (a >= b) | unordered(a, b),
    "num": lambda a, b: ~unordered(a, b), "nan": lambda a, b: unordered(a, b),
}  # fmt: skip


def unordered(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.isnan(a) | np.isnan(b) if a.dtype.kind == "f" else np.zeros(a.shape, bool)


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "f16"])
def test_comparisons(kind: str) -> None:
    a, b = values(kind, 0), values(kind, 1)
    b[::3] = a[::3]
    names = list(COMPARISONS) if kind[0] == "f" else ["eq", "ne", "lt", "le", "gt", "ge"]
    for name in names:
        got = run(f"setp.{name}.{kind} %pout, %a, %b;", [(kind, a), (kind, b)], "pred")
        assert (got == COMPARISONS[name](a, b)).all(), name


def test_predicates() -> None:
    """setp with a third predicate and with a complement; logic, selp, slct and set."""
    a, b, c = (values("s32", seed) for seed in range(3))
    inputs = [("s32", x) for x in (a, b, c)]
    third = "setp.gt.s32 %p1, %c, 0;"
    for name, how in (("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor)):
        got = run(f"{third} setp.lt.{name}.s32 %pout|%p2, %a, %b, !%p1;", inputs, "pred")
        assert (got == how(a < b, c <= 0)).all()
        got = run(f"{third} setp.lt.{name}.s32 %p2|%pout, %a, %b, %p1;", inputs, "pred")
        assert (got == how(a >= b, c > 0)).all()
        got = run(f"{third} setp.lt.s32 %p2, %a, %b; {name}.pred %pout, %p2, %p1;", inputs, "pred")
        assert (got == how(a < b, c > 0)).all()
    assert (run(f"{third} not.pred %pout, %p1;", inputs, "pred") == (c <= 0)).all()
    assert (run(f"{third} mov.pred %pout, %p1;", inputs, "pred") == (c > 0)).all()
    same(run(f"{third} selp.b32 %out, %a, 7, %p1;", inputs, "s32"), np.where(c > 0, a, 7))
    wide = values("u64", 4)
    got = run("setp.gt.u64 %p1, %a, 99; selp.b64 %out, %a, -7, !%p1;", [("u64", wide)], "u64")
    same(got, np.where(wide > 99, np.uint64(2**64 - 7), wide))
    same(run("slct.s32.s32 %out, %a, %b, %c;", inputs, "s32"), np.where(c >= 0, a, b))
    same(run("set.le.u32.s32 %out, %a, %b;", inputs, "u32"), np.where(a <= b, 0xFFFFFFFF, 0))
    same(run("set.le.f32.s32 %out, %a, %b;", inputs, "f32"), np.where(a <= b, 1.0, 0.0))
    x = values("f32", 1)
    for name, test in (("finite", np.isfinite), ("infinite", np.isinf), ("notanumber", np.isnan)):
        assert (run(f"testp.{name}.f32 %pout, %a;", [("f32", x)], "pred") == test(x)).all()
        assert (run(f"testp.{name}.f64 %pout, %a;", [("f64", x.astype(np.float64))], "pred") == test(x)).all()


def test_moves() -> None:
    """Packing and unpacking, immediates, addresses of variables."""
    a, b = values("u32", 0), values("u32", 1)
    inputs = [("u32", a), ("u32", b)]
    both = a.astype(np.uint64) | b.astype(np.uint64) << 32
    same(run("mov.b64 %out, {%a, %b};", inputs, "u64"), both)
    same(run("mov.b64 {_, %out}, %a;", [("u64", both)], "u32"), b)
    same(run(".reg .b16 %l, %h; mov.b32 {%l, %h}, %a; mov.b32 %out, {%h, %l};", inputs, "u32"), a << 16 | a >> 16)
    same(run("mov.f32 %out, 0f3F800000;", inputs, "f32"), np.ones(N))
    same(run("mov.f64 %out, 0d3FF8000000000000;", inputs, "f64"), np.full(N, 1.5))
    same(run("mov.u32 %out, -5;", inputs, "u32"), np.full(N, 2**32 - 5))
    same(run(".reg .pred q; setp.lt.u32 q, %a, %b; { .reg .pred q; setp.ge.u32 q, %a, %b; } selp.u32 %out, 1, 2, q;",
             inputs, "u32"), np.where(a < b, 1, 2))  # fmt: skip


def test_special_registers() -> None:
    tid = np.arange(N)
    for name, want in (
        ("%tid.x", tid), ("%ntid.x", np.full(N, N)), ("%ctaid.x", 0 * tid), ("%nctaid.y", 0 * tid + 1),
        ("%laneid", tid % 32), ("%lanemask_lt", (1 << tid % 32) - 1), ("%warpid", tid // 32), ("%clock", 0 * tid),
    ):  # fmt: skip
        same(run(f"mov.u32 %out, {name};", [], "u32"), want)


@pytest.mark.parametrize(
    ("how", "source"),
    [
        ("up.b32 %out|%pout, %a, 3, 0", lambda t: np.where(t % 32 >= 3, t - 3, t)),
        ("down.b32 %out, %a, 5, 31", lambda t: np.where(t % 32 + 5 < 32, t + 5, t)),
        ("bfly.b32 %out, %a, 9, 31", lambda t: t ^ 9),
        ("idx.b32 %out, %a, 4, 31", lambda t: t // 32 * 32 + 4),
        ("idx.b32 %out, %a, 2, 6175", lambda t: t // 8 * 8 + 2),  # segments of 8: clamp 31, mask 24
    ],
)
def test_shuffles(how: str, source: Run) -> None:
    a = values("u32", 0)
    same(run(f"shfl.sync.{how}, -1;", [("u32", a)], "u32"), a[source(np.arange(N))])


def test_votes() -> None:
    a = np.random.default_rng(0).integers(0, 5, N).astype(np.uint32)
    rows = a.reshape(-1, 32)
    less = "setp.lt.u32 %p1, %a, 2;"
    ballot = [sum(int(x < 2) << k for k, x in enumerate(row)) for row in rows for _ in row]
    same(run(f"{less} vote.sync.ballot.b32 %out, %p1, -1;", [("u32", a)], "u32"), np.array(ballot))
    for name, f in (("any", any), ("all", all)):
        for below in (2, 0, 9):
            code = f"setp.lt.u32 %p1, %a, {below}; vote.sync.{name}.pred %pout, %p1, -1;"
            want = [f(x < below for x in row) for row in rows for _ in row]
            assert (run(code, [("u32", a)], "pred") == want).all()
    match = [sum(int(x == y) << k for k, y in enumerate(row)) for row in rows for x in row]
    same(run("match.any.sync.b32 %out, %a, -1;", [("u32", a)], "u32"), np.array(match))
    for name, f in (("add", np.add), ("min", np.minimum), ("max", np.maximum)):
        same(run(f"redux.sync.{name}.u32 %out, %a, -1;", [("u32", a)], "u32"), np.repeat(f.reduce(rows, axis=1), 32))
    same(run("activemask.b32 %out;", [("u32", a)], "u32"), np.full(N, 0xFFFFFFFF))


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("tex.1d.v4.f32.s32 {%a, %a, %a, %a}, [%at, {%a}];", "tex"),
        ("wgmma.fence.sync.aligned;", "wgmma"),
        ("add.sat.s32 %out, %a, %a;", "add.sat.s32"),
        ("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%a}, {%a}, {%a}, {%a};", "mma"),
        ("cp.async.bulk.commit_group;", "cp.async.bulk"),
        ("vote.all.pred %p1, %p2;", "vote.all.pred"),
    ],
)
def test_unknown_instructions_are_errors_that_name_them(code: str, word: str) -> None:
    with pytest.raises(EmulatorError, match=rf"does not know the instruction `{word}.*PTX line \d+.*write the kernel"):
        run(code, [("u32", values("u32", 0))], "u32")


def test_every_opcode_has_one_name() -> None:
    assert len(opcodes()) > 150
    assert list(opcodes().values()) == list(range(len(opcodes())))
