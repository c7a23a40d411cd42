"""fuse_loops: a tensor that one nest passes to the next is never stored."""

from __future__ import annotations

import pytest

from convc.ir.kernels import Loops
from convc.ir.scalar import Next
from convc.ir.text import parse_graph, print_graph
from convc.ir.verify import verify
from convc.passes.compose import FUSED_DEPTH, FUSED_WEIGHT
from convc.passes.fuse_loops import fuse_loops
from convc.passes.lower import lower
from convc.testing import check_rewrite
from convc.testing.rewrite import assert_same_numbers, assert_same_text
from tests.numerics.helpers import check

X = "%x: f32[n<=6,8]"


def test_maps_through_a_reshape_are_one_map() -> None:
    check_rewrite(
        lower(
            parse_graph("""graph @g(%x: f32[n<=6,2,3]) {
          %0: f32[n<=6,2,3] = relu(%x) loc(act1: some_pass)
          %1: f32[n<=6,6] = reshape(%0)
          %2: f32[n<=6,6] = tanh(%1) loc(act2)
          return %2 }""")
        ),
        fuse_loops,
        """graph @g(%x: f32[n<=6,2,3]) {
          %2: f32[n<=6,6] = loops(%x) {
            title="relu_reshape_tanh"
            for(n:n<=6, c:6)
            map() { store 0[n, c] = tanh(max($0[n, c / 3, c % 3], 0.0)) }
          } loc(act1: some_pass, lower, fuse_loops)
          return %2 }""",
    )


def test_what_follows_a_reduction_joins_its_store() -> None:
    """With an operand of its own; the reduction's other result is kept."""
    check_rewrite(
        lower(
            parse_graph("""graph @g(%x: f32[n<=6,2,2,2], %y: f32[n<=6,2,1,1]) {
          %0: f32[n<=6,2,1,1], %at: i32[n<=6,2,1,1] = max_pool(%x) {indices=True} loc(pool)
          %1: f32[n<=6,2,1,1] = relu(%0)
          %2: f32[n<=6,2,1,1] = mul(%1, %y)
          return %2, %at }""")
        ),
        fuse_loops,
        """graph @g(%x: f32[n<=6,2,2,2], %y: f32[n<=6,2,1,1]) {
          %at: i32[n<=6,2,1,1], %2: f32[n<=6,2,1,1] = loops(%x, %y) {
            title="max_pool_relu_mul"
            for(n:n<=6, c:2, p:1, q:1)
            reduce(r:2, s:2) best, at = argmax($0[n, c, r, s ; -inf], #(r*2 + s))
            map() { store 1[n, c, 0, 0] = max(best, 0.0) * $1[n, c, 0, 0] store 0[n, c, 0, 0] = at }
          } loc(pool: lower, fuse_loops)
          return %2, %at }""",
    )


def test_a_constant_and_n_are_computed_where_they_are_read() -> None:
    """The gradient of a mean: 1/n goes into its readers, however many there are."""
    check_rewrite(
        lower(
            parse_graph(f"""graph @g({X}, %y: f32[n<=6,8]) {{
          %s: f32[] = full() {{value=2}}
          %0: f32[n<=6,8] = broadcast(%s) {{axes=[0, 1], mean=True}}
          %1: f32[n<=6,8] = mul(%0, %x)
          %2: f32[n<=6,8] = relu_grad(%0, %y)
          return %1, %2 }}""")
        ),
        fuse_loops,
        f"""graph @g({X}, %y: f32[n<=6,8]) {{
          %1: f32[n<=6,8] = loops(%x) {{
            title="mul"
            for(n:n<=6, c:8)
            map() {{ store 0[n, c] = 2.0 / (rows * 8.0) * $0[n, c] }}
          }} loc(: lower, fuse_loops)
          %2: f32[n<=6,8] = loops(%y) {{
            title="broadcast_relu_grad"
            for(n:n<=6, c:8)
            map() {{ store 0[n, c] = select($0[n, c] <= 0.0, 0.0, 2.0 / (rows * 8.0)) }}
          }} loc(: lower, fuse_loops)
          return %1, %2 }}""",
    )


