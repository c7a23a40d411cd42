"""Modules and kernels: decoded once, launched as often as wanted."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convc.emulator.arguments import Argument, Buffer, Packed
from convc.emulator.library import CAPACITY, BufferRow, ConstantRow, CounterRow, LaunchRow, ReportRow, library
from convc.emulator.lowering import Lowering
from convc.emulator.ptx import Kernel as KernelText
from convc.emulator.ptx import ModuleText, Parameter, parse
from convc.emulator.report import KINDS, Access, Counter, Report
from convc.errors import EmulatorError

Triple = tuple[int, int, int]

MAX_THREADS = 1024
MAX_SHARED_BYTES = 227 * 1024
"""What a block may have on the largest targets, sm_90 and sm_100."""
MAX_CODE = 1 << 20
"""Operations that the check can tell apart; as in engine/state.h."""
MAX_INSTRUCTIONS = 1 << 26
"""Instructions a warp may run for one block before the launch is called a hang."""


@dataclass(frozen=True)
class Result:
    """What a launch found. `instructions` counts those of warps, `lane_instructions` those of threads.

    `dropped` is how often something else was met once there were as many different reports as are kept, 512.
    """

    reports: tuple[Report, ...]
    counters: tuple[Counter, ...]
    instructions: int
    lane_instructions: int
    dropped: int = 0


class Module:
    """The kernels of a PTX text, by name; each is decoded at its first use.

    Raises EmulatorError where the text does not parse. Module variables keep what kernels write into them.
    """

    def __init__(self, ptx: str) -> None:
        self._text = parse(ptx)
        self._kernels: dict[str, Kernel] = {}
        self._variables: dict[str, Buffer] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the kernels."""
        return tuple(self._text.kernels)

    def __getitem__(self, name: str) -> Kernel:
        """The kernel of this name. Raises EmulatorError where there is none, and where it cannot be decoded."""
        if name not in self._text.kernels:
            raise EmulatorError(f"the module has no kernel {name!r}: it has {', '.join(self.names) or 'none'}")
        if name not in self._kernels:
            self._kernels[name] = Kernel(self._text, self._text.kernels[name], self._variables)
        return self._kernels[name]

    def __iter__(self) -> Iterator[Kernel]:
        return (self[name] for name in self.names)


