"""PyCUDA's layer on the stub driver: contexts, memory, copies, compilers, and who imports PyCUDA when."""

from __future__ import annotations

import ast
import copy
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convc
from convc.build import nvcc
from convc.errors import ConvcError, RunError, ToolchainError
from convc.ir.kernels import BlockTile
from convc.ir.types import Rows
from convc.optim import SGD
from convc.passes import block_tile
from convc.runtime import cuda_device, cuda_probe
from convc.runtime.cuda import CudaExecutable
from convc.runtime.targets import resolve_target
from tests.cuda.programs import every_tile
from tests.numerics.cases import FAMILIES
from tests.numerics.helpers import check, combined
from tests.runtime.test_aliasing import MATRIX, into_the_store
from tests.runtime.test_copies import again, goes_on_alike, model, trained
from tests.runtime.test_identity import parent_first
from tests.stub.driver import Stub

ROOT = Path(convc.__file__).parent
DOUBLE = "graph @double(%x: f32[n<=8,5]) { %y: f32[n<=8,5] = add(%x, %x) return %y }"
NEEDS_NVCC = pytest.mark.skipif(nvcc.find_nvcc() is None, reason="there is no nvcc: pip install 'convc[emit,nvcc]'")


def tiny(rows: int = 4, mode: str = "train", target: str = "cuda", **more: object) -> convc.Program:
    layers = convc.nn.Conv2d(1, 2, 3, padding=1), convc.nn.ReLU(), convc.nn.Flatten(), convc.nn.Linear(32, 3)
    net = convc.nn.Sequential(*layers, name="tiny")
    return convc.compile(net, (rows, 1, 4, 4), mode=mode, target=target, optimizer=SGD(momentum=0.9), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["pools", "others"])
def test_operators(stub: Stub, family: str) -> None:
    """With fewer rows than the capacity, whose rest nobody has written, and nobody may read."""
    graph = combined(FAMILIES[family](Rows(5)))
    check(graph, (5, 3), convc.compile(graph, target="cuda"))
    assert not stub.reports


def test_matrix_products(stub: Stub) -> None:
    graph = every_tile(3)
    check(graph, (3, 2), convc.compile(graph, target="cuda"))
    assert not stub.reports


LARGE = "graph @large(%a: f32[140,200], %b: f32[130,200]) { %c: f32[140,130] = linear(%a, %b) return %c }"


@pytest.mark.parametrize("grants", [True, False])
def test_a_tile_of_more_than_48_kib(stub: Stub, monkeypatch: pytest.MonkeyPatch, grants: bool) -> None:
    """It is launched with dynamic shared memory, which the function has to be given first."""
    monkeypatch.setattr(block_tile, "TILES", (BlockTile(128, 128, 16, 8, 8, 4),))
    program = convc.compile(convc.parse_graph(LARGE), target="cuda")
    assert program.executable.source.launches[0].dynamic_bytes == 4 * 4 * 16 * (132 + 132)  # type: ignore[attr-defined]
    assert "extern __shared__" in program.kernels[0].source
    if not grants:
        (prepared,) = program.executable._launches  # type: ignore[attr-defined]
        attribute = cuda_device.driver().function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
        prepared.function.set_attribute(attribute, 60_000)
        with pytest.raises(RunError, match=r"CUDA failed in kernel fprop.*67584 bytes of shared memory"):
            check(program.graph, (1,), program)
        return
    check(program.trace.stages[0][1], (1,), program)
    assert not stub.reports


def test_outputs_in_place_and_inputs_of_other_kinds(stub: Stub) -> None:
    program = convc.compile(convc.parse_graph(DOUBLE), target="cuda")
    x = np.arange(15).reshape(3, 5)
    out = np.zeros((3, 5), np.float32)
    assert (program(x, out=out) == 2 * x).all()
    assert (out == 2 * x).all()
    assert program.kernels[0].name in stub.launches


def test_train_and_eval_share_one_copy_on_the_device(stub: Stub) -> None:
    net = convc.nn.Sequential(convc.nn.Flatten(), convc.nn.Linear(16, 3), name="tiny")
    step = convc.compile(net, (4, 1, 4, 4), mode="train", target="cuda")
    evaluation = convc.compile(net, (4, 1, 4, 4), mode="eval", target="cuda")
    x, labels = np.ones((4, 1, 4, 4), np.float32), np.array([0, 1, 2, 0], np.int32)
    first, _ = evaluation(x, labels)
    step(x, labels, lr=0.1)  # its first run brings the optimizer's state there too
    copied = stub.calls("cuMemcpyHtoD_v2")
    for _ in range(3):
        step(x, labels, lr=0.1)
    second, _ = evaluation(x, labels)
    assert second < first
    assert stub.calls("cuMemcpyHtoD_v2") == copied, "parameters were copied again"
    host = convc.compile(net, (4, 1, 4, 4), mode="eval", target="cpu")
    assert host(x, labels)[0] == pytest.approx(second, rel=1e-5)
    net.store["1.bias"][...] = [9, 0, 0]  # who asks for an array may write to it
    assert evaluation(x, labels)[0] == pytest.approx(host(x, labels)[0], rel=1e-5)


