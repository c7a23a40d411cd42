"""fuse_loops: a tensor that one nest passes to the next is never stored."""

from __future__ import annotations

import pytest

from convc.ir.text import parse_graph
from convc.passes.fuse_loops import fuse_loops
from convc.passes.lower import lower
from convc.testing import check_rewrite
from convc.testing.rewrite import assert_same_numbers

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
