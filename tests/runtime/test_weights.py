"""Weights of other dtypes are converted, what cannot be is refused by name, and then nothing is written."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convc
from convc import nn
from convc.errors import DataError
from convc.runtime.store import ParameterStore

NUMBERS = np.array([[1.5, -2.25, 3.0], [0.1, 2.0**-20, -65504.0]])
BIAS = np.array([0.5, -0.5])


def written(path: Path, **tensors: tuple[str, tuple[int, ...], bytes]) -> Path:
    """A safetensors file: the length of its header, the header as JSON, the bytes. Names have _ for the dot."""
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        offsets = [len(body), len(body) + len(data)]
        header[name.replace("_", ".")] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def bf16(numbers: Any) -> bytes:
    """The upper halves of float32."""
    return bytes((np.asarray(numbers, np.float32).view(np.uint32) >> 16).astype("<u2").tobytes())


def tensor(dtype: str, numbers: Any) -> tuple[str, tuple[int, ...], bytes]:
    kinds = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I32": "<i4", "I64": "<i8"}
    data = bf16(numbers) if dtype == "BF16" else np.asarray(numbers).astype(kinds[dtype]).tobytes()
    return dtype, np.shape(numbers), data


@pytest.fixture
def store() -> ParameterStore:
    net = nn.Sequential(("fc", nn.Linear(3, 2)))
    convc.compile(net, (4, 3), mode="train", optimizer=convc.SGD(momentum=0.9))
    return net.store


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_floats_become_float32(store: ParameterStore, dtype: str, tmp_path: Path) -> None:
    exact = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
    path = written(tmp_path / "w", fc_weight=tensor(dtype, NUMBERS), fc_bias=tensor("F32", BIAS))
    loaded = store.load(path)
    if dtype == "BF16":
        wanted = (np.asarray(NUMBERS, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    else:
        wanted = NUMBERS.astype(exact[dtype]).astype(np.float32)
    np.testing.assert_array_equal(store["fc.weight"], wanted)
    assert loaded.loaded == ("fc.weight", "fc.bias")
    assert dict(loaded.converted) == ({} if dtype == "F32" else {"fc.weight": dtype})


def test_float64_is_rounded_to_the_nearest_and_ties_go_to_even(store: ParameterStore, tmp_path: Path) -> None:
    ulp = 2.0**-23
    given = np.array([[1 + ulp / 2, 1 + 3 * ulp / 2, 1 + ulp / 2 + 2.0**-50], [0.1, 1e-50, 3.4028235677973e38]])
    store.load(written(tmp_path / "w", fc_weight=tensor("F64", given), fc_bias=tensor("F32", BIAS)))
    largest = np.finfo(np.float32).max
    wanted = np.array([[1, 1 + 2 * ulp, 1 + ulp], [np.float32(0.1), 0, largest]], np.float32)
    np.testing.assert_array_equal(store["fc.weight"], wanted)


def test_zeros_keep_their_sign_and_small_numbers_their_bits(store: ParameterStore, tmp_path: Path) -> None:
    tiny = np.array([[-0.0, 0.0, 2.0**-24], [-(2.0**-24), 2.0**-14, 65504.0]])  # the least of float16, and the largest
    store.load(written(tmp_path / "w", fc_weight=tensor("F16", tiny), fc_bias=tensor("BF16", [-0.0, 2.0**-130])))
    np.testing.assert_array_equal(store["fc.weight"], tiny)
    assert np.signbit(store["fc.weight"][0, 0])
    assert np.signbit(store["fc.bias"][0])
    assert store["fc.bias"][1] == np.float32(2.0**-130)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "integers": (
        {"fc_weight": tensor("I64", [[1, 2, 3], [4, 5, 6]])},
        "fc.weight must be F32, F16, F64, BF16, not I64",
    ),
    "float8": ({"fc_weight": ("F8_E4M3", (2, 3), b"\0" * 6)}, "fc.weight must be F32, F16, F64, BF16, not F8_E4M3"),
    "booleans": ({"fc_bias": ("BOOL", (2,), b"\0\1")}, "fc.bias must be F32, F16, F64, BF16, not BOOL"),
    "shape": ({"fc_bias": tensor("BF16", [1.0, 2.0, 3.0])}, r"fc.bias must have shape \[2\], not \[3\]"),
    "overflow": (
        {"fc_weight": tensor("F64", [[1, 2, 1e39], [-1e300, 0, 0]])},
        r"weights must fit float32, at most 3.403e\+38, but fc.weight\[0, 2\] is 1e\+39 \(and 1 more\)",
    ),
    "nan": (
        {"fc_weight": tensor("F32", [[1, 2, 3], [4, np.nan, 6]])},
        r"weights must be finite, but fc.weight\[1, 1\] is nan; take weights of a run that did not diverge",
    ),
    "nan in bf16": ({"fc_bias": tensor("BF16", [1, np.nan])}, r"must be finite, but fc.bias\[1\] is nan"),
    "infinity in f16": ({"fc_bias": tensor("F16", [-np.inf, 0])}, r"must be finite, but fc.bias\[0\] is -inf"),
    "one too many": ({"fc_gain": tensor("F32", [1.0])}, "has fc.gain, which the model has not"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_mismatches_are_refused_by_name_and_nothing_is_written(
    store: ParameterStore, name: str, tmp_path: Path
) -> None:
    changed, message = REFUSED[name]
    path = written(tmp_path / "w", **{"fc_bias": tensor("F32", BIAS), "fc_weight": tensor("F32", NUMBERS)} | changed)
    before = store.snapshot()
    with pytest.raises(DataError, match=message) as caught:
        store.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    for key, array in before.items():
        np.testing.assert_array_equal(store[key], array)


def test_nan_is_let_in_where_it_is_asked_for(store: ParameterStore, tmp_path: Path) -> None:
    path = written(tmp_path / "w", fc_weight=tensor("F32", NUMBERS), fc_bias=tensor("F16", [np.nan, np.inf]))
    store.load(path, finite=False)
    np.testing.assert_array_equal(store["fc.bias"], [np.nan, np.inf])


def test_a_state_that_counts_takes_no_floats(tmp_path: Path) -> None:
    store = ParameterStore()
    graph = convc.parse_graph("graph @g(%x: f32[2], %n: i32[2] state) { %0: f32[2] = relu(%x) return %0 }")
    store.add_from(graph)
    assert store.load(written(tmp_path / "w", n=tensor("I32", [3, -4]))).loaded == ("n",)
    np.testing.assert_array_equal(store["n"], [3, -4])
    with pytest.raises(DataError, match="n must be I32, not F32"):
        store.load(written(tmp_path / "w", n=tensor("F32", [3, 4])))


def test_partial_loading_says_what_was_and_what_was_not_loaded(
    store: ParameterStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store["fc.bias"].copy()
    path = written(tmp_path / "w", fc_weight=tensor("F16", NUMBERS[:, :]), head_weight=tensor("I64", [1, 2]))
    with pytest.raises(DataError, match=r"lacks fc.bias; .*strict=False"):
        store.load(path)
    loaded = store.load(path, strict=False)
    assert (loaded.loaded, loaded.missing, loaded.unexpected) == (("fc.weight",), ("fc.bias",), ("head.weight",))
    assert str(loaded) == ("1 arrays loaded; missing: fc.bias; unexpected: head.weight; converted: fc.weight")
    np.testing.assert_array_equal(store["fc.weight"], NUMBERS.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(store["fc.bias"], before)
    assert capsys.readouterr() == ("", "")


def test_partial_loading_still_refuses_shapes_and_files_of_other_models(store: ParameterStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fc.bias must have shape \[2\], not \[1\]"):
        store.load(written(tmp_path / "w", fc_bias=tensor("F32", [1.0])), strict=False)
    with pytest.raises(DataError, match="has none of the model's arrays, but other"):
        store.load(written(tmp_path / "w", other=tensor("F32", [1.0])), strict=False)


def test_a_model_that_was_not_compiled_has_no_arrays_to_load(tmp_path: Path) -> None:
    path = written(tmp_path / "w", fc_weight=tensor("F32", NUMBERS))
    with pytest.raises(DataError, match="it has none yet: compile it, then load"):
        nn.Sequential(("fc", nn.Linear(3, 2))).store.load(path)
