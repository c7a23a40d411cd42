"""A program's launches captured once as a CUDA graph: PyCUDA has no graphs, cuda-bindings has."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from convc.debug import LINES, say
from convc.runtime.cuda_device import Device
from convc.runtime.cuda_probe import INSTALL


def bindings() -> Any:
    """`cuda.bindings.driver`, or None, said in the log, where it is not installed."""
    try:
        from cuda.bindings import driver
    except ImportError:
        say(LINES, f"convc: cuda-bindings is not installed (`{INSTALL}`): every launch is made by itself")
        return None
    return driver


class StepGraph:
    """What `launch` enqueues on the device's stream, as one graph; calling it enqueues that again.

    `name`: the program and its launches, for messages. What is on the stream is waited for first, so that its errors
    are not taken for the capture's. Raises RunError where CUDA refuses the capture.
    """

    def __init__(self, cu: Any, device: Device, name: str, launch: Callable[[], None]) -> None:
        self._cu, self._device, self._name = cu, device, name
        self._stream = cu.CUstream(device.stream.handle)
        with device.active():
            mode = cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
            device.wait(f"what comes before the capture of {name}")
            self._do("beginning the capture", cu.cuStreamBeginCapture(self._stream, mode))
            try:
                launch()
            finally:  # else the stream would stay in capture
                ended = cu.cuStreamEndCapture(self._stream)
            graph = self._do("ending the capture", ended)
            try:
                self._graph = self._do("instantiating the graph", cu.cuGraphInstantiate(graph, 0))
            finally:
                cu.cuGraphDestroy(graph)
        # Not at the end of the process: its context may be gone by then, and the graph with it.
        weakref.finalize(self, cu.cuGraphExecDestroy, self._graph).atexit = False

    def __call__(self) -> None:
        self._do("launching the graph", self._cu.cuGraphLaunch(self._graph, self._stream))

    def _do(self, what: str, result: tuple[Any, ...]) -> Any:
        code, *rest = result
        if code:
            _, text = self._cu.cuGetErrorString(code)
            raise self._device.failure(f"{what} of {self._name}", f"{(text or b'').decode()} ({code.name})")
        return rest[0] if rest else None
