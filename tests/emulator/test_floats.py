"""Instructions on floats of every width against NumPy, bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from one_instruction import TYPES, N, Run, run, same, values


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Rounded once: of the floats around a * b + c the one nearest to the exact value, the even one of two."""
    result = a * b + c
    for k in np.flatnonzero(np.isfinite(result) & np.isfinite(a) & np.isfinite(b)):
        exact = Fraction(float(a[k])) * Fraction(float(b[k])) + Fraction(float(c[k]))
        near = a.dtype.type(float(exact))
        around = [near, *(np.nextafter(near, near.dtype.type(end)) for end in (-np.inf, np.inf))]
        result[k] = min(around, key=lambda x: (abs(Fraction(float(x)) - exact), x.view(f"u{x.nbytes}") & 1))
    return result


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
    if name in ("rsqrt.approx", "rcp.approx.ftz"):
        wide = x.astype(np.float64)
        got, want = run(f"{name}.f64 %out, %a;", [("f64", wide)], "f64"), reference(wide)
        assert (np.abs(got - want) <= 2 * np.spacing(np.abs(want))).all()


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


SOURCES = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f64", "f32", "f16"]


@pytest.mark.parametrize(
    ("source", "to"), [(source, to) for source in SOURCES for to in ("f32", "f64", "f16") if source != to]
)
def test_to_float(source: str, to: str) -> None:
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


def test_half_functions() -> None:
    """Of one operand, and with .NaN: a NaN on either side."""
    x, y = values("f16", 0), values("f16", 1)
    inputs = [("f16", x), ("f16", y)]
    same(run("neg.f16 %out, %a;", inputs, "f16"), -x)
    same(run("abs.f16 %out, %a;", inputs, "f16"), np.abs(x))
    x, y = (np.where(v == 0, np.float16(1), v) for v in (x, y))
    inputs = [("f16", x), ("f16", y)]
    same(run("min.NaN.f16 %out, %a, %b;", inputs, "f16"), np.minimum(x, y))
    same(run("max.NaN.f16 %out, %a, %b;", inputs, "f16"), np.maximum(x, y))
    small = np.random.default_rng(0).uniform(-3, 3, N).astype(np.float16)
    for name, f in (("ex2", np.exp2), ("tanh", np.tanh)):
        same(
            run(f"{name}.approx.f16 %out, %a;", [("f16", small)], "f16"), f(small.astype(np.float64)).astype(np.float16)
        )
    a, b = small.astype(np.float64), small[::-1].astype(np.float64)
    got = run("fma.rn.relu.f16 %out, %a, %b, %a;", [("f16", small), ("f16", small[::-1])], "f16")
    same(got, np.maximum(fma(a, b, a), 0).astype(np.float16))
