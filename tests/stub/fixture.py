"""The stub driver as a fixture, for tests of target cuda: its device memory is the host's, its kernels are emulated."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from convc.build.cache import Cache
from convc.build.cubin import Cubin
from convc.build.cuda import build_ptx
from convc.build.nvrtc_library import find_library_file
from convc.codegen.cuda.emit import CudaSource, emit_cuda
from convc.ir.core import Graph
from convc.passes.target import Target
from convc.runtime import cuda, cuda_device, cuda_feed, cuda_graph, cuda_image, cuda_probe
from tests.stub.driver import Stub, missing
from tests.stub.driver import stub as load_stub


def reason() -> str:
    """Why these tests cannot run here, or nothing."""
    if os.environ.get("CONVC_GPU_TESTS", "") not in ("", "stub"):
        return "a real driver is in use: the stub would take its place"
    if why := missing():
        return why
    if find_spec("pycuda") is None:
        return "PyCUDA is not installed: python -m convc.build.pycuda"
    if find_library_file() is None:
        return "NVRTC is not installed: pip install 'convc[emit]'"
    return ""


def teach(driver: Stub, change: Callable[[Any, str, Any], None]) -> None:
    """Have every binary that target cuda builds known to the driver; `change` sets an attribute of a module."""
    sources: dict[str, CudaSource] = {}

    def emit(graph: Graph, *target: Target) -> CudaSource:
        source = emit_cuda(graph, *target)
        sources[source.text] = source
        return source

    def known(make: Any) -> Any:
        """The binary that `make` builds, known to the stub by what the same text gives as PTX."""

        def build(text: str, name: str, arch: str, cache: Cache) -> Cubin:
            image: Cubin = make(text, name, arch, cache)
            launches = sources[text].launches if text in sources else ()
            sizes = {x.name: [(p.place.end - p.place.start, p.written) for p in x.parameters] for x in launches}
            driver.expect(image.data, build_ptx(text, name, arch, cache), sizes)
            return image

        return build

    change(cuda, "emit_cuda", emit)
    for name in ("nvrtc_image", "pycuda_image"):
        change(cuda_image, name, known(getattr(cuda_image, name)))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The driver, fresh: one device, nothing found yet. At the end nothing may be left on the stack of contexts."""
    if why := reason():
        pytest.skip(why)
    driver = load_stub()
    driver.reset()
    for cached in (cuda_device.open_device, cuda_device.driver, cuda_probe.driver_devices):
        cached.cache_clear()
    cuda_feed._residents.clear()
    teach(driver, monkeypatch.setattr)
    yield driver
    assert not driver.errors, driver.errors
    assert driver.pushed == 0, "a context was left on the stack"


@pytest.fixture(params=[True, False], ids=["graph", "launches"])
def captured(request: pytest.FixtureRequest, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether later runs of a program are one graph, as with cuda-bindings, or, without it, made launch by launch."""
    if not request.param:
        monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    elif cuda_graph.bindings() is None:
        pytest.skip("cuda-bindings is not installed: pip install 'convc[cuda]'")
    return bool(request.param)
