"""The text form: one grammar for tensor-level and kernel-level graphs, printed and parsed.

    graph @name(%x: f32[n<=64,1,28,28], %w: f32[6,1,5,5] parameter) {
      %0: f32[n<=64,6,28,28] = conv2d(%x, %w) {padding=[2, 2]} loc(conv1: some_pass)
      return %0
      update %w = %1               // the new value of a parameter or of state
      place %0 at arena + 4096     // planned memory, in bytes; or: place %1 inside %w
      arena 123456 bytes
    }

An input's role (parameter, state, constant, scalar) follows its type; data is left out. A node's types are
written out and checked; attributes at their default are left out. `loc(path: pass, pass)` says where in the
model a node comes from and which passes made it. Names are letters, digits, `_` and `.`, with single `/` or
`-` between; any other is a JSON string, `%"a name"`. `// comments`, blanks and line breaks are free.

A kernel's operator has a block: attributes such as `title="..."`, then for `gemm` phases, for `loops` a nest.

    phase {
      batch(g:1) m(k:6) n(n:n<=64, p:28, q:28) k(c:1, r:5, s:5)
      a = $1[k, c, r, s]
      b = $0[n, c, p + r - 2, q + s - 2]
      store 0[n, k, p, q] = max(acc + $2[k], 0.0)
      schedule {lanes=n, width=16, m_tile=k:6, n_tile=q:4}
    }

    for(n:n<=64, c:6, p:14, q:14)
    reduce(r:2, s:2) best, at = argmax($0[n, c, p*2 + r, q*2 + s ; -inf], #(r*2 + s))
    map() { store 0[n, c, p, q] = best; store 1[n, c, p, q] = at }
    schedule {lanes=n, width=16}

`$0[coordinates | guards ; fill]` loads from operand 0; a guard reads `h % 2 in [0, 1)`. In an index `/` is a
floor division, a minus in front negates the whole first product, and axes are those of the phase, or of the
nest and the stage. `#(index)` is an index as a number, `rows` the batch rows of the run, a bare word an
earlier result (`acc` in a gemm's stores). `random(index, stream, $1[], $2[])` is uniform in [0, 1): Philox at
counter `index`, in a stream, for a seed and a step; `next($1[])` is one more than an i32, exactly.
The text form is canonical: printing what was parsed gives the printed text again.
"""

from __future__ import annotations

import convc.ir.ops  # noqa: F401  (registers the operators that a text may name)
from convc.errors import IRError
from convc.ir.core import Graph
from convc.ir.parser import GraphParser
from convc.ir.printer import print_graph, print_node

__all__ = ["parse_graph", "print_graph", "print_node"]


def parse_graph(text: str) -> Graph:
    """The graph that `text` describes, well-formed and with all types checked.

    Raises IRError in one line: the line and column, the rule with both numbers, what to do, and the source.
    """
    if not isinstance(text, str):
        raise IRError(f"a graph is parsed from text, not from {type(text).__name__}; read the file first")
    return GraphParser(text).parse()