def test_a_reshape_goes_into_a_padded_window_with_its_bounds() -> None:
    """The window's coordinates bounded the reshaped tensor; they become guards of the load behind it."""
    check_rewrite(
        lower(
            parse_graph("""graph @g(%x: f32[n<=6,4]) {
          %0: f32[n<=6,1,2,2] = reshape(%x)
          %1: f32[n<=6,1,3,3] = avg_pool(%0) {stride=[1, 1], padding=[1, 1]}
          return %1 }""")
        ),
        fuse_loops,
        """graph @g(%x: f32[n<=6,4]) {
          %1: f32[n<=6,1,3,3] = loops(%x) {
            title="avg_pool"
            for(n:n<=6, c:1, p:3, q:3)
            reduce(r:2, s:2) total = sum($0[n, p*2 + r*2 + q + s - 3 | p + r - 1 in [0, 2), q + s - 1 in [0, 2)])
            map() { store 0[n, 0, p, q] = total / 4.0 }
          } loc(: lower, fuse_loops)
          return %1 }""",
    )


def test_a_reshape_goes_into_a_products_gather() -> None:
    check_rewrite(
        lower(
            parse_graph("""graph @g(%x: f32[n<=6,2,4], %w: f32[3,8]) {
          %0: f32[n<=6,8] = reshape(%x)
          %1: f32[n<=6,3] = linear(%0, %w)
          return %1 }""")
        ),
        fuse_loops,
        """graph @g(%x: f32[n<=6,2,4], %w: f32[3,8]) {
          %1: f32[n<=6,3] = gemm(%w, %x) {
            title="fprop"
            phase {
              batch() m(k:3) n(n:n<=6) k(c:8)
              a = $0[k, c]
              b = $1[n, c / 4, c % 4]
              store 0[n, k] = acc
            }
          } loc(: lower, fuse_loops)
          return %1 }""",
    )


STEP = """%w: f32[3,4], %g: f32[3,4], %v: f32[3,4], %lr: f32[] scalar, %m: f32[] scalar, %decay: f32[] scalar"""
NEW_V = "$4[] * $2[n, c] + ($1[n, c] + $5[] * $0[n, c])"
NEW_W = f"$0[n, c] - $3[] * ({NEW_V})"


def test_a_reader_of_two_results_takes_both() -> None:
    """Neither is stored, for nobody else reads them."""
    check_rewrite(
        lower(
            parse_graph(f"""graph @g({STEP}) {{
          %1: f32[3,4], %2: f32[3,4] = sgd_momentum(%w, %g, %v, %lr, %m, %decay)
          %3: f32[3,4] = mul(%1, %2)
          return %3 }}""")
        ),
        fuse_loops,
        f"""graph @g({STEP}) {{
          %3: f32[3,4] = loops(%w, %g, %v, %lr, %m, %decay) {{
            title="sgd_momentum_mul"
            for(n:3, c:4)
            map() {{ store 0[n, c] = ({NEW_W}) * ({NEW_V}) }}
          }} loc(: lower, fuse_loops)
          return %3 }}""",
    )


@pytest.mark.parametrize("kept", ["%1", "%2"])
def test_a_result_that_is_returned_stays_beside_its_readers(kept: str) -> None:
    stored = {"%1": NEW_W, "%2": NEW_V}[kept]
    both = [f"store 1[n, c] = ({NEW_W}) * ({NEW_V})", f"store 0[n, c] = {stored}"]
    check_rewrite(
        lower(
            parse_graph(f"""graph @g({STEP}) {{
          %1: f32[3,4], %2: f32[3,4] = sgd_momentum(%w, %g, %v, %lr, %m, %decay)
          %3: f32[3,4] = mul(%1, %2)
          return %3, {kept} }}""")
        ),
        fuse_loops,
        f"""graph @g({STEP}) {{
          {kept}: f32[3,4], %3: f32[3,4] = loops(%w, %g, %v, %lr, %m, %decay) {{
            title="sgd_momentum_mul"
            for(n:3, c:4)
            map() {{ {"; ".join(both if kept == "%2" else reversed(both))} }}
          }} loc(: lower, fuse_loops)
          return %3, {kept} }}""",
    )


def test_what_stands_between_two_fused_nodes_moves_behind_them() -> None:
    """%d reads a kept result of the first, and stood before the second."""
    graph = lower(
        parse_graph("""graph @g(%x: f32[n<=6,2,4,4], %dy: f32[n<=6,2,2,2]) {
      %0: f32[n<=6,2,2,2], %at: i32[n<=6,2,2,2] = max_pool(%x) {indices=True}
      %d: f32[n<=6,2,4,4] = max_pool_grad(%dy, %at)
      %s: f32[2] = sum(%d) {axes=[0, 2, 3]}
      %1: f32[n<=6,2,2,2] = tanh(%0)
      return %1, %s, %d }""")
    )
    found = verify(fuse_loops(graph))
    assert [[v.name for v in n.outputs] for n in found.nodes] == [["at", "1"], ["d"], ["s"]]
    assert_same_numbers(graph, found)


