"""Runs, on the CPU, the PTX that a GPU would get, and checks it: which line races, and which reads out of bounds.

    module = Module(ptx_text)
    result = module["scale"].launch((4, 1, 1), (128, 1, 1), [Buffer("x", x.view(np.uint8)), 0.5])
    for report in result.reports:
        print(report)

The text is what NVRTC emits with `-lineinfo` for kernels whose functions are all inlined; no GPU is needed. Blocks run
one after another, and a warp runs until it waits. What PTX calls `approx` is here as exact as the C library has it, so
a GPU's last bits may differ.

The check takes two accesses of one address, at least one of them a write, for ordered where one thread makes both, or
where a barrier of the block lies between that both threads join, or a `__syncwarp` if they are of one warp; nothing
orders blocks of one launch. Two lanes that store to one address in one instruction race, even with equal values.
Atomics race with plain accesses only. Fences and atomics order nothing. A cp.async reads and writes at the wait that
covers it, as late as PTX allows. Of the readers of a cell of memory two are remembered, of different warps where there
are such: a later write that a `__syncwarp` orders after these two but not after a third one is not found.
"""

# The families register how they lower their instructions.
from convc.emulator import arithmetic, comparison, control, conversion, data_movement  # noqa: F401
from convc.emulator.arguments import Argument, Buffer, Struct
from convc.emulator.kernel import Kernel, Module, Result
from convc.emulator.ptx import Parameter, Place
from convc.emulator.report import KINDS, Access, Counter, Report

__all__ = [
    "KINDS",
    "Access",
    "Argument",
    "Buffer",
    "Counter",
    "Kernel",
    "Module",
    "Parameter",
    "Place",
    "Report",
    "Result",
    "Struct",
]