class Kernel:
    """One kernel: its parameters, the bytes of shared memory that it declares, and the threads it is made for."""

    def __init__(self, module: ModuleText, text: KernelText, variables: dict[str, Buffer]) -> None:
        self.name = text.name
        self.parameters: tuple[Parameter, ...] = text.parameters
        self.max_threads = text.max_threads
        self._lowering = Lowering(module, text)
        self._lowering.lower()
        frame = self._lowering.frame
        self.shared_bytes = frame.shared_bytes
        self._code = np.ascontiguousarray(self._lowering.ops, np.int32)
        if len(self._code) >= MAX_CODE:
            raise EmulatorError(f"a kernel has fewer than {MAX_CODE} operations, {self.name} has {len(self._code)}")
        self._constants = (ConstantRow * max(len(frame.constants), 1))(
            *(ConstantRow(value, unit, width) for (value, width), unit in frame.constants.items())
        )
        for variable in frame.globals:
            data = np.frombuffer(variable.value.ljust(variable.size, b"\0") or b"\0", np.uint8).copy()
            variables.setdefault(variable.name, Buffer(variable.name, data, variable.space == "global"))
        self._variables = [variables[variable.name] for variable in frame.globals]

    def launch(
        self,
        grid: Triple,
        block: Triple,
        arguments: Sequence[Argument],
        shared_bytes: int = 0,
        check: bool = True,
        max_instructions: int = MAX_INSTRUCTIONS,
    ) -> Result:
        """Runs the kernel: grid and block as (x, y, z), `shared_bytes` of dynamic shared memory.

        With `check` races, reads of what nobody wrote and the like are reported, and accesses counted; accesses out
        of bounds, and barriers that threads miss, are reported in any case. Raises EmulatorError where the arguments
        or the geometry do not fit the kernel.
        """
        self._check_geometry(grid, block, shared_bytes)
        packed = Packed(self.name, self.parameters, arguments)
        buffers = [*packed.buffers, *self._variables, Buffer("parameters", packed.data, writable=False)]
        rows, shadow_bytes, grain = _rows(buffers, len(packed.buffers), self._lowering.smallest_access)
        counters = (CounterRow * (2 * len(self._code)))()  # a copy has a second one, for the place that it writes
        reports = (ReportRow * CAPACITY)()
        frame = self._lowering.frame
        launch = LaunchRow(
            code=self._code.ctypes.data,
            constants=ctypes.addressof(self._constants),
            buffers=ctypes.addressof(rows),
            counters=ctypes.addressof(counters),
            reports=ctypes.addressof(reports),
            budget=max_instructions,
            ops=len(self._code),
            n_constants=len(frame.constants),
            n_buffers=len(buffers),
            n_variables=len(buffers) - len(packed.buffers),
            units=frame.units,
            predicates=frame.predicates,
            check=int(check),
            shadow_bytes=shadow_bytes if check else 0,
            grid=grid,
            block=block,
            shared_bytes=frame.shared_bytes + shared_bytes,
            dynamic_bytes=shared_bytes,
            local_bytes=frame.local_bytes,
            grain=grain,
        )
        if library().convc_emulate(ctypes.byref(launch)):
            raise EmulatorError(f"not enough memory to emulate kernel {self.name}: its buffers' shadow does not fit")
        names, dropped = [buffer.name for buffer in buffers], launch.dropped_reports
        found = tuple(self._report(row, grid, block, names) for row in reports[: launch.n_reports])
        return Result(found, self._counters(counters), launch.warp_instructions, launch.lane_instructions, dropped)

    def _check_geometry(self, grid: Triple, block: Triple, shared_bytes: int) -> None:
        for what, size in (("grid", grid), ("block", block)):
            if len(size) != 3 or min(size) < 1:
                raise EmulatorError(f"a {what} is three numbers from 1 up, got {size} for kernel {self.name}")
        if grid[0] >= 1 << 31 or max(grid[1:]) > 65535:
            raise EmulatorError(f"a grid has at most (2147483647, 65535, 65535) blocks, kernel {self.name} got {grid}")
        threads, limit = block[0] * block[1] * block[2], self.max_threads or MAX_THREADS
        if threads > limit:
            raise EmulatorError(f"kernel {self.name} runs with at most {limit} threads a block, got {threads}: {block}")
        total = self.shared_bytes + shared_bytes
        if shared_bytes < 0 or total > MAX_SHARED_BYTES:
            raise EmulatorError(
                f"a block has at most {MAX_SHARED_BYTES} bytes of shared memory, kernel {self.name} asks for {total}"
            )

    def _report(self, row: ReportRow, grid: Triple, block: Triple, names: list[str]) -> Report:
        here = self._access(row.op, row.block, row.thread, grid, block)
        other = None
        if row.other_op >= 0:
            other = self._access(row.other_op, row.other_block, row.other_thread, grid, block)
        space = names[row.space] if row.space >= 0 else {-1: "shared", -2: "local"}.get(row.space, "")
        offset = row.offset - (1 << 64) if row.space >= 0 and row.offset >> 63 else row.offset
        return Report(KINDS[row.kind], self.name, here, other, space, offset, row.size, row.count)

    def _access(self, op: int, block_number: int, thread: int, grid: Triple, block: Triple) -> Access:
        source = self._lowering.sources[op]
        return Access(source.place, source.text, source.line, _unfold(block_number, grid), _unfold(thread, block))

    def _counters(self, rows: ctypes.Array[CounterRow]) -> tuple[Counter, ...]:
        sources, found = self._lowering.sources, []
        for number, row in enumerate(rows):
            source, copied = sources[number % len(self._code)], number >= len(self._code)
            if row.requests:
                shared = copied or (".shared" in source.opcode and not source.opcode.startswith("cp."))
                numbers = ("shared" if shared else "global", row.requests, row.lanes, row.moved, row.ideal)
                found.append(Counter(source.place, source.text, source.line, *numbers))
        return tuple(found)


def _unfold(number: int, size: Triple) -> Triple:
    return number % size[0], number // size[0] % size[1], number // size[0] // size[1]


def _rows(buffers: list[Buffer], arguments: int, smallest: int) -> tuple[ctypes.Array[BufferRow], int, int]:
    """The engine's rows, the bytes that have a shadow, and log2 of the bytes of a shadow cell.

    Buffers that overlap share their shadow, so that a race through two names is found: each has its place among
    the merged ranges of host memory.
    """
    places = {k: (b.array.ctypes.data, b.array.ctypes.data + b.array.size) for k, b in enumerate(buffers[:arguments])}
    shadows = [0] * len(buffers)
    used, end, start, base = 0, -1, 0, 0
    for k in sorted(places, key=lambda k: places[k]):
        if places[k][0] >= end:
            # A new range, at a place that is as aligned as any access.
            used = -(-(base + max(end - start, 0)) // 16) * 16
            start, base = places[k][0], used
            end = places[k][0]
        shadows[k] = base + places[k][0] - start
        end = max(end, places[k][1])
    total = base + max(end - start, 0)
    grain = smallest.bit_length() - 1
    # A cell must not straddle the accesses of a buffer that starts within another.
    while any(shadow % (1 << grain) for shadow in shadows):
        grain -= 1
    rows = (BufferRow * len(buffers))(
        *(
            BufferRow(
                b.array.ctypes.data,
                b.array.size,
                b.initialised.ctypes.data if b.initialised is not None else None,
                shadows[k],
                int(b.writable),
                int(k < arguments),
            )
            for k, b in enumerate(buffers)
        )
    )
    return rows, total, grain
