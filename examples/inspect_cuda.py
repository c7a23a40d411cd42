"""The CUDA of a convolution with bias and ReLU: its view, its schedule, its card, its kernel, and a race in it.

    python examples/inspect_cuda.py

Needs NVRTC (pip install 'convc[emit]'), but no GPU.
"""

from __future__ import annotations

import sys

from convc.build.cuda import build_cubin, find_cuda_compiler
from convc.build.occupancy import occupancy
from convc.codegen.cuda.emit import emit_cuda
from convc.ir.text import parse_graph, print_node
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA
from convc.runtime.emulator import EmulatorExecutable
from convc.testing.trial import trial

GRAPH = """
graph @net(%x: f32[n<=8,16,14,14], %w: f32[32,16,3,3] parameter, %b: f32[32] parameter) {
  %0: f32[n<=8,32,14,14] = conv2d(%x, %w) {padding=[1, 1]} loc(conv1)
  %1: f32[n<=8,32,14,14] = bias_add(%0, %b) loc(conv1)
  %2: f32[n<=8,32,14,14] = relu(%1) loc(conv1)
  return %2
}
"""
ARCH = "sm_90a"


def main() -> None:
    print("1. What is computed: a convolution, a bias and a ReLU are one product with an epilogue.\n")
    trace = run(parse_graph(GRAPH), pipeline(train=False), CUDA)
    graph = trace.stages[-1][1]
    print(print_node(trace.after("lower").nodes[-1]))

    print("\n2. How: the schedule that the cost model chose, as the kernel's card tells it.\n")
    source = emit_cuda(graph)
    launch = source.launches[-1]
    kernel = launch.kernels[0]
    for line in kernel.card.lines:
        if line.split(" ", 1)[0] in ("tile", "launch", "gather", "vectors", "bound", "model", "saved"):
            print(line)

    print("\n3. The kernel: the slices of both factors that the next copies bring.\n")
    text = kernel.source
    first = text.index("    const auto gather")
    print(text[first : text.index("    };", first)] + "    };")

    compiler = find_cuda_compiler()
    if compiler is None:
        print("\nNVRTC is not installed: pip install 'convc[emit]' shows the rest.")
        return
    print(f"\n4. Compiled for {ARCH} by {compiler}.\n")
    taken = build_cubin(source.text, source.entry, ARCH).kernels[launch.name]
    busy = occupancy(taken, launch.threads, 0, ARCH)
    print(f"{taken.registers} registers, {taken.spill_stores + taken.spill_loads} bytes spilled, ", end="")
    print(f"{taken.shared_bytes} bytes of shared memory: {busy.warps_per_sm} warps at once, limited by {busy.limiter}")

    print("\n5. Run in the emulator, every access checked, against the interpreter in float64.\n")
    executable = EmulatorExecutable(graph, collect=True)
    print(*trial(trace, executable, rows=5), f"{len(executable.reports)} findings", sep="\n")

    print("\n6. The same without its barriers.\n")
    broken = EmulatorExecutable(graph, text=source.text.replace("__syncthreads();", ""), collect=True)
    trial(trace, broken, rows=5)
    print(f"{len(broken.reports)} findings, the first:\n{broken.reports[0]}")
    if executable.reports or not broken.reports:
        sys.exit("the check did not tell the two apart")


if __name__ == "__main__":
    main()
