"""Every family of instructions against NumPy, on random numbers and the ones that go wrong most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convc.emulator import Buffer, Module
from convc.emulator.lowering import opcodes
from convc.errors import EmulatorError

N = 96
TYPES = {
    **{f"{k}{b}": np.dtype(f"{n}{b}") for k, n in (("u", "uint"), ("s", "int")) for b in (8, 16, 32, 64)},
    **{"f32": np.dtype("float32"), "f64": np.dtype("float64"), "f16": np.dtype("float16"), "pred": np.dtype("uint32")},
}
EDGES = [0, 1, -1, 2, 31, 32, 33, 63, 64, 255, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0x7FFFFFFFFFFFFFFF]
FLOAT_EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-42, 3e38, 65504.0, 1e-7]

Run = Callable[..., Any]


def bytes_of(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def register(kind: str) -> str:
    return {"pred": "b32", "u8": "b16", "s8": "b16"}.get(kind, f"b{8 * TYPES[kind].itemsize}")


def run(code: str, inputs: list[tuple[str, np.ndarray]], result: str, declared: str = "") -> np.ndarray:
    """Runs code on %a, %b, ..., one element a thread; it leaves its result in %out (a predicate in %pout)."""
    names = [f"%{chr(ord('a') + k)}" for k in range(len(inputs))]
    params = ", ".join(f".param .u64 p{k}" for k in range(len(inputs) + 1))
    lines = ["mov.u32 %i, %tid.x;"]
    for k, ((kind, _), name) in enumerate(zip(inputs, names)):
        lines += [
            f".reg .{register(kind)} {name};",
            f"ld.param.u64 %at, [p{k}];",
            f"mad.wide.u32 %at, %i, {TYPES[kind].itemsize}, %at;",
            f"ld.global.{'u32' if kind == 'pred' else kind.replace('f16', 'b16')} {name}, [%at];",
        ]
    stored = {"pred": "u32"}.get(result, result.replace("f16", "b16"))
    text = f"""
