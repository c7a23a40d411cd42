"""Write a pass, test it against its text and the interpreter, and see what it does to a network.

    python examples/write_a_pass.py

ReLU is monotone, so the maximum of a window's ReLUs is the ReLU of its maximum, and after the pool there is only
a quarter of the points. The kernels at the end show what comes of it: one ReLU moves into its pool's kernel,
the other needs a kernel of its own, where the convolution's epilogue did both for next to nothing.
"""

from __future__ import annotations

import convc
from convc.codegen.emit import emit_c
from convc.compiler import model_graph, trace_of
from convc.ir.core import Graph, Node, Value, fresh_builder
from convc.ir.ops.pointwise import Relu
from convc.ir.ops.pool import MaxPool
from convc.passes.target import CPU
from convc.testing import check_rewrite


def pool_before_relu(graph: Graph) -> Graph:
    """max_pool(relu(x)) -> relu(max_pool(x)), where nothing else reads the relu"""
    made, users, returned = graph.producers(), graph.users(), set(graph.results)
    b = fresh_builder(graph, "pool_before_relu")
    renamed: dict[Value, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        relu = made.get(node.inputs[0]) if isinstance(node.op, MaxPool) and len(node.outputs) == 1 else None
        if relu is None or not isinstance(relu.op, Relu) or len(users[relu.out]) > 1 or relu.out in returned:
            nodes.append(node)
            continue
        nodes.remove(relu)
        b.path = node.path
        renamed[node.out] = b(Relu(), b(node.op, *relu.inputs))
        nodes += b.nodes[-2:]
    return graph.with_nodes(nodes, renamed)


FIRES = """
    graph @fires(%x: f32[n<=6,3,8,8]) {
      %0: f32[n<=6,3,8,8] = relu(%x) loc(act)
      %1: f32[n<=6,3,4,4] = max_pool(%0) loc(pool)
      return %1
    }
"""
FIRED = """
    graph @fires(%x: f32[n<=6,3,8,8]) {
      %2: f32[n<=6,3,4,4] = max_pool(%x) loc(pool: pool_before_relu)
      %3: f32[n<=6,3,4,4] = relu(%2) loc(pool: pool_before_relu)
      return %3
    }
"""
MUST_NOT_FIRE = """
    graph @two_readers(%x: f32[n<=6,3,8,8]) {
      %0: f32[n<=6,3,8,8] = relu(%x)
      %1: f32[n<=6,3,4,4] = max_pool(%0)
      return %1, %0
    }
"""


def main() -> None:
    # Text before, text after, and the same numbers from the interpreter for several numbers of rows.
    check_rewrite(FIRES, pool_before_relu, FIRED)
    check_rewrite(MUST_NOT_FIRE, pool_before_relu, None)
    print("the pass does what its docstring says:", pool_before_relu.__doc__)

    _, graph = model_graph(convc.models.lenet5(), (64, 1, 28, 28), "infer", "cross_entropy")
    for title, start in (("as it is", graph), ("with the pass", pool_before_relu(graph))):
        trace = trace_of(start, "infer", convc.SGD(), CPU)
        kernels = emit_c(trace.stages[-1][1]).kernels
        print(f"\nLeNet-5 {title}: {len(kernels)} kernels, {sum(k.card.bytes for k in kernels):,} bytes moved")
        for k in kernels:
            print(f"  {k.name:<36} {k.card.bytes:>12,} bytes")


if __name__ == "__main__":
    main()
