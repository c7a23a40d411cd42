"""Integer instructions against NumPy and Python's own integers, on random numbers and the ones that go wrong most."""

from __future__ import annotations

import numpy as np
import pytest
from one_instruction import TYPES, N, Run, per_lane, run, same, trunc_div, values, wrap


def funnel(low: int, high: int, by: int, direction: str) -> int:
    both = high << 32 | low
    return both << by >> 32 if direction == "l" else both >> by


def shift_to_top(a: int) -> int:
    bits = a if a >= 0 else ~a
    return 32 - bits.bit_length() if bits else -1


def byte_of(word: int, selector: int) -> int:
    byte = word >> 8 * (selector & 7) & 255
    return 255 * (byte >> 7) if selector & 8 else byte


def dot(a: int, b: int, kind: str, count: int, first: int) -> int:
    def part(word: int, at: int, bits: int) -> int:
        field = word >> at & (1 << bits) - 1
        return field - (1 << bits) if kind == "s32" and field >> bits - 1 else field

    bits = 32 // count
    return sum(part(a, bits * k, bits) * part(b, 8 * (first + k), 8) for k in range(count))


INTEGERS = [
    *((f"{op}.{t}", f, (t, t), t) for t in ("u32", "s32", "u64", "s64", "u16", "s16") for op, f in (
        ("add", lambda a, b: a + b), ("sub", lambda a, b: a - b), ("mul.lo", lambda a, b: a * b),
        ("min", np.minimum), ("max", np.maximum), ("div", trunc_div))),
    *((f"{op}.b{b}", f, (f"u{b}", f"u{b}"), f"u{b}") for b in (16, 32, 64) for op, f in (
        ("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor))),
    *((f"not.b{b}", np.invert, (f"u{b}",), f"u{b}") for b in (16, 32, 64)),
    *((f"neg.s{b}", np.negative, (f"s{b}",), f"s{b}") for b in (16, 32, 64)),
    *((f"abs.s{b}", np.abs, (f"s{b}",), f"s{b}") for b in (16, 32, 64)),
    *((f"cnot.b{b}", lambda a: a == 0, (f"u{b}",), f"u{b}") for b in (32, 64)),
    *((f"rem.{t}", lambda a, b: a - trunc_div(a, b) * b, (t, t), t)
      for t in ("u16", "s16", "u32", "s32", "u64", "s64")),
    *((f"mul.hi.{t}", per_lane(lambda a, b, n=n: a * b >> n), (t, t), t)
      for t, n in (("u16", 16), ("s16", 16), ("u32", 32), ("s32", 32), ("u64", 64), ("s64", 64))),
    *((f"mul.wide.{t}", per_lane(lambda a, b: a * b), (t, t), w)
      for t, w in (("u16", "u32"), ("s16", "s32"), ("u32", "u64"), ("s32", "s64"))),
    *((f"mad.lo.{t}", lambda a, b, c: a * b + c, (t, t, t), t) for t in ("u32", "s32", "u64", "u16")),
    *((f"mad.hi.{t}", per_lane(lambda a, b, c, n=n: (a * b >> n) + c), (t, t, t), t)
      for t, n in (("u32", 32), ("s32", 32))),
    *((f"mad.wide.{t}", per_lane(lambda a, b, c: a * b + c), (t, t, w), w)
      for t, w in (("u32", "u64"), ("s32", "s64"), ("u16", "u32"))),
    *((f"sad.{t}", per_lane(lambda a, b, c: abs(a - b) + c), (t, t, t), t) for t in ("u32", "s32")),
    *((f"shl.b{b}", per_lane(lambda a, n, b=b: a << n if n < b else 0), (f"u{b}", "u32"), f"u{b}")
      for b in (16, 32, 64)),
    *((f"shr.{t}", per_lane(lambda a, n: a >> min(n, 64)), (t, "u32"), t)
      for t in ("u16", "s16", "u32", "s32", "u64", "s64")),
    *((f"shf.{d}.{m}.b32", per_lane(lambda a, b, c, d=d, m=m: funnel(a, b, c % 32 if m == "wrap" else min(c, 32), d)),
       ("u32",) * 3, "u32") for d in "lr" for m in ("wrap", "clamp")),
    *((f"popc.b{b}", per_lane(lambda a: a.bit_count()), (f"u{b}",), "u32") for b in (32, 64)),
    *((f"clz.b{b}", per_lane(lambda a, b=b: b - a.bit_length()), (f"u{b}",), "u32") for b in (32, 64)),
    *((f"brev.b{b}", per_lane(lambda a, b=b: int(f"{a:0{b}b}"[::-1], 2)), (f"u{b}",), f"u{b}") for b in (32, 64)),
    *((f"bfind.u{b}", per_lane(lambda a: a.bit_length() - 1), (f"u{b}",), "u32") for b in (32, 64)),
    *((f"bfind.s{b}", per_lane(lambda a: (a if a >= 0 else ~a).bit_length() - 1), (f"s{b}",), "u32") for b in (32, 64)),
    *((f"bfind.shiftamt.{t}", per_lane(shift_to_top), (t,), "u32") for t in ("u32", "s32")),
    *((f"dp2a.{half}.{t}.{t}", per_lane(lambda a, b, c, h=half, t=t: c + dot(a, b, t, 2, 2 * (h == "hi"))), (t,) * 3, t)
      for half in ("lo", "hi") for t in ("u32", "s32")),
    *((f"dp4a.{t}.{t}", per_lane(lambda a, b, c, t=t: c + dot(a, b, t, 4, 0)), (t,) * 3, t) for t in ("u32", "s32")),
    ("lop3.b32", lambda a, b, c: (a & b) ^ ~c, ("u32",) * 3, "u32"),
    ("prmt.b32", per_lane(lambda a, b, c: sum(byte_of(b << 32 | a, c >> 4 * k) << 8 * k for k in range(4))),
     ("u32",) * 3, "u32"),
    *((f"mul24.lo.{t}", per_lane(lambda a, b, f=f: f(a) * f(b)), (t, t), t) for t, f in (
        ("u32", lambda x: x & 0xFFFFFF), ("s32", lambda x: (x + (1 << 23) & 0xFFFFFF) - (1 << 23)))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reference", "kinds", "result"), INTEGERS, ids=[case[0] for case in INTEGERS])
def test_integers(name: str, reference: Run, kinds: tuple[str, ...], result: str) -> None:
    inputs = [(kind, values(kind, seed)) for seed, kind in enumerate(kinds)]
    if name.startswith(("div", "rem")):
        # By zero, and the least number by -1, PTX leaves open.
        b = inputs[1][1]
        inputs[1] = (kinds[1], np.where((b == 0) | (b.astype(np.int64) == -1), b.dtype.type(3), b))
    if name.startswith(("shl", "shr", "shf")):
        inputs[-1] = ("u32", np.random.default_rng(9).integers(0, 70, N).astype(np.uint32))
    operands = ", ".join(f"%{chr(97 + k)}" for k in range(len(kinds)))
    table = ", " + str(0xF0 & 0xCC ^ 0xFF & ~0xAA) if name.startswith("lop3") else ""
    got = run(f"{name} %out, {operands}{table};", inputs, result)
    with np.errstate(all="ignore"):
        want = reference(*(array for _, array in inputs))
    bits = 8 * TYPES[result].itemsize
    same(got.view(f"u{bits // 8}"), wrap(want, bits).astype(f"u{bits // 8}"))


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bit_fields(kind: str) -> None:
    """bfe extends with the field's top bit; bfi leaves the other bits."""
    bits = 8 * TYPES[kind].itemsize
    rng = np.random.default_rng(3)
    at, length = (rng.integers(0, bits - 1, N).astype(np.uint32), rng.integers(0, bits + 4, N).astype(np.uint32))
    x, y = values(f"u{bits}", 1), values(f"u{bits}", 2)
    got = run(f"bfe.{kind} %out, %a, %b, %c;", [(f"u{bits}", x), ("u32", at), ("u32", length)], f"u{bits}")

    def field(a: int, start: int, n: int) -> int:
        if not n:
            return 0
        top = min(start + n - 1, bits - 1)
        value = (a >> start) & ((1 << top - start + 1) - 1)
        return value - (1 << top - start + 1) if kind[0] == "s" and a >> top & 1 else value

    same(got, wrap(per_lane(field)(x, at, length), bits))
    inputs = [(f"u{bits}", x), (f"u{bits}", y), ("u32", at), ("u32", length)]
    got = run(f"bfi.b{bits} %out, %a, %b, %c, %d;", inputs, f"u{bits}")
    ones = [((1 << int(n)) - 1) << int(s) for s, n in zip(at, length)]
    want = [(int(b) & ~m) | (int(a) << int(s) & m) for a, b, s, m in zip(x, y, at, ones)]
    same(got, wrap(np.array(want, dtype=object), bits))


def test_carries() -> None:
    """128-bit sums and products, in words of 32 and 64 bits."""
    a, b, c, d = (values("u64", seed) for seed in range(4))
    inputs = [("u64", x) for x in (a, b, c, d)]
    full = [(int(w) << 64 | int(x)) + (int(z) << 64 | int(y)) for x, y, w, z in zip(a, b, c, d)]
    got = run(".reg .b64 %t; add.cc.u64 %t, %a, %b; addc.u64 %out, %c, %d;", inputs, "u64")
    same(got, wrap(np.array([x >> 64 for x in full], dtype=object), 64))
    full = [(int(w) << 64 | int(x)) - (int(z) << 64 | int(y)) for x, y, w, z in zip(a, b, c, d)]
    got = run(".reg .b64 %t; sub.cc.u64 %t, %a, %b; subc.u64 %out, %c, %d;", inputs, "u64")
    same(got, wrap(np.array([x >> 64 for x in full], dtype=object), 64))
    x, y, z = (values("u32", seed) for seed in range(3))
    words = [("u32", v) for v in (x, y, z)]
    full = [int(p) * int(q) + int(r) for p, q, r in zip(x, y, z)]
    got = run(".reg .b32 %t; mad.lo.cc.u32 %t, %a, %b, %c; madc.hi.u32 %out, %a, %b, 0;", words, "u32")
    same(got, wrap(np.array([v >> 32 for v in full], dtype=object), 32))


@pytest.mark.parametrize("to", ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("source", ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"])
def test_integer_conversions(to: str, source: str) -> None:
    """The low bits, or clamped with .sat."""
    x = values(source, 0)
    same(run(f"cvt.{to}.{source} %out, %a;", [(source, x)], to), x.astype(TYPES[to]))
    info, given = np.iinfo(TYPES[to]), np.iinfo(TYPES[source])
    if info.min <= given.min and given.max <= info.max:
        return  # PTX has no .sat where nothing can be too large
    want = [min(max(int(v), info.min), info.max) for v in x]
    same(run(f"cvt.sat.{to}.{source} %out, %a;", [(source, x)], to), np.array(want, TYPES[to]))
