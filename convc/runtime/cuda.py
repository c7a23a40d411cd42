"""Target `cuda`: the program's launches on a GPU, through PyCUDA: waited for at first, then captured as a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.build.cache import Cache
from convc.build.cuda import check_kernels, resources, units_of
from convc.codegen.cuda.emit import CudaSource, Launch, emit_cuda
from convc.errors import RunError
from convc.ir.core import Graph
from convc.runtime.cuda_device import driver, each_waits, open_device, placed
from convc.runtime.cuda_feed import Feeds
from convc.runtime.cuda_graph import StepGraph, bindings
from convc.runtime.cuda_image import Build, choose_compiler
from convc.runtime.cuda_memory import Workspace
from convc.runtime.cuda_store import device_copy
from convc.runtime.store import ParameterStore, Use

Array = npt.NDArray[Any]
STRETCH = 1024
"""Batches of a sweep whose results are fetched at once: an epoch of 60000 images in batches of 64."""


@dataclass(frozen=True)
class Prepared:
    """A launch with its function and the addresses that it gets."""

    launch: Launch
    function: Any
    addresses: tuple[int, ...]

    def enqueue(self, stream: Any) -> None:
        x = self.launch
        self.function.prepared_async_call(
            (x.blocks, 1), (x.threads, 1, 1), stream, *self.addresses, shared_size=x.dynamic_bytes
        )

    @property
    def text(self) -> str:
        """Name, geometry and where in the model it comes from."""
        x = self.launch
        made = [f"{k.node.path or 'the top'}: {', '.join(f'%{v.name}' for v in k.node.outputs)}" for k in x.kernels]
        more = f" and {len(made) - 3} more" if len(made) > 3 else ""
        shared = f", {x.shared_bytes} bytes of shared memory" if x.shared_bytes else ""
        return f"kernel {x.name}, {x.blocks} blocks of {x.threads} threads{shared}, of {'; '.join(made[:3])}{more}"


class CudaExecutable:
    """A program on one GPU: arrays go there and back through pinned memory, parameters stay there.

    `device`: its number. `compiler`: auto, nvrtc or nvcc. `text`: CUDA to run instead of what is generated, with the
    same kernels. The launches of the first run of each number of rows after `bind`, and with CONVC_CUDA_SYNC=1 those
    of every run, are waited for one by one, so that an error names the kernel that made it. Later runs have the same
    geometry, addresses and guards; they replay one graph. Raises RunError where PyCUDA, the driver or the device is
    missing and where memory does not suffice, ToolchainError where the source is refused.
    """

    target = "cuda"

    def __init__(
        self,
        graph: Graph,
        cache: Cache | None = None,
        *,
        device: int = 0,
        compiler: str = "auto",
        text: str | None = None,
    ) -> None:
        self.graph = graph
        self.source: CudaSource = emit_cuda(graph)
        self._again = partial(CudaExecutable, device=device, compiler=compiler, text=text)
        self.device = open_device(device)
        self._workspace = Workspace(graph, self.device)  # first: what does not fit is not built
        self.build = Build(self.device.arch, choose_compiler(compiler), cache or Cache())
        self.images = self.build.images(units_of(self.source, text), self.source.entry)
        what = f"the program {self.source.entry}"
        loaded = [(image, self.device.load(image.data, what)) for image in self.images]
        self._modules = {name: module for image, module in loaded for name in image.kernels}
        check_kernels(self.source, self._modules)
        self._feeds = Feeds(self._workspace, self.build, STRETCH)
        self._launches: list[Prepared] = []
        self._texts: dict[str, str] = {}
        self._each_waits = each_waits()
        self._waited: set[int] = set()
        self._rows = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again, (self.graph,)

    @property
    def resources(self) -> dict[str, Any]:
        """For each launch: registers, spills, shared memory, occupancy and what limits it."""
        return resources(self.source, self.images, self.build.arch)

    def bind(self, store: ParameterStore) -> None:
        """The store of parameters, state and constants: they get a place on the device, shared by its programs."""
        use = Use(store, self.graph, self.device.number)
        with store.locked():
            places = [device_copy(self.device, s.buffer).address + s.offset for s in use.slots]
        self._use = use
        with self.device.active():
            self._launches = [self._prepare(launch, places) for launch in self.source.launches]
        self._texts = {p.launch.name: p.text for p in self._launches}
        self.__dict__.pop("_graph", None)  # one captured before holds other addresses
        self._waited.clear()

    def _prepare(self, launch: Launch, stores: Sequence[int]) -> Prepared:
        with placed(f"finding kernel {launch.name} of {self.graph.name}"):
            function = self._modules[launch.name].get_function(launch.name)
            function.prepare("P" * len(launch.parameters))
        if launch.dynamic_bytes:
            most = driver().function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
            with placed(f"giving {launch.name} {launch.dynamic_bytes} bytes of shared memory a block"):
                function.set_attribute(most, launch.dynamic_bytes)
        places = [p.place for p in launch.parameters]
        addresses = [stores[p.number] + p.start if p.kind == "store" else self._workspace.address(p) for p in places]
        return Prepared(launch, function, tuple(addresses))

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], scalars: Sequence[float], rows: int) -> None:
        """One run, waited for. Raises RunError, naming the launch or the program, where CUDA fails."""
        with self._use.run(), self.device.active():
            self._workspace.send(inputs, scalars, rows)
            self.enqueue(rows)
            self._workspace.fetch(outputs)

    def enqueue(self, rows: int | None = None) -> None:
        """The launches of a run on what lies on the device, within `device.active()`: no copies, and no waiting but
        in the first run of so many rows, and for what is on the stream where the graph is captured. `rows`: of what
        lies there; None: as many as in the run before."""
        self._rows = self._rows if rows is None else rows
        if self._each_waits or self._rows not in self._waited:
            self._launch_and_wait()
            self._waited.add(self._rows)
            return
        launch = self._graph or self._launch_all
        self.device.launched(self.graph.name, self._texts)
        launch()

    def sweep(
        self, arrays: Sequence[Array], order: Array | None, scalars: Callable[[int], Sequence[float]]
    ) -> Iterator[tuple[int, list[Array]]]:
        """As Sweeper says. A small data set stays on the device, a large one streams; the numbers are the same."""
        if any(v.type.rank for v in self.graph.outputs):
            raise RunError(f"only a program whose outputs are numbers sweeps over data, and {self.graph.name} is none")
        indices = np.arange(len(arrays[0])) if order is None else order
        capacity = self._workspace.capacity
        for first in range(0, len(indices), STRETCH * capacity):
            part = indices[first : first + STRETCH * capacity]
            counts = [min(capacity, len(part) - at) for at in range(0, len(part), capacity)]
            yield from zip(counts, self._stretch(arrays, part, counts, scalars, first // capacity))

    def _stretch(
        self,
        arrays: Sequence[Array],
        indices: Array,
        counts: Sequence[int],
        scalars: Callable[[int], Sequence[float]],
        number: int,
    ) -> list[list[Array]]:
        """Run over the rows `indices`, batch after batch; all results are fetched at the end."""
        given = [scalars(number + k) for k in range(len(counts))]  # the caller's code, so without the lock
        with self._use.run():
            return self._fetched(arrays, indices, counts, given)

    def _fetched(
        self, arrays: Sequence[Array], indices: Array, counts: Sequence[int], scalars: Sequence[Sequence[float]]
    ) -> list[list[Array]]:
        log, fetched = self._log
        feed = self._feeds.of(arrays)
        address, size = self._workspace.results
        numbers = feed.numbers[: len(counts)]
        for k, rows in enumerate(counts):
            self._workspace.numbers(scalars[k], rows, numbers[k])
        copying = f"copying the results of {self.graph.name} from {self.device.name}"
        with self.device.active():
            feed.begin(arrays, indices, len(counts))
            for k, rows in enumerate(counts):
                feed.next(k, rows)
                self.enqueue(rows)
                with self.device.doing(f"keeping the results of batch {k} of {self.graph.name}"):
                    driver().memcpy_dtod_async(int(log) + k * size, address, size, self.device.stream)
            results = fetched[: len(counts)]
            with self.device.doing(copying):
                driver().memcpy_dtoh_async(results, log, self.device.stream)
            self.device.wait(copying)
        return [self._workspace.results_in(row.copy()) for row in results]

    @cached_property
    def _log(self) -> tuple[Any, Array]:
        """The outputs of each batch of a stretch: on the device, and pinned uint8 [STRETCH, bytes]."""
        _, size = self._workspace.results
        memory = self.device.allocate(STRETCH * size, f"the results of {STRETCH} batches")
        return memory, self.device.pinned(STRETCH * size).reshape(STRETCH, size)

    @cached_property
    def _graph(self) -> StepGraph | None:
        cu = bindings()
        return StepGraph(cu, self.device, self._span, self._launch_all) if cu else None

    @property
    def _span(self) -> str:
        """The program and its launches."""
        names = list(self._texts)
        what = f"{len(names)} launches {names[0]} to {names[-1]}" if len(names) > 1 else self._texts[names[0]]
        return f"{self.graph.name}, {what}"

    def _launch_all(self) -> None:
        for prepared in self._launches:
            with self.device.doing(prepared.text):
                prepared.enqueue(self.device.stream)

    def _launch_and_wait(self) -> None:
        self.device.wait(f"the copies that {self.graph.name} begins with, on {self.device.name}")
        for prepared in self._launches:
            with self.device.doing(prepared.text):
                prepared.enqueue(self.device.stream)
            self.device.launched(self.graph.name, {prepared.launch.name: prepared.text})
            self.device.wait(prepared.text)
