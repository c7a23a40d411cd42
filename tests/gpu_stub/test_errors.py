"""What goes wrong on a device is one line, with the kernel, its geometry and its place, or the memory and what fits."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import convc
from convc.codegen.cuda.batch import NAME
from convc.codegen.cuda.emit import Launch
from convc.errors import RunError, ToolchainError
from convc.runtime import cuda_device, cuda_feed
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


def failing(k: int, stub: Stub, program: convc.Program) -> Launch:
    """Let the launch of that number, counted from the next, fail when it runs."""
    stub.launches_left = k
    launches: tuple[Launch, ...] = program.executable.source.launches  # type: ignore[attr-defined]
    return launches[k % len(launches)]


def named(text: str, launch: Launch) -> bool:
    """Whether the error is said to be of this kernel, with its geometry and its node."""
    node = launch.kernels[0].node
    geometry = f"{launch.blocks} blocks of {launch.threads} threads"
    return (
        text.startswith(f"CUDA failed in kernel {launch.name}, {geometry}")
        and f" of {node.path or 'the top'}: %{node.outputs[0].name}" in text
    )


def test_a_launch_that_is_refused_names_its_kernel(stub: Stub) -> None:
    program = compiled()
    stub.fail("cuLaunchKernel", 1)
    text = said(lambda: program(X, LABELS))
    assert named(text, program.executable.source.launches[0])  # type: ignore[attr-defined]
    assert " of fc: %" in text
    assert "cuLaunchKernel failed: invalid argument" in text
    assert program(X, LABELS)


def test_a_launch_that_is_refused_in_a_later_run_names_its_kernel(stub: Stub, captured: bool) -> None:
    """In the capture, or among those that are under way."""
    program = compiled()
    program(X, LABELS)
    stub.fail("cuLaunchKernel", 1, call=2)
    text = said(lambda: program(X, LABELS))
    assert named(text, program.executable.source.launches[1])  # type: ignore[attr-defined]
    assert program(X, LABELS), "the stream is not left in capture"


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("late", [False, True])
def test_a_kernel_that_faults_in_the_first_run_is_named(stub: Stub, k: int, late: bool) -> None:
    """Also where the stream runs no earlier than it must."""
    stub.lazy(late, late)
    program = compiled()
    launch = failing(k, stub, program)
    text = said(lambda: program(X, LABELS))
    assert named(text, launch)
    assert text.endswith(": cuStreamSynchronize failed: unspecified launch failure")
    for after in (lambda: program(X, LABELS), compiled):
        assert named(said(after), launch), "nothing works after a fault, and that is why"


@pytest.mark.parametrize("runs", [1, 2], ids=["second", "third"])
def test_a_kernel_that_faults_later_is_one_of_those_of_its_program(stub: Stub, captured: bool, runs: int) -> None:
    """In the second run, which captures, and in the third, which replays."""
    program = compiled()
    for _ in range(runs):
        program(X, LABELS)
    failing(1, stub, program)
    text = said(lambda: program(X, LABELS))
    names = [x.name for x in program.executable.source.launches]  # type: ignore[attr-defined]
    where = f"tiny on Stub H100, in one of its {len(names)} launches {names[0]} to {names[-1]}: "
    assert text.startswith(f"CUDA failed in {where}")
    assert text.endswith("unspecified launch failure; run with CONVC_CUDA_SYNC=1 to learn which kernel failed")
    assert f"in {where}" in said(lambda: program(X, LABELS)), "what fails after that is the same fault"


def test_the_only_launch_of_a_program_is_named_also_later(stub: Stub) -> None:
    text = "graph @double(%x: f32[n<=4,5]) { %y: f32[n<=4,5] = add(%x, %x) return %y }"
    program = convc.compile(convc.parse_graph(text), target="cuda")
    for _ in range(2):
        program(np.ones((4, 5), np.float32))
    launch = failing(0, stub, program)
    text = said(lambda: program(np.ones((4, 5), np.float32)))
    assert named(text, launch)
    assert text.endswith("unspecified launch failure")


def test_the_first_run_of_fewer_rows_is_waited_for_too(stub: Stub) -> None:
    """Its guards hold elsewhere."""
    program = compiled()
    for _ in range(3):
        program(X, LABELS)
    launch = failing(1, stub, program)
    assert named(said(lambda: program(X[:2], LABELS[:2])), launch)


def test_the_first_run_after_another_binding_is_waited_for_again(stub: Stub) -> None:
    program = compiled()
    for _ in range(2):
        program(X, LABELS)
    program.executable.bind(program.parameters)
    launch = failing(1, stub, program)
    assert named(said(lambda: program(X, LABELS)), launch)


@pytest.mark.parametrize("runs", [0, 2])
def test_with_each_launch_waited_for_the_kernel_is_named(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    monkeypatch.setenv("CONVC_CUDA_SYNC", "1")
    program = compiled()
    for _ in range(runs):
        program(X, LABELS)
    launch = failing(1, stub, program)
    assert named(said(lambda: program(X, LABELS)), launch)
    assert stub.calls("cuGraphLaunch") == 0


def sweep(program: convc.Program, batches: int) -> None:
    x, labels = np.ones((4 * batches, 1, 4, 4), np.float32), np.zeros(4 * batches, np.int32)
    list(program.sweep((x, labels), None, lambda batch: {}))


def test_the_first_batch_of_a_sweep_is_waited_for(stub: Stub) -> None:
    program = compiled()
    stub.launches_left = 0
    text = said(lambda: sweep(program, 3))
    assert text.startswith(f"CUDA failed in kernel {NAME}, 4 x ")
    assert " threads, of batch 0 for tiny: cuStreamSynchronize failed: unspecified launch failure" in text


def test_a_kernel_of_the_first_batch_of_a_sweep_is_named(stub: Stub) -> None:
    program = compiled()
    launch = failing(1, stub, program)
    stub.launches_left += 1  # the kernel that gathers the batch goes first
    assert named(said(lambda: sweep(program, 3)), launch)


def test_a_kernel_of_a_later_batch_is_one_of_those_of_its_program(stub: Stub) -> None:
    """The fault shows at whatever call comes next, which is not to blame."""
    program = compiled()
    sweep(program, 2)
    launches = program.executable.source.launches  # type: ignore[attr-defined]
    stub.launches_left = len(launches) + 1
    text = said(lambda: sweep(program, 3))
    where = f"in one of its {len(launches) + 1} launches {NAME} to {launches[-1].name}: "
    assert text.startswith(f"CUDA failed in tiny on Stub H100, {where}")
    assert text.endswith("; run with CONVC_CUDA_SYNC=1 to learn which kernel failed")


@pytest.mark.parametrize(
    ("api", "doing"),
    [
        ("cuStreamBeginCapture_v2", "beginning the capture"),
        ("cuStreamEndCapture", "ending the capture"),
        ("cuGraphInstantiateWithFlags", "instantiating the graph"),
        ("cuGraphLaunch", "launching the graph"),
    ],
)
@pytest.mark.parametrize("captured", [True], indirect=True)
def test_a_graph_that_is_refused_says_so(stub: Stub, captured: bool, api: str, doing: str) -> None:
    program = compiled()
    program(X, LABELS)
    stub.fail(api, 1)
    text = said(lambda: program(X, LABELS))
    names = [x.name for x in program.executable.source.launches]  # type: ignore[attr-defined]
    which = f"{len(names)} launches {names[0]} to {names[-1]}"
    assert text == f"CUDA failed in {doing} of tiny, {which}: invalid argument (CUDA_ERROR_INVALID_VALUE)"


@pytest.mark.parametrize(
    ("api", "call", "share", "doing"),
    [
        ("cuMemcpyHtoDAsync_v2", 1, 0.5, "copying the order of 8 rows to Stub H100"),
        ("cuMemcpyHtoDAsync_v2", 2, 0.5, "copying the run-time numbers of tiny to Stub H100"),
        ("cuMemcpyHtoD_v2", 2, 0.5, "copying the data set to Stub H100"),
        ("cuMemcpyHtoDAsync_v2", 2, 0, "copying batch 0 of tiny to Stub H100"),
        ("cuStreamWaitEvent", 4, 0, "copying batch 1 of tiny to Stub H100"),
        ("cuEventCreate", 1, 0, "making the events of tiny"),
        ("cuMemcpyDtoDAsync_v2", 2, 0.5, "keeping the results of batch 1 of tiny"),
        ("cuMemcpyDtoHAsync_v2", 1, 0.5, "copying the results of tiny from Stub H100"),
        ("cuModuleGetFunction", 1, 0.5, f"finding kernel {NAME} of tiny"),
    ],
)
def test_a_sweep_that_is_refused_says_what_it_was_doing(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, api: str, call: int, share: float, doing: str
) -> None:
    monkeypatch.setattr(cuda_feed, "RESIDENT_SHARE", share)
    program = compiled()
    stub.fail(api, 1, call)
    assert said(lambda: sweep(program, 2)).startswith(f"CUDA failed in {doing}: {api.partition('_')[0]} failed: ")


@pytest.mark.parametrize(
    ("api", "call", "doing"),
    [
        ("cuCtxPushCurrent_v2", 1, "entering the context of Stub H100"),
        ("cuMemcpyHtoD_v2", 1, "copying parameters to Stub H100"),
        ("cuMemcpyHtoDAsync_v2", 1, "copying the inputs of tiny to Stub H100"),
        ("cuStreamSynchronize", 1, "the copies that tiny begins with, on Stub H100"),
        ("cuMemcpyDtoHAsync_v2", 1, "copying the outputs of tiny from Stub H100"),
    ],
)
def test_a_copy_that_is_refused_says_what_it_was_doing(stub: Stub, api: str, call: int, doing: str) -> None:
    program = compiled()
    stub.fail(api, 1, call)
    assert said(lambda: program(X, LABELS)).startswith(f"CUDA failed in {doing}: {api.partition('_')[0]} failed: ")


def test_a_program_that_does_not_load_says_so(stub: Stub) -> None:
    stub.fail("cuModuleLoadDataEx", 200)
    with pytest.raises(ToolchainError, match="Stub H100 does not load the program tiny_step for sm_90: cuModuleLoad"):
        compiled()


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
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    assert said(compiled).endswith("run `python -m convc.build.pycuda && pip install 'convc[cuda]'`")