def test_a_program_leaves_no_memory_behind(stub: Stub, captured: bool) -> None:
    gc.collect()
    before = stub.allocations
    program = tiny()
    for _ in range(2):  # the second run captures the graph, if there is one
        program(np.ones((4, 1, 4, 4), np.float32), np.zeros(4, np.int32), lr=0.1)
    assert stub.allocations > before
    del program
    assert stub.allocations == before
    assert stub.calls("cuGraphExecDestroy") == captured


def test_no_context_is_left_after_an_exception(stub: Stub) -> None:
    program = tiny()
    stub.fail("cuMemcpyHtoDAsync_v2", 719)
    with pytest.raises(RunError):
        program(np.ones((4, 1, 4, 4), np.float32), np.zeros(4, np.int32), lr=0.1)
    assert stub.pushed == 0
    with pytest.raises(ZeroDivisionError), cuda_device.open_device(0).active():
        raise ZeroDivisionError
    assert stub.pushed == 0


def test_a_process_ends_without_a_word(stub: Stub) -> None:
    """PyCUDA complains of contexts left on the stack, of those detached in a wrong way, and of what outlives them."""
    text = """
import numpy as np
from tests.stub.fixture import teach
from tests.stub.driver import stub
driver = stub()
teach(driver, setattr)
import convc
from convc.errors import RunError
program = convc.compile(convc.parse_graph("graph @g(%x: f32[n<=4,5]) { %y: f32[n<=4,5] = add(%x, %x) return %y }"),
                        target="cuda")
print(program(np.ones((4, 5), np.float32)).sum(), driver.pushed)
driver.launches_fail = True
try:
    program(np.ones((4, 5), np.float32))
except RunError:
    print("failed", driver.pushed)
"""
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT.parent)
    assert (result.returncode, result.stdout, result.stderr) == (0, "40.0 0\nfailed 0\n", "")


