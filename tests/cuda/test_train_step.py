"""Whole train steps in the emulator: the C target's updates, the same bits again, no report."""

from __future__ import annotations

import numpy as np
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from tests.cuda.train_steps import MOMENTUM, assert_same_bits, assert_same_updates, lenet, small_vgg

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
BATCH, MISSING = 8, 3
OPTIMIZERS = {
    "momentum": MOMENTUM,
    "adam": convc.Adam(eps=1e-3),
    "adamw": convc.AdamW(eps=1e-3),
    "rmsprop": convc.RMSprop(lr=1e-3, eps=1e-2, momentum=0.9),
    "clipped": convc.SGD(lr=0.02, momentum=0.9, clip_norm=0.5),
}


SLOW = ("adamw", "rmsprop")


@pytest.mark.parametrize("optimizer", [pytest.param(o, marks=pytest.mark.slow) if o in SLOW else o for o in OPTIMIZERS])
def test_five_steps_of_lenet_make_the_updates_of_the_c_target(optimizer: str) -> None:
    cuda, before, losses = lenet("emulator", BATCH, OPTIMIZERS[optimizer], MISSING)
    cpu, _, expected = lenet("cpu", BATCH, OPTIMIZERS[optimizer], MISSING)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert_same_updates(cuda, cpu, before)


@pytest.mark.slow
def test_five_steps_of_a_small_vgg_make_the_updates_of_the_c_target() -> None:
    cuda, before, losses = small_vgg("emulator")
    cpu, _, expected = small_vgg("cpu")
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert_same_updates(cuda, cpu, before)


def test_the_same_bits_again() -> None:
    first, _, losses = lenet("emulator", BATCH, missing=MISSING)
    second, _, again = lenet("emulator", BATCH, missing=MISSING)
    assert losses == again
    assert_same_bits(second, first)


def test_all_updates_are_one_launch() -> None:
    step = convc.compile(convc.models.lenet5(), (BATCH, 1, 28, 28), mode="train", target="emulator")
    updated = set(step.graph.updates.values())
    writers = [x for x in step.executable.source.launches if any(updated & set(k.node.outputs) for k in x.kernels)]
    assert [len(launch.kernels) for launch in writers] == [10]
