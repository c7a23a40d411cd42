"""Read what convc generates: the kernels of a train step, what a pass changed, and one kernel's C.

    python examples/inspect_generated_code.py [KERNEL]

KERNEL is the start of a kernel's name, for example fc2_dgrad. Nothing is built: this needs no C compiler.
On the command line: `convc inspect lenet5 --mode train --kernel conv1`.
"""

from __future__ import annotations

import sys

import convc
from convc.codegen.emit import emit_c
from convc.compiler import model_graph, trace_of
from convc.passes.stages import find_stages, stage_diff
from convc.passes.target import CPU
from convc.runtime.program_report import ProgramReport


def main(prefix: str = "conv2_fprop") -> None:
    _, graph = model_graph(convc.models.lenet5(), (64, 1, 28, 28), "train", "cross_entropy")
    trace = trace_of(graph, "train", convc.SGD(momentum=0.9), CPU)
    source = emit_c(trace.stages[-1][1])

    print(ProgramReport(trace, source))

    print("\nThe epilogues: what fuse_epilogue changed, first lines\n")
    (stage,) = find_stages(trace, "fuse_epilogue")
    print("\n".join(line[:110] for line in stage_diff(trace, stage, context=0)[:14]))

    found = [k for k in source.kernels if k.name.startswith(prefix)]
    if not found:
        sys.exit(f"no kernel starts with {prefix}; there are {', '.join(k.name for k in source.kernels)}")
    print(f"\nThe C of {found[0].name}\n")
    print(found[0].source)


if __name__ == "__main__":
    main(*sys.argv[1:2])