.version 9.0
.target sm_90a
.address_size 64
.visible .entry k({params})
{{
  .reg .u64 %at; .reg .u32 %i; .reg .pred %p<9>; .reg .pred %pout; {declared}
  .reg .{register(result)} %out;
  {chr(10).join(lines)}
  {code}
  {"selp.u32 %out, 1, 0, %pout;" if result == "pred" else ""}
  ld.param.u64 %at, [p{len(inputs)}];
  mad.wide.u32 %at, %i, {TYPES[result].itemsize}, %at;
  st.global.{stored} [%at], %out;
  ret;
}}"""
    out = np.zeros(N, TYPES[result])
    buffers = [Buffer(n, bytes_of(np.ascontiguousarray(a))) for n, (_, a) in zip(names, inputs)]
    found = Module(text)["k"].launch((1, 1, 1), (N, 1, 1), [*buffers, Buffer("out", bytes_of(out))])
    assert not found.reports, found.reports[0]
    return out


def values(kind: str, seed: int) -> np.ndarray:
    """Random numbers and the edges, in an order of its own for each seed."""
    rng = np.random.default_rng(seed)
    dtype = TYPES[kind]
    if dtype.kind == "f":
        with np.errstate(over="ignore", under="ignore"):
            x = (rng.standard_normal(N) * 10.0 ** rng.integers(-3, 4, N)).astype(dtype)
            x[: len(FLOAT_EDGES)] = np.array(FLOAT_EDGES).astype(dtype)
    else:
        x = rng.integers(0, 1 << 63, N, dtype=np.uint64).astype(dtype)
        x[: len(EDGES)] = [edge & ((1 << 8 * dtype.itemsize) - 1) for edge in EDGES] if dtype.kind == "u" else [
            ((edge + (h := 1 << 8 * dtype.itemsize - 1)) & (2 * h - 1)) - h for edge in EDGES
        ]  # fmt: skip
    return rng.permutation(x)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """Equal bit for bit, but for the payload of NaNs."""
    want = np.asarray(want).astype(got.dtype)
    if got.dtype.kind == "f":
        nan = np.isnan(want)
        assert (np.isnan(got) == nan).all(), (got[np.isnan(got) != nan], want[np.isnan(got) != nan])
        got, want = got[~nan], want[~nan]
    wrong = bytes_of(got).reshape(-1, got.itemsize) != bytes_of(np.ascontiguousarray(want)).reshape(-1, got.itemsize)
    assert not wrong.any(), (got[wrong.any(1)][:4], want[wrong.any(1)][:4])


def trunc_div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        q = np.floor_divide(a, b)
        return q + ((q * b != a) & ((a < 0) != (b < 0)))


def per_lane(function: Callable[..., int]) -> Callable[..., np.ndarray]:
    return lambda *xs: np.array([function(*map(int, x)) for x in zip(*xs)], dtype=object)


def wrap(x: np.ndarray, bits: int) -> np.ndarray:
    return np.array([int(v) & ((1 << bits) - 1) for v in x], np.uint64)


def funnel(low: int, high: int, by: int, direction: str) -> int:
    both = high << 32 | low
    return both << by >> 32 if direction == "l" else both >> by


def byte_of(word: int, selector: int) -> int:
    byte = word >> 8 * (selector & 7) & 255
    return 255 * (byte >> 7) if selector & 8 else byte


INTEGERS = [
    *((f"{op}.{t}", f, (t, t), t) for t in ("u32", "s32", "u64", "s64", "u16", "s16") for op, f in (
        ("add", lambda a, b: a + b), ("sub", lambda a, b: a - b), ("mul.lo", lambda a, b: a * b),
        ("min", np.minimum), ("max", np.maximum), ("div", trunc_div))),
    *((f"{op}.b{b}", f, (f"u{b}", f"u{b}"), f"u{b}") for b in (16, 32, 64) for op, f in (
        ("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor))),
    *((f"not.b{b}", np.invert, (f"u{b}",), f"u{b}") for b in (16, 32, 64)),
    *((f"neg.s{b}", np.negative, (f"s{b}",), f"s{b}") for b in (16, 32, 64)),
    *((f"abs.s{b}", np.abs, (f"s{b}",), f"s{b}") for b in (32, 64)),
    *((f"rem.{t}", lambda a, b: a - trunc_div(a, b) * b, (t, t), t) for t in ("u32", "s32", "u64", "s64")),
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
    ("bfind.shiftamt.u32", per_lane(lambda a: 32 - a.bit_length() if a else -1), ("u32",), "u32"),
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


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Rounded once: in long double the product of two floats is exact, and its sum nearly."""
    return (a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)).astype(a.dtype)


def flush(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < np.float32(2) ** -126, np.copysign(np.float32(0), x), x)


def pick(smaller: bool) -> Run:
    def choose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        chosen = (np.fmin if smaller else np.fmax)(a, b)
        zeros = (a == 0) & (b == 0)
        sign = (np.signbit(a) | np.signbit(b)) if smaller else (np.signbit(a) & np.signbit(b))
        return np.where(zeros, np.where(sign, -0.0, 0.0), chosen)

    return choose