READERS = {
    "a value read twice by one node": f"""graph @g({X}) {{
        %0: f32[n<=6,8] = tanh(%x) %1: f32[n<=6,8] = mul(%0, %0) return %1 }}""",
    "a value read twice, and returned": f"""graph @g({X}) {{
        %0: f32[n<=6,8] = tanh(%x) %1: f32[n<=6,8] = mul(%0, %0) return %0, %1, %0 }}""",
    "results of a node and of its reader, read together": f"""graph @g({STEP}) {{
        %1: f32[3,4], %2: f32[3,4] = sgd_momentum(%w, %g, %v, %lr, %m, %decay)
        %3: f32[3,4] = tanh(%2) %4: f32[3,4] = mul(%1, %3) %5: f32[3,4] = mul(%4, %2) return %5 }}""",
    "a result that is an update, too": """graph @g(%w: f32[3,4] parameter, %g: f32[3,4], %v: f32[3,4] state,
        %lr: f32[] scalar, %m: f32[] scalar, %decay: f32[] scalar) {
        %1: f32[3,4], %2: f32[3,4] = sgd_momentum(%w, %g, %v, %lr, %m, %decay) %3: f32[3,4] = mul(%1, %2)
        return %3, %1 update %w = %1 update %v = %2 }""",
    "an update whose only reader is left": """graph @g(%w: f32[3,4] parameter, %g: f32[3,4], %v: f32[3,4],
        %lr: f32[] scalar, %m: f32[] scalar, %decay: f32[] scalar) {
        %1: f32[3,4], %2: f32[3,4] = sgd_momentum(%w, %g, %v, %lr, %m, %decay) %3: f32[3,4] = relu(%2)
        return %3 update %w = %1 }""",
    "both results of a pool": """graph @g(%x: f32[n<=6,2,4,4], %dy: f32[n<=6,2,2,2]) {
        %0: f32[n<=6,2,2,2], %at: i32[n<=6,2,2,2] = max_pool(%x) {indices=True} %1: f32[n<=6,2,2,2] = mul(%0, %dy)
        %2: f32[n<=6,2,4,4] = max_pool_grad(%1, %at) return %2 }""",
    "one row of an image of five": """graph @g(%x: f32[n<=6,1,5,1]) {
        %0: f32[n<=6,1,5,1|0123.0x4] = relayout(%x) %1: f32[n<=6,1,1,1] = avg_pool(%0) {kernel=[1, 1], stride=[5, 1]}
        return %1 }""",
}


@pytest.mark.parametrize("what", READERS)
def test_the_same_numbers_for(what: str) -> None:
    graph = lower(parse_graph(READERS[what]))
    assert_same_numbers(graph, verify(fuse_loops(graph)))


def test_results_stored_at_different_points_are_not_read_together() -> None:
    """%b is stored in another stage than %a, and the reader needs both at once."""
    graph = verify(
        parse_graph("""graph @g(%x: f32[3,4]) {
          %a: f32[3], %b: f32[3] = loops(%x) { for(n:3) reduce(c:4) s = sum($0[n, c]) map() { store 0[n] = s }
            reduce(d:4) t = max($0[n, d]) map() { store 1[n] = t - s } }
          %c: f32[3] = loops(%a, %b) { for(n:3) map() { store 0[n] = $0[n] * $1[n] } }
          return %c }""")
    )
    check_rewrite(graph, fuse_loops)


def test_expressions_stay_moderate() -> None:
    """A chain of a thousand becomes kernels of a few dozen operations, and so does a value added to itself."""
    for body in ("sigmoid(%{0})", "add(%{0}, %{0})"):
        lines = [f"%{i + 1}: f32[4] = {body.format(i)}" for i in range(1000)]
        graph = lower(parse_graph("\n".join(["graph @g(%0: f32[4]) {", *lines, "return %1000 }"])))
        found = verify(fuse_loops(graph))
        roots = [e for n in found.nodes if isinstance(n.op, Loops) for e in n.op.roots()]
        assert max(e.depth for e in roots) <= FUSED_DEPTH
        assert max(e.weight for e in roots) <= FUSED_WEIGHT
        assert len(found.nodes) < 1000 / 5
        assert_same_text(print_graph(found), print_graph(parse_graph(print_graph(found))))


