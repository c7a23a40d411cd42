"""NaN, infinities and the ends of the range; the vector functions' accuracy in units in the last place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc.testing.bounds import ULPS

Array = npt.NDArray[Any]
SIZE = 1 << 16
NAN, INF = np.nan, np.inf
SPECIAL = np.array(
    [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 88.7228, 88.73, 88.71, -87.33, -87.34, -104.0, 1e-38, 1e-45, -1e-45, 3.4e38,
     -3.4e38, 2.0**-126, 0.5, -0.5, 0.4999999, 9.0, -9.1, 20.0, -20.0, 1e-20, -1e-20, 0.70710677, 0.7071068, 1.4142135],
    np.float32,
)  # fmt: skip
EXACT = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
}
LEAST_NORMAL = 2.0**-126


def pointwise(expression: str, size: int) -> convc.Program:
    """A program that maps `expression` of $0[i] over f32[size]: in vectors where there is more than one."""
    return convc.compile(
        convc.parse_graph(f"""
        graph @g(%x: f32[{size}]) {{
          %0: f32[{size}] = loops(%x) {{ for(i:{size}) map() {{ store 0[i] = {expression} }} }}
          return %0
        }}""")
    )


def samples() -> Array:
    """Every 2^17th bit pattern, which is every sign and exponent, and the places where a formula changes."""
    bits = np.arange(0, 2**32, 2**17, dtype=np.uint64).astype(np.uint32)
    rng = np.random.default_rng(0)
    near = [
        rng.uniform(lo, hi, 2048).astype(np.float32)
        for lo, hi in ((-1, 1), (-90, 90), (0.5, 2), (-0.6, 0.6), (-10, 10), (88, 88.72))
    ]
    return np.resize(np.concatenate([bits.view(np.float32), SPECIAL, *near]), SIZE)


def ulps(found: Array, exact: Array) -> Array:
    """Errors in units in the last place of f32; a result below the least normal number may be lost."""
    unit = np.spacing(np.maximum(np.abs(exact), LEAST_NORMAL).astype(np.float32)).astype(np.float64)
    off = np.abs(found.astype(np.float64) - exact)
    return np.where(np.abs(exact) < LEAST_NORMAL, np.where(off <= LEAST_NORMAL, 0, off / unit), off / unit)


@pytest.mark.parametrize("lanes", [SIZE, 1], ids=["vector", "scalar"])
@pytest.mark.parametrize("fn", EXACT)
def test_accuracy(fn: str, lanes: int) -> None:
    """The units in the last place that `convc.testing.error_bound` counts on, over the whole range of f32."""
    program = pointwise(f"{fn}($0[i])", lanes)
    x = samples() if lanes > 1 else SPECIAL
    y = program(x) if lanes > 1 else np.concatenate([program(v.reshape(1)) for v in x])
    with np.errstate(all="ignore"):
        exact = EXACT[fn](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
    np.testing.assert_array_equal(y[np.isinf(rounded)], rounded[np.isinf(rounded)])
    finite = np.isfinite(rounded)
    errors = ulps(y[finite], exact[finite])
    at = int(errors.argmax())
    assert errors.max() <= ULPS[fn], f"{fn}({x[finite][at]!r}) = {y[finite][at]!r}, {errors.max():.2f} ulp off"
    np.testing.assert_array_equal(y[x == 0], rounded[x == 0])


@pytest.mark.parametrize("capacity", [8, 1])
def test_pointwise_operators_on_special_values(capacity: int) -> None:
    """relu(NaN) is NaN, the sigmoid saturates at 0 and 1, tanh at -1 and 1; in vectors and one by one."""
    count = len(SPECIAL)
    program = convc.compile(
        convc.parse_graph(f"""
        graph @g(%x: f32[n<={capacity},{count}]) {{
          %0: f32[n<={capacity},{count}] = relu(%x)
          %1: f32[n<={capacity},{count}] = sigmoid(%x)
          %2: f32[n<={capacity},{count}] = tanh(%x)
          %3: f32[n<={capacity},{count}] = leaky_relu(%x) {{slope=0.25}}
          return %0, %1, %2, %3
        }}""")
    )
    relu, sigmoid, tanh, leaky = program(np.tile(SPECIAL, (capacity, 1)))
    wide = SPECIAL.astype(np.float64)
    with np.errstate(all="ignore"):
        exact = [np.maximum(wide, 0), 1 / (1 + np.exp(-wide)), np.tanh(wide)]
    for row in range(capacity):
        np.testing.assert_array_equal(relu[row], exact[0].astype(np.float32))
        np.testing.assert_array_equal(leaky[row], np.where(wide > 0, wide, wide / 4).astype(np.float32))
        # exp of at most 2 ulp, then a sum and a quotient of half a unit each: below 2 * 2 + 2
        np.testing.assert_array_less(ulps(np.nan_to_num(sigmoid[row]), np.nan_to_num(exact[1])), 6)
        np.testing.assert_array_equal(np.isnan(sigmoid[row]), np.isnan(wide))
        np.testing.assert_array_less(ulps(np.nan_to_num(tanh[row]), np.nan_to_num(exact[2])), ULPS["tanh"] + 0.01)
        np.testing.assert_array_equal(np.isnan(tanh[row]), np.isnan(wide))


@pytest.mark.parametrize("capacity", [8, 2])
def test_a_nan_wins_its_window(capacity: int) -> None:
    program = convc.compile(
        convc.parse_graph(f"""
        graph @g(%x: f32[n<={capacity},1,4,4]) {{
          %0: f32[n<={capacity},1,2,2] = max_pool(%x)
          %1: f32[n<={capacity},1,2,2], %2: i32[n<={capacity},1,2,2] = max_pool(%x) {{indices=True}}
          return %0, %1, %2
        }}""")
    )
    x = np.full((capacity, 1, 4, 4), 1.0, np.float32)
    x[0, 0, 0, 1] = NAN  # the first window: one NaN, not in front
    x[0, 0, 0, 2:4] = NAN  # the second: two, the first wins
    x[0, 0, 2:, :2] = -INF  # the third: nothing greater
    x[0, 0, 3, 2] = INF  # the fourth
    plain, best, at = program(x)
    expected = np.array([[NAN, NAN], [-INF, INF]], np.float32)
    np.testing.assert_array_equal(plain[0, 0], expected)
    np.testing.assert_array_equal(best[0, 0], expected)
    np.testing.assert_array_equal(at[0, 0], [[1, 0], [0, 2]])
    np.testing.assert_array_equal(best[1:], 1.0)
    np.testing.assert_array_equal(at[1:], 0)


def test_a_nan_wins_uneven_windows_and_beyond_a_window_nothing_does() -> None:
    program = convc.compile(
        convc.parse_graph("""
        graph @g(%x: f32[n<=8,1,5,3]) {
          %0: f32[n<=8,1,3,2], %1: i32[n<=8,1,3,2] = adaptive_max_pool(%x) {output=[3, 2], indices=True}
          return %0, %1
        }""")
    )
    x = np.full((3, 1, 5, 3), -INF, np.float32)
    x[1, 0, 1, 1] = NAN  # in the first two windows of both sides
    best, at = program(x)
    np.testing.assert_array_equal(at[[0, 2]], np.tile(np.array([[0, 1], [3, 4], [9, 10]]), (2, 1, 1, 1)))
    np.testing.assert_array_equal(best[[0, 2]], -INF)
    np.testing.assert_array_equal(at[1, 0], [[4, 4], [4, 4], [9, 10]])
    np.testing.assert_array_equal(np.isnan(best[1, 0]), [[True, True], [True, True], [False, False]])


def test_padding_is_never_chosen() -> None:
    program = convc.compile(convc.parse_graph("""
        graph @g(%x: f32[n<=8,1,3,3]) {
          %0: f32[n<=8,1,3,3] = max_pool(%x) {kernel=[3, 3], stride=[1, 1], padding=[1, 1]}
          %1: f32[n<=8,1,3,3], %2: i32[n<=8,1,3,3] = max_pool(%x) {kernel=[3, 3], stride=[1, 1], padding=[1, 1], indices=True}
          return %0, %1, %2
        }"""))  # fmt: skip  # noqa: E501
    x = -np.ones((3, 1, 3, 3), np.float32) - np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1)
    x[2] = -INF
    for array in program(x)[:2]:
        np.testing.assert_array_equal(array, x)
    assert (program(x)[2][:2] >= 0).all()


def test_softmax_and_cross_entropy_of_large_logits_stay_finite() -> None:
    """exp(z - max): no exponent overflows, and logits far apart give 0 and 1."""
    program = convc.compile(
        convc.parse_graph("""
        graph @g(%z: f32[n<=8,3], %l: i32[n<=8]) {
          %0: f32[n<=8,3] = softmax(%z)
          %1: f32[n<=8] = cross_entropy(%z, %l)
          return %0, %1
        }""")
    )
    z = np.array([[1e4, -1e4, 0], [3e38, 3e38, 3e38], [-3e38, -3e38, -3e38], [0, 0, NAN]], np.float32)
    y, loss = program(z, np.array([0, 1, 2, 0]))
    np.testing.assert_array_equal(y[0], [1, 0, 0])
    np.testing.assert_allclose(y[1:3], 1 / 3, rtol=2**-22)
    assert loss[0] == 0
    np.testing.assert_allclose(loss[1:3], np.log(3), rtol=2**-22)
    assert np.isnan(y[3]).all()
    assert np.isnan(loss[3])