FLOATS = [
    *((f"{op}{r}.{t}", f, (t,) * n, t) for t in ("f32", "f64") for op, f, n, r in (
        ("add", np.add, 2, ".rn"), ("sub", np.subtract, 2, ""), ("mul", np.multiply, 2, ".rn"), ("fma.rn", fma, 3, ""),
        ("div.rn", np.divide, 2, ""), ("rcp.rn", np.reciprocal, 1, ""), ("sqrt.rn", np.sqrt, 1, ""),
        ("min", pick(True), 2, ""), ("max", pick(False), 2, ""), ("abs", np.abs, 1, ""), ("neg", np.negative, 1, ""),
        ("copysign", lambda a, b: np.copysign(b, a), 2, ""))),
    ("min.NaN.f32", np.minimum, ("f32", "f32"), "f32"),
    ("max.NaN.f32", np.maximum, ("f32", "f32"), "f32"),
    ("add.ftz.f32", lambda a, b: flush(flush(a) + flush(b)), ("f32", "f32"), "f32"),
    ("mul.sat.f32", lambda a, b: np.where(a * b > 0, np.minimum(a * b, 1), 0), ("f32", "f32"), "f32"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reference", "kinds", "result"), FLOATS, ids=[case[0] for case in FLOATS])
def test_floats(name: str, reference: Run, kinds: tuple[str, ...], result: str) -> None:
    inputs = [(kind, values(kind, seed)) for seed, kind in enumerate(kinds)]
    if name.startswith(("min.NaN", "max.NaN")):
        inputs = [(kind, np.where(x == 0, np.float32(1), x)) for kind, x in inputs]
    operands = ", ".join(f"%{chr(97 + k)}" for k in range(len(kinds)))
    got = run(f"{name} %out, {operands};", inputs, result)
    with np.errstate(all="ignore"):
        same(got, reference(*(array for _, array in inputs)))


@pytest.mark.parametrize(("mode", "up"), [("rz", None), ("rm", False), ("rp", True)])
@pytest.mark.parametrize("op", ["add", "mul", "div", "fma", "sqrt"])
def test_rounding_modes(op: str, mode: str, up: bool | None) -> None:
    """The double result brackets the exact one closely enough to say which float lies below it, which above."""
    rng = np.random.default_rng(5)
    xs = [rng.uniform(0.5, 2, N).astype(np.float32) * rng.choice([-1, 1], N).astype(np.float32) for _ in range(3)]
    if op == "sqrt":
        xs = [np.abs(xs[0])]
    xs = xs[: {"sqrt": 1, "fma": 3}.get(op, 2)]
    a, b, c = ([x.astype(np.longdouble) for x in xs] * 3)[:3]
    exact = {"add": a + b, "mul": a * b, "div": a / b, "fma": a * b + c, "sqrt": np.sqrt(np.abs(a))}[op]
    near = exact.astype(np.float32)
    low = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
    high = np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)
    want = high if up else low
    if up is None:
        want = np.where(exact > 0, low, high)
    operands = ", ".join(f"%{chr(97 + k)}" for k in range(len(xs)))
    same(run(f"{op}.{mode}.f32 %out, {operands};", [("f32", x) for x in xs], "f32"), want)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("ex2.approx.ftz", np.exp2), ("lg2.approx", np.log2), ("sin.approx", np.sin), ("cos.approx", np.cos),
        ("tanh.approx", np.tanh), ("rsqrt.approx", lambda x: 1 / np.sqrt(x)), ("sqrt.approx.ftz", np.sqrt),
        ("rcp.approx.ftz", lambda x: 1 / x),
    ],
)  # fmt: skip
def test_approximations(name: str, reference: Run) -> None:
    """Within two units in the last place of f32, as C libraries have it."""
    x = np.random.default_rng(1).uniform(0.1, 30, N).astype(np.float32)
    got, want = run(f"{name}.f32 %out, %a;", [("f32", x)], "f32"), reference(x.astype(np.float64))
    assert (np.abs(got - want) <= 2 * np.spacing(np.abs(want).astype(np.float32))).all()


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
    same(run("slct.s32.s32 %out, %a, %b, %c;", inputs, "s32"), np.where(c >= 0, a, b))
    same(run("set.le.u32.s32 %out, %a, %b;", inputs, "u32"), np.where(a <= b, 0xFFFFFFFF, 0))
    same(run("set.le.f32.s32 %out, %a, %b;", inputs, "f32"), np.where(a <= b, 1.0, 0.0))
    x = values("f32", 1)
    for name, test in (("finite", np.isfinite), ("infinite", np.isinf), ("notanumber", np.isnan)):
        assert (run(f"testp.{name}.f32 %pout, %a;", [("f32", x)], "pred") == test(x)).all()


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


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("source", ["f32", "f64", "f16"])
@pytest.mark.parametrize(
    ("mode", "rounded"), [("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)]
)
def test_float_to_integer(kind: str, source: str, mode: str, rounded: Run) -> None:
    """Clamped to the range; NaN gives 0."""
    x = values(source, 0)
    info = np.iinfo(TYPES[kind])
    whole = [rounded(v) if np.isfinite(v) else v for v in x.astype(np.float64)]
    want = [0 if np.isnan(v) else info.min if v < info.min else info.max if v > info.max else int(v) for v in whole]
    same(run(f"cvt.{mode}.{kind}.{source} %out, %a;", [(source, x)], kind), np.array(want, TYPES[kind]))


@pytest.mark.parametrize("to", ["f32", "f64", "f16"])
@pytest.mark.parametrize("source", ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f64", "f32", "f16"])
def test_to_float(to: str, source: str) -> None:
    if to == source:
        return
    x = values(source, 0)
    mode = ".rn" if TYPES[source].kind != "f" or TYPES[to].itemsize < TYPES[source].itemsize else ""
    with np.errstate(over="ignore"):
        same(run(f"cvt{mode}.{to}.{source} %out, %a;", [(source, x)], to), x.astype(TYPES[to]))


@pytest.mark.parametrize(
    ("mode", "rounded"), [("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)]
)
def test_float_to_whole_float(mode: str, rounded: Run) -> None:
    x = values("f32", 0)
    same(run(f"cvt.{mode}.f32.f32 %out, %a;", [("f32", x)], "f32"), rounded(x))


def to_bfloat(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest bfloat16, ties to even; the bits, uint16."""
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(x), 0x7FFF, rounded).astype(np.uint16)


def from_bfloat(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_narrow_floats() -> None:
    """bf16, pairs of f16 and bf16, and tf32."""
    x, y = values("f32", 0), values("f32", 1)
    inputs = [("f32", x), ("f32", y)]
    same(run("cvt.rn.bf16.f32 %out, %a;", inputs, "u16"), to_bfloat(x))
    pairs = run("cvt.rn.bf16x2.f32 %out, %a, %b;", inputs, "u32")
    same(pairs, to_bfloat(x).astype(np.uint32) << 16 | to_bfloat(y))
    with np.errstate(over="ignore"):
        halves = x.astype(np.float16), y.astype(np.float16)
    pairs = run("cvt.rn.f16x2.f32 %out, %a, %b;", inputs, "u32")
    same((pairs >> 16).astype(np.uint16).view(np.float16), halves[0])
    same(pairs.astype(np.uint16).view(np.float16), halves[1])
    got = run("cvt.rna.tf32.f32 %out, %a;", inputs, "f32")
    kept = np.abs(x) >= 2.0**-126
    magnitude = (np.abs(x).view(np.uint32) + 0x1000) & 0xFFFFE000
    same(got[kept], np.copysign(magnitude.view(np.float32), x)[kept])
    same(run("cvt.f32.bf16 %out, %a;", [("u16", to_bfloat(x))], "f32"), from_bfloat(to_bfloat(x)))


@pytest.mark.parametrize(("op", "f"), [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("fma.rn", fma),
                                       ("min", np.fmin), ("max", np.fmax)])  # fmt: skip
def test_half_arithmetic(op: str, f: Run) -> None:
    """One and two to a register, f16 and bf16, rounded once."""
    n = 3 if op.startswith("fma") else 2
    operands = ", ".join(f"%{chr(97 + k)}" for k in range(n))
    rng = np.random.default_rng(7)
    xs = [rng.uniform(-4, 4, 2 * N).astype(np.float16) for _ in range(n)]
    with np.errstate(all="ignore"):
        want = f(*(x.astype(np.float64) for x in xs)).astype(np.float16)
        same(run(f"{op}.f16 %out, {operands};", [("f16", x[:N]) for x in xs], "f16"), want[:N])
        got = run(f"{op}.f16x2 %out, {operands};", [("u32", x.view(np.uint32)) for x in xs], "u32")
        same(got.view(np.float16), want)
    wide = [from_bfloat(to_bfloat(x.astype(np.float32))) for x in xs]
    exact = f(*(x.astype(np.float64) for x in wide))  # exact: products of 8 bits, sums within 53
    near = exact.astype(np.float32)  # then to f32 and to odd: a second rounding to nearest does no harm
    down = np.where(np.abs(near) > np.abs(exact), np.nextafter(near, np.float32(0)), near)
    odd = np.where(near != exact, (down.view(np.uint32) | 1).view(np.float32), near)
    got = run(f"{op}.bf16x2 %out, {operands};", [("u32", to_bfloat(x).view(np.uint32)) for x in wide], "u32")
    same(got.view(np.uint16), to_bfloat(odd))


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