MUST_NOT_FIRE = {
    "a map's result has two readers": f"""graph @g({X}) {{
        %0: f32[n<=6,8] = tanh(%x) %1: f32[n<=6,8] = relu(%0) %2: f32[n<=6,8] = sigmoid(%0) return %1, %2 }}""",
    "it would be computed once for each window": """graph @g(%x: f32[n<=6,1,3,3]) {
        %0: f32[n<=6,1,3,3] = sigmoid(%x) %1: f32[n<=6,1,2,2] = max_pool(%0) {stride=[1, 1]} return %1 }""",
    "outside, a window reads 0 and not sigmoid(0)": """graph @g(%x: f32[n<=6,1,2,2]) {
        %0: f32[n<=6,1,2,2] = sigmoid(%x) %1: f32[n<=6,1,2,2] = avg_pool(%0) {padding=[1, 1]} return %1 }""",
    "a product's factor stays a gather": f"""graph @g({X}, %w: f32[3,8]) {{
        %0: f32[n<=6,8] = tanh(%x) %1: f32[n<=6,3] = linear(%0, %w) return %1 }}""",
    "the value is returned": f"""graph @g({X}) {{
        %0: f32[n<=6] = sum(%x) {{axes=[1]}} %1: f32[n<=6] = relu(%0) return %1, %0 }}""",
    "outside, a window reads 0 and not the constant": """graph @g(%x: f32[n<=6,1,2,2]) {
        %0: f32[n<=6,1,2,2] = full() {value=2} %1: f32[n<=6,1,2,2] = avg_pool(%0) {padding=[1, 1]}
        %2: f32[n<=6,1,2,2] = tanh(%x) return %2, %1 }""",
    "outside, a window reads -inf and not 0": """graph @g(%x: f32[n<=6,1,2,2]) {
        %0: f32[n<=6,1,2,2] = avg_pool(%x) {kernel=[1, 1]} %1: f32[n<=6,1,2,2] = max_pool(%0) {padding=[1, 1]}
        return %1 }""",
    "a relayout is there for its readers": f"""graph @g({X}, %w: f32[3,8]) {{
        %0: f32[n<=6,8|01.0x4] = relayout(%x) %1: f32[n<=6,3|01.0x4] = linear(%0, %w)
        %2: f32[n<=6,3] = relayout(%1) return %2 }}""",
    "two reductions": f"""graph @g({X}) {{
        %0: f32[n<=6] = sum(%x) {{axes=[1]}} %1: f32[] = sum(%0) {{axes=[0], mean=True}} return %1 }}""",
}


@pytest.mark.parametrize("reason", MUST_NOT_FIRE)
def test_must_not_fire_where(reason: str) -> None:
    graph = lower(parse_graph(MUST_NOT_FIRE[reason]))
    if reason == "the value is returned":
        found = fuse_loops(graph)
        assert {v.name for n in found.nodes for v in n.outputs} == {"0", "1"}
        assert_same_numbers(graph, found)
    else:
        check_rewrite(graph, fuse_loops)


def test_a_cycle_is_not_made() -> None:
    """%2 reads %0 and %1, which reads %0, too: fused with %0 alone it would have to run before and after %1."""
    graph = lower(
        parse_graph(f"""graph @g({X}, %w: f32[8,8]) {{
        %0: f32[n<=6,8] = softmax(%x)
        %1: f32[n<=6,8] = linear(%0, %w)
        %2: f32[n<=6,8] = add(%0, %1)
        return %2 }}""")
    )
    found = fuse_loops(graph)
    assert_same_numbers(graph, found)
    assert len(found.nodes) == 3


def test_a_count_is_read_where_it_is_stored() -> None:
    """Spliced into its reader it would be an f32: of a seed, or of Adam's step, bits would be lost."""
    graph = parse_graph("""graph @g(%x: f32[], %seed: i32[], %step: i32[]) {
      %0: i32[] = count(%seed)
      %1: f32[] = dropout(%x, %0, %step)
      return %1 }""")
    fused = fuse_loops(lower(graph))
    verify(fused)
    assert sum(isinstance(s.value, Next) for n in fused.nodes for s in n.op.stores()) == 1  # type: ignore[attr-defined]
    check(graph, (1,))
