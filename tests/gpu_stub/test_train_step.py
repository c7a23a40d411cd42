"""Whole train steps on the stub driver: the C target's updates, the emulator's bits, with and without a graph."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cuda.train_steps import STEPS, assert_same_bits, assert_same_updates, lenet, small_vgg
from tests.stub.driver import Stub

BATCH = 2


def test_five_steps_of_lenet(stub: Stub, captured: bool) -> None:
    """As near to the C target as f32 sums allow, and the very bits that the emulator target gives."""
    cuda, before, losses = lenet("cuda", BATCH)
    assert not stub.reports
    replayed = STEPS - 2 if captured else 0  # the first step, and the first of fewer rows, go launch by launch
    assert stub.calls("cuGraphLaunch") == replayed
    cpu, _, expected = lenet("cpu", BATCH)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert_same_updates(cuda, cpu, before)
    emulator, _, same = lenet("emulator", BATCH)
    assert losses == same
    assert_same_bits(cuda, emulator)


@pytest.mark.slow
def test_five_steps_of_a_small_vgg(stub: Stub) -> None:
    cuda, before, losses = small_vgg("cuda")
    assert not stub.reports
    cpu, _, expected = small_vgg("cpu")
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert_same_updates(cuda, cpu, before)
    emulator, _, same = small_vgg("emulator")
    assert losses == same
    assert_same_bits(cuda, emulator)
