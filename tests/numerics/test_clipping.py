"""Clipping by the global norm, end to end: every gradient of a step, by the updates of plain descent with rate 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc import nn
from convc.build.nvrtc_library import find_library_file
from convc.errors import RunError

Array = npt.NDArray[Any]
TARGETS = [
    "cpu",
    pytest.param("emulator", marks=pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed")),
]
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((6, 5)).astype(np.float32), rng.standard_normal((6, 3)).astype(np.float32)
U = 2.0**-24


def model() -> nn.Sequential:
    return nn.Sequential(("fc1", nn.Linear(5, 70)), nn.Tanh(), ("fc2", nn.Linear(70, 3)), name="net")


def compiled(target: str, clip_norm: float | None) -> convc.Program:
    optimizer = convc.SGD(lr=1.0, clip_norm=clip_norm)
    return convc.compile(model(), (6, 5), mode="train", loss="mse", optimizer=optimizer, target=target)


def gradients(step: convc.Program, y: Array, **numbers: float) -> dict[str, Array]:
    """What one step takes away from weights that were zero: the (clipped) gradients, as f32 has them."""
    names = step.parameters.names("parameter")
    kept = step.parameters.snapshot(names)
    before = {name: np.zeros_like(a) if name.startswith("fc2") else a for name, a in kept.items()}
    step.parameters.restore(before)
    step(X, y, **numbers)
    found = {n: before[n].astype(np.float64) - step.parameters[n] for n in names if n.startswith("fc2")}
    step.parameters.restore(kept)
    return found  # with fc2's weights 0 no gradient reaches fc1: fc2's are all there are


def norm_of(arrays: dict[str, Array]) -> float:
    return float(np.sqrt(sum((a**2).sum() for a in arrays.values())))


@pytest.mark.parametrize("target", TARGETS)
def test_one_program_clips_at_any_norm(target: str) -> None:
    plain, clipping = compiled(target, None), compiled(target, 1.0)
    free = gradients(plain, Y)
    norm = norm_of(free)
    for limit in (1e-3 * norm, 0.5 * norm, 0.999 * norm, 1.001 * norm, 1e6):
        scale = min(1.0, np.float32(limit) / (norm + 1e-6))
        found = gradients(clipping, Y, clip_norm=limit)
        for name, gradient in free.items():
            # the norm is a sum of 213 squares, the factor and the product a few roundings more
            np.testing.assert_allclose(found[name], scale * gradient, rtol=250 * U, atol=1e-30)
    assert {k: a.tobytes() for k, a in gradients(clipping, Y, clip_norm=1e6).items()} == {
        k: a.tobytes() for k, a in free.items()
    }, "what is below the limit keeps every bit"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [1e25, 1e-30])
def test_squares_neither_overflow_nor_vanish(target: str, size: float) -> None:
    """Gradients of 1e25, whose squares no f32 holds, are brought to the limit; of 1e-30 the factor is 1."""
    clipping = compiled(target, 2.0)
    free = gradients(compiled(target, None), Y * np.float32(size))
    found = gradients(clipping, Y * np.float32(size))
    wanted = min(1.0, 2.0 / (norm_of(free) + 1e-6))
    for name, gradient in free.items():
        np.testing.assert_allclose(found[name], wanted * gradient, rtol=250 * U, atol=1e-38)
    assert norm_of(found) == pytest.approx(min(2.0, norm_of(free)), rel=250 * U)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_no_number_is_not_hidden(target: str) -> None:
    """NaN in one gradient makes all of them NaN; so does an infinity here, times the zeros of fc2 on its way to fc1."""
    clipping = compiled(target, 1.0)
    for number in (np.nan, np.inf):
        bad = Y.copy()
        bad[2, 1] = number
        for array in gradients(clipping, bad).values():
            assert np.isnan(array).all()


@pytest.mark.witness
@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0, 30.0, 1e6])
def test_as_pytorch_clips(size: float) -> None:
    import torch

    free = gradients(compiled("cpu", None), Y * np.float32(size))
    found = gradients(compiled("cpu", 0.7), Y * np.float32(size))
    theirs = [torch.nn.Parameter(torch.zeros(a.shape)) for a in free.values()]
    for p, a in zip(theirs, free.values()):
        p.grad = torch.from_numpy(a.astype(np.float32))
    torch.nn.utils.clip_grad_norm_(theirs, 0.7)
    for p, (name, a) in zip(theirs, found.items()):
        np.testing.assert_allclose(a, p.grad.numpy(), rtol=500 * U, atol=1e-30, err_msg=name)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, "1"])
def test_a_limit_is_a_positive_number(value: Any) -> None:
    with pytest.raises(RunError, match="clip_norm is a positive number, not "):
        convc.SGD(clip_norm=value)
    if not isinstance(value, str):
        with pytest.raises(RunError, match="clip_norm is a positive number, not "):
            compiled("cpu", 1.0)(X, Y, clip_norm=value)
