"""What goes wrong on a device is one line, with the kernel, its geometry and its place, or the memory and what fits."""

from __future__ import annotations

import numpy as np
import pytest

import convc
from convc.errors import RunError
from convc.runtime import cuda_device
from tests.stub.driver import LAUNCH_FAILED, OUT_OF_MEMORY, Stub

X, LABELS = np.ones((4, 1, 4, 4), np.float32), np.zeros(4, np.int32)


def net() -> convc.nn.Sequential:
    layers = ("flat", convc.nn.Flatten()), ("fc", convc.nn.Linear(16, 3))
    return convc.nn.Sequential(*layers, name="tiny")


def compiled() -> convc.Program:
    return convc.compile(net(), (4, 1, 4, 4), mode="eval", target="cuda")


def said(run: object) -> str:
    with pytest.raises(RunError) as caught:
        run()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_launch_that_is_refused_names_its_kernel(stub: Stub) -> None:
    program = compiled()
    stub.fail("cuLaunchKernel", 1)
    text = said(lambda: program(X, LABELS))
    launch = program.executable.source.launches[0]  # type: ignore[attr-defined]
    assert text.startswith(f"CUDA failed in kernel {launch.name}, {launch.blocks} blocks of {launch.threads} threads")
    assert " of fc: %" in text
    assert "cuLaunchKernel failed: invalid argument" in text
    assert program(X, LABELS), "the stream is not left in capture"


def test_a_failure_at_run_time_names_the_program_and_how_to_find_the_kernel(stub: Stub) -> None:
    program = compiled()
    program(X, LABELS)
    stub.launches_fail = True
    text = said(lambda: program(X, LABELS))
    assert text.startswith("CUDA failed in tiny on Stub H100, in one of its ")
    assert "unspecified launch failure; run with CONVC_CUDA_SYNC=1 to learn which kernel failed" in text


def test_with_each_launch_waited_for_the_kernel_is_named(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVC_CUDA_SYNC", "1")
    program = compiled()
    stub.launches_fail = True
    text = said(lambda: program(X, LABELS))
    assert text.startswith(f"CUDA failed in kernel {program.executable.source.launches[0].name}, ")  # type: ignore[attr-defined]
    assert "unspecified launch failure" in text


@pytest.mark.parametrize("api", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_graph_that_is_refused_says_so(stub: Stub, api: str) -> None:
    program = compiled()
    stub.fail(api, 1)
    text = said(lambda: program(X, LABELS))
    assert " of tiny: invalid argument (CUDA_ERROR_INVALID_VALUE)" in text


def test_too_little_memory_for_the_arena_says_what_batch_fits(stub: Stub) -> None:
    stub.devices("Small", memory=1 << 20)
    cuda_device.open_device.cache_clear()
    text = said(lambda: convc.compile(convc.models.lenet5(), (4096, 1, 28, 28), mode="infer", target="cuda"))
    assert text.startswith("out of memory on device 0 (Small): ")
    assert " were asked for the arena, inputs and outputs of lenet5 for batches of 4096, and 1.0 of 1.0 MiB are" in text
    fits = int(text.partition("a batch of about ")[2].split()[0])
    program = convc.compile(convc.models.lenet5(), (fits // 2, 1, 28, 28), mode="infer", target="cuda")
    assert program.graph.arena_bytes < 1 << 20
    assert fits < 4096


def test_too_little_memory_for_parameters_says_so(stub: Stub) -> None:
    stub.fail("cuMemAlloc_v2", OUT_OF_MEMORY, call=2, times=2)  # PyCUDA collects garbage and tries again
    text = said(compiled)
    assert " bytes) were asked for parameters and the optimizer's state, and 8192.0 of 8192.0 MiB are free" in text
    assert text.endswith("are free; take a smaller model or device")


def test_a_device_that_does_not_open_says_so(stub: Stub) -> None:
    stub.fail("cuDevicePrimaryCtxRetain", LAUNCH_FAILED)
    assert said(compiled).startswith("CUDA failed in opening device 0 (Stub H100): ")


def test_no_device_is_one_line(stub: Stub) -> None:
    stub.library.stub_reset()
    assert said(compiled).startswith("target cuda needs a GPU, and the driver does not start (")


def test_without_pycuda_the_command_is_named(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    assert said(compiled).endswith("run `pip install 'convc[cuda]'`")