@pytest.mark.parametrize("compiler", ["nvrtc", pytest.param("nvcc", marks=NEEDS_NVCC)])
def test_both_compilers(stub: Stub, compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVC_CUDA_COMPILER", compiler)
    program = convc.compile(convc.parse_graph(DOUBLE), target="cuda")
    executable = program.executable
    assert isinstance(executable, CudaExecutable)
    assert executable.build.compiler == compiler
    assert (program(np.ones((8, 5), np.float32)) == 2).all()
    folder = executable.images[0].path.parent
    assert {"double_step.cu", "double_step.cubin", f"{compiler}.log"} <= {p.name for p in folder.iterdir()}
    (found,) = executable.resources.values()
    assert found["registers"] > 0
    again = convc.compile(convc.parse_graph(DOUBLE), target="cuda").executable
    assert isinstance(again, CudaExecutable)
    assert again.images[0].path == executable.images[0].path


@NEEDS_NVCC
def test_parts_that_nvcc_compiles_side_by_side_have_their_own_logs(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning goes to the thread that it came up in, however the compilations overlap."""
    from convc.build.cache import Cache
    from convc.runtime.cuda_image import Build

    monkeypatch.setattr("convc.build.threads.os.cpu_count", lambda: 4)
    kernels = [f"kernel{number}" for number in range(4)]
    texts = [f'extern "C" __global__ void {name}(float *to) {{ to[threadIdx.x] = 1.0f; }}' for name in kernels]
    images = Build("sm_90", "nvcc", Cache()).images(texts, "parts")
    assert [list(image.kernels) for image in images] == [[name] for name in kernels]
    assert all(image.log.count("Compiling entry function") == 1 for image in images)


def test_without_nvrtc_nvcc_compiles_and_the_log_says_so(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("convc.runtime.cuda_image.find_library_file", lambda: None)
    monkeypatch.setenv("CONVC_DEBUG", "1")
    from convc.runtime.cuda_image import choose_compiler

    monkeypatch.setattr(nvcc, "find_nvcc", lambda: Path("/nvcc"))
    assert choose_compiler("auto") == "nvcc"
    assert "NVRTC is not installed" in capsys.readouterr().err
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: None)
    with pytest.raises(ToolchainError, match=r"neither: run `pip install 'convc\[emit\]'`"):
        choose_compiler("auto")


@NEEDS_NVCC
def test_what_nvcc_refuses_is_one_line(stub: Stub) -> None:
    from convc.build.cache import Cache
    from convc.runtime.cuda_image import pycuda_image

    with pytest.raises(ToolchainError, match=r"nvcc failed on wrong\.cu: .*error.*nonsense") as caught:
        pycuda_image("nonsense here;", "wrong", "sm_90", Cache())
    assert "\n" not in str(caught.value)


def test_a_bad_device_names_those_there_are(stub: Stub) -> None:
    stub.devices("Stub H100", "Stub A100")
    cuda_device.open_device.cache_clear()
    with pytest.raises(RunError) as caught:
        convc.compile(convc.parse_graph(DOUBLE), target="cuda:2")
    assert str(caught.value) == (
        "a device is one of those there are: 0 (Stub H100), 1 (Stub A100); not 2; give another --device"
    )
    program = convc.compile(convc.parse_graph(DOUBLE), target="cuda:1")
    assert (program(np.ones((8, 5), np.float32)) == 2).all()


def test_what_auto_means(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first GPU where there is one; CONVC_TARGET goes before it, and no driver is looked for then."""
    monkeypatch.delenv("CONVC_TARGET")
    assert resolve_target("auto") == "cuda"
    assert resolve_target("auto:1") == "cuda:1"
    stub.library.stub_reset()
    cuda_probe.driver_devices.cache_clear()
    assert resolve_target("auto") == "cpu"
    assert cuda_probe.what_is_missing() == "the CUDA driver finds no GPU"
    with pytest.raises(RunError, match="leave out --device"):
        resolve_target("auto:1")
    monkeypatch.setenv("CONVC_TARGET", "cpu")
    monkeypatch.setattr(cuda_probe, "driver_devices", lambda: pytest.fail("a driver was looked for"))
    assert resolve_target("auto") == "cpu"
    monkeypatch.setenv("CONVC_TARGET", "gpu")
    with pytest.raises(RunError, match="CONVC_TARGET is one of auto, cpu, cuda, emulator, not 'gpu'"):
        resolve_target("auto")
    for wrong in ("gpu", "cpu:1", "cuda:x"):
        with pytest.raises(ConvcError, match=f"unknown target '{wrong}'"):
            resolve_target(wrong)


def test_pycuda_is_imported_where_a_device_is_opened_and_nowhere_else() -> None:
    users = {}
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(n.split(".")[0] in ("pycuda", "cuda") for n in names):
                users[path.name] = users.get(path.name, True) and id(node) in inside
    assert users == {"cuda_device.py": True, "cuda_graph.py": True, "cuda_image.py": True}


def test_the_cpu_target_never_loads_pycuda() -> None:
    text = "import sys, convc; convc.compile(convc.models.lenet5(), (2, 1, 28, 28)); print('pycuda' in sys.modules)"
    environment = {"CONVC_TARGET": "cpu", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT.parent, env={**_kept(), **environment}
    )
    assert (result.stdout, result.stderr) == ("False\n", "")


def _kept() -> dict[str, str]:
    import os

    return {k: v for k, v in os.environ.items() if k in ("CONVC_CACHE_DIR", "PYTHONPATH", "HOME")}


def test_a_result_written_over_a_parameter_that_lives_on_the_device(stub: Stub) -> None:
    into_the_store(convc.compile(convc.parse_graph(MATRIX), target="cuda"))


@pytest.mark.parametrize("targets", [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
@pytest.mark.parametrize("whole_first", [True, False], ids=["parent", "child"])
def test_a_model_and_its_part_train_the_same_arrays_wherever_they_live(
    stub: Stub, whole_first: bool, targets: tuple[str, str]
) -> None:
    parent_first(whole_first, *targets)


@pytest.mark.parametrize("make", [again, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy_of_a_program_has_memory_of_its_own_on_the_device(stub: Stub, make: Any) -> None:
    step = trained(model(), target="cuda")
    goes_on_alike(step, make(step))


def test_calls_and_sweeps_from_several_threads(stub: Stub) -> None:
    """Two models, each with a train step and an evaluation: their threads take turns on the device's one stream."""
    x, labels = np.ones((12, 1, 4, 4), np.float32), np.arange(12, dtype=np.int32) % 3

    kept: list[object] = []

    def train(number: int, between: Callable[[], None]) -> list[float]:
        module = convc.nn.Sequential(convc.nn.Flatten(), convc.nn.Linear(16, 3), name=f"net{number}")
        step, evaluation = (
            convc.compile(module, (4, 1, 4, 4), mode=mode, target="cuda", seed=number)  # type: ignore[arg-type]
            for mode in ("train", "eval")
        )
        kept.append((step, evaluation))  # what PyCUDA frees in another thread it complains of
        losses = []
        for _ in range(3):
            between()
            for _, loss in step.sweep((x, labels), None, lambda batch: {"lr": 0.1}):
                losses += [loss, evaluation(x[:4], labels[:4])[0]]  # the store is free between batches
            losses.append(step(x[:4], labels[:4], lr=0.1))
        return losses

    alone = [train(i, lambda: None) for i in range(3)]
    ready = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        found = [f.result(300) for f in [pool.submit(train, i, lambda: ready.wait(300)) for i in range(3)]]
    assert [sorted(losses) for losses in found] == [sorted(losses) for losses in alone]
    assert not stub.reports
